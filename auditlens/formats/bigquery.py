"""Rows of GKE's audit log in BigQuery: Cloud Logging entries under the column names that a sink to BigQuery gives them.

https://cloud.google.com/logging/docs/export/bigquery: protoPayload is `protopayload_auditlog`, its request and response are
texts (`requestJson`, `responseJson`), numbers and truth values may be texts, and columns without a value are null.
"""

from __future__ import annotations

import re

import msgspec

from . import gke
from .line import Fields, Line, Sample, members, string, text_of

__all__ = ["SAMPLES", "open"]

_BODIES = (("requestJson", "request"), ("responseJson", "response"))
_DECISION = {
    "authorization_k8s_io_decision": "authorization.k8s.io/decision",
    "authorization_k8s_io_reason": "authorization.k8s.io/reason",
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)(?: UTC|Z|\+00:?(?:00)?)?\Z")


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The event in the row; None for other objects."""
    name = next((name for name in fields if name.lower() == "protopayload_auditlog"), None)
    if name is None:
        return None
    payload = members(text_of(fields[name]))
    if payload is None:
        others = [inner for field in ("textPayload", "jsonPayload") if (inner := text_of(fields.get(field)))]
        return [line.inner(others[0], **gke.around(fields))] if others else [line.hollow("BigQuery row whose payload is null")]
    missing = [what for what, there in (("timestamp", fields), ("resourceName", payload)) if not string(there.get(what))]
    if missing:
        return [line.hollow(f"BigQuery row of an audit log without {' and '.join(missing)}")]
    return [gke.audited(_entry(fields), _payload(payload), line)]


def _entry(fields: Fields) -> Fields:
    """The row under the names and with the types of an entry."""
    entry = dict(fields)
    time = _TIME.match(string(fields.get("timestamp")) or "")
    if time:
        entry["timestamp"] = msgspec.Raw(f'"{time[1]}T{time[2]}Z"'.encode())
    labels = members(text_of(fields.get("labels")))
    if labels is not None:
        named = {_DECISION.get(name, name): raw for name, raw in labels.items() if bytes(raw) != b"null"}
        entry["labels"] = msgspec.Raw(msgspec.json.encode(named))
    return entry


def _payload(row: Fields) -> Fields:
    """protopayload_auditlog as protoPayload: bodies are JSON again, what is null is absent."""
    payload = {name: raw for name, raw in row.items() if bytes(raw) != b"null"}
    for column, name in _BODIES:
        text = text_of(payload.pop(column, None))
        if text and members(text) is not None:
            payload[name] = msgspec.Raw(text)
    return payload


_ROW = (
    b'{"logName":"projects/p/logs/cloudaudit.googleapis.com%%2Factivity","resource":{"type":"k8s_cluster","labels":'
    b'{"cluster_name":"prod"}},"protopayload_auditlog":{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.delete",'
    b'"resourceName":"core/v1/namespaces/default/pods/x","numResponseItems":null,"status":{"code":"%s","message":null},'
    b'"authenticationInfo":{"principalEmail":"eve@example.com","authoritySelector":null},"requestMetadata":{"callerIp":"203.0.113.7",'
    b'"callerSuppliedUserAgent":"kubectl/v1.30.1","callerNetwork":null},"requestJson":"{\\"kind\\":\\"DeleteOptions\\",\\"x\\":1.10}",'
    b'"responseJson":null,"metadataJson":null},"textPayload":null,"timestamp":"%s","insertId":"i-1","httpRequest":null,'
    b'"operation":{"id":"a1","producer":"k8s.io","first":"true","last":"true"},'
    b'"labels":{"authorization_k8s_io_decision":"allow"},"trace":null}'
)
_WANTED = {
    "auditID": "a1", "stage": "ResponseComplete", "verb": "delete", "level": "Request", "cluster": "prod",
    "user": {"username": "eve@example.com"}, "sourceIPs": ["203.0.113.7"], "stageTimestamp": "2024-05-01T10:00:00.123456Z",
    "objectRef": {"resource": "pods", "namespace": "default", "name": "x", "apiVersion": "v1"},
    "annotations": {"authorization.k8s.io/decision": "allow"}, "request_object": '{"kind":"DeleteOptions","x":1.10}',
}  # fmt: skip

SAMPLES = (
    Sample(
        _ROW % (b"0", b"2024-05-01 10:00:00.123456 UTC") + b"\n" + _ROW % (b"7", b"2024-05-01T10:00:00.123456Z"),
        (
            _WANTED | {"responseStatus": {"metadata": {}, "code": 200}},
            _WANTED | {"responseStatus": {"metadata": {}, "code": 403}},
        ),
    ),
    Sample(
        b'{"insertId":"x","textPayload":null,"protopayload_auditlog":{"methodName":"io.k8s.core.v1.pods.delete"}}\n'
        b'{"insertId":"x","protopayload_auditlog":null}\n',
        ({"reject": "without timestamp and resourceName"}, {"reject": "whose payload is null"}),
    ),
)
