"""JSON log lines (component-base, zap, logr) are log entries; events that a failing audit backend dumped are recovered."""

from __future__ import annotations

import re

from .legacy import LEGACY
from .line import Fields, Sample, string

__all__ = ["SAMPLES", "impacted", "is_entry", "is_plain_entry", "starts_entry"]

_START = re.compile(rb'\{"ts":[\d.eE+]+,"(?:caller|level|logger)":"|\{"level":"[a-zA-Z]+","ts":["\d]')


def starts_entry(text: bytes) -> bool:
    """Whether the line is plainly a log entry and holds no dumped events, told without decoding it."""
    return _START.match(text) is not None and b"Impacted events" not in text


def is_plain_entry(fields: Fields) -> bool:
    """Whether the object is an entry of component-base or zap, so that its fields are not searched for other records."""
    return "ts" in fields and "caller" in fields and "msg" in fields


def is_entry(fields: Fields) -> bool:
    """Whether the object is a log entry: a time and a place, or a time, a level and a message."""
    if "ts" in fields and ("caller" in fields or "msg" in fields):
        return True
    return "msg" in fields and "level" in fields and ("time" in fields or "@timestamp" in fields)


def impacted(fields: Fields) -> list[bytes]:
    """The audit lines that "Error in audit plugin … Impacted events:" carries in its message.

    apiserver/pkg/audit/metrics.go, HandlePluginError.
    """
    message = string(fields.get("msg")) or ""
    if "Impacted events" not in message:
        return []
    lines = (line.strip().encode("utf-8", "replace") for line in message.split("\n"))
    return [line for line in lines if LEGACY.match(line)]


SAMPLES = (
    Sample(
        b'{"ts":1704067201000.123,"caller":"httplog/httplog.go:132","msg":"HTTP","v":3,"verb":"GET"}\n'
        b'{"level":"warn","ts":"2026-11-23T04:34:11.462135Z","logger":"etcd-client","caller":"v3/a.go:65","msg":"retry"}\n',
        ({"format": "klog", "text": "HTTP"}, {"format": "klog", "text": "retry"}),
    ),
    Sample(
        b'{"ts":1704067201000.123,"caller":"audit/metrics.go:110","msg":"Error in audit plugin \'log\' affecting 1 audit '
        b'events: x\\nImpacted events:\\n2021-01-01T00:00:00.1Z AUDIT: id=\\"q\\" stage=\\"ResponseComplete\\" '
        b'ip=\\"192.0.2.10\\" method=\\"delete\\" user=\\"dev\\" groups=\\"<none>\\" as=\\"<self>\\" '
        b'asgroups=\\"<lookup>\\" namespace=\\"default\\" uri=\\"/api/v1/namespaces/default/pods/p\\" '
        b'response=\\"200\\"\\n"}\n',
        ({"format": "klog", "item": None}, {"format": "audit", "item": 2, "auditID": "q", "verb": "delete"}),
    ),
)
