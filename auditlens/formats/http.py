"""Webhook requests captured as they came: the head is structure, the body is read as what it is."""

from __future__ import annotations

import re

from .line import Sample

__all__ = ["SAMPLES", "is_header", "is_start"]

_START = re.compile(rb"(?:[A-Z]+ \S+ HTTP/[\d.]+|HTTP/[\d.]+ \d{3}\b.*)\Z")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")


def is_start(text: bytes) -> bool:
    """Whether the line is a request line or a status line."""
    return _START.match(text) is not None


def is_header(text: bytes) -> bool:
    """Whether the line may stand in a request's head."""
    return _HEADER.match(text) is not None


SAMPLES = (
    Sample(
        b"POST /audit?timeout=30s HTTP/1.1\r\nHost: 127.0.0.1:19600\r\nContent-Type: application/json\r\n\r\n"
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"level":"Metadata","auditID":"a1",'
        b'"stage":"ResponseStarted","requestURI":"/healthz","verb":"get","user":{},"sourceIPs":["::1"]}]}'
        b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n",
        ({"auditID": "a1", "item": 1, "line": 5, "user": {}},),
    ),
)
