"""Loki: pushes and query results (`streams`, `data.result`), and the JSON lines of logcli."""

from __future__ import annotations

import msgspec

from . import names
from .line import Fields, Line, Sample, array, lookup, members, rfc3339_of_ms, string

__all__ = ["SAMPLES", "open"]

_INSTANCE = ("instance", "node_name", "node", "host", "hostname", "pod")


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The lines of every stream; None for other objects."""
    if "line" in fields and "labels" in fields:
        return [_inner(line, members(fields["labels"]) or {}, string(fields["line"]), string(fields.get("timestamp")), False)]
    streams = array(fields.get("streams"))
    if streams is None:
        streams = array(lookup(fields, "data", "result"))
    if streams is None:
        return None
    found: list[Line] = []
    for raw in streams:
        stream = members(raw) or {}
        labels, values = members(stream.get("stream")) or {}, array(stream.get("values"))
        if not values:
            found.append(line.hollow("Loki stream without values", bytes(raw), listed=True))
        for value in values or []:
            text, time = _pair(array(value))
            found.append(_inner(line, labels, text, time, True))
    return found or [line.hollow("Loki answer without streams")]


def _pair(value: list[msgspec.Raw] | None) -> tuple[str | None, str | None]:
    if not value or len(value) < 2:
        return None, None
    nanos = string(value[0]) or ""
    return string(value[1]), rfc3339_of_ms(int(nanos) / 1e6) if nanos.isdigit() and len(nanos) < 20 else None


def _inner(line: Line, labels: Fields, text: str | None, time: str | None, listed: bool) -> Line:
    if not text:
        return line.hollow("Loki entry without a line", listed=listed)
    return line.inner(
        text.encode("utf-8", "replace"),
        time=time,
        instance=next((string(labels[name]) for name in _INSTANCE if name in labels), None),
        cluster=names.cluster_of(labels),
        stream=" ".join(f"{name}={bytes(value)!r}" for name, value in labels.items())[:1024],
        listed=listed,
    )


_EVENT = (
    rb"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"a1\","
    rb"\"stage\":\"Panic\",\"verb\":\"get\"}"
)

SAMPLES = (
    Sample(
        b'{"streams":[{"stream":{"cluster":"prod","node":"m-0"},"values":[["1714557600123456000","%s"]]}]}\n' % _EVENT,
        ({"auditID": "a1", "item": 1, "cluster": "prod", "instance": "m-0"},),
    ),
    Sample(
        b'{"labels":{"node":"m-0"},"line":"%s","timestamp":"2024-05-01T10:00:00Z"}\n' % _EVENT,
        ({"auditID": "a1", "item": None, "instance": "m-0", "time": "2024-05-01T10:00:00Z"},),
    ),
)
