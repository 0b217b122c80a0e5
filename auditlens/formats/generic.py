"""Any JSON object one of whose fields holds an audit event or a log line: Fluent Bit, Filebeat, Elastic, Splunk, Vector.

The event may be a string or an object; the search goes four levels down and no further than 200 fields.
"""

from __future__ import annotations

from collections import deque

import msgspec

from . import klog, legacy, native
from .cri import LINE as CRI
from .line import Fields, Line, Sample, array, lookup, members, string, text_of

__all__ = ["SAMPLES", "facts", "open"]

_TEXT = ("message", "log", "msg", "MESSAGE", "original", "line", "body", "_raw", "content", "payload", "event", "data")
_TIME = ("@timestamp", "time", "timestamp", "_time", "ts")
_HOST = (
    ("kubernetes", "host"), ("kubernetes", "node_name"), ("kubernetes", "node", "name"), ("host", "name"), ("host",),
    ("hostname",), ("agent", "hostname"),
)  # fmt: skip
_MAX_DEPTH = 4
_MAX_FIELDS = 200


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The first event found, else the first log line in a field named for one; None when there is neither."""
    hits = array(lookup(fields, "hits", "hits"))  # the answer to an Elasticsearch search
    if hits is not None:
        return [line.inner(bytes(hit), listed=True) for hit in hits]
    log: bytes | None = None
    queue = deque([(0, fields)])
    seen = 0
    while queue:
        depth, inside = queue.popleft()
        for name, raw in inside.items():
            seen += 1
            if seen > _MAX_FIELDS:
                queue.clear()
                break
            first = raw_start(raw)
            if first == b"{":
                inner = members(raw)
                if inner is not None and native.is_event(inner):
                    return [_inner(fields, line, bytes(raw))]
                if inner is not None and depth < _MAX_DEPTH - 1:
                    queue.append((depth + 1, inner))
            elif first == b'"':
                text = text_of(raw) or b""
                if _holds_event(text):
                    return [_inner(fields, line, text)]
                if log is None and name.rpartition(".")[2] in _TEXT and _is_log(text):
                    log = text
    return None if log is None else [_inner(fields, line, log)]


def facts(fields: Fields) -> tuple[str | None, str | None, str | None]:
    """(time, instance, cluster) as shippers name them."""
    time = next((text for name in _TIME if (text := string(fields.get(name)))), None)
    host = next((text for path in _HOST if (text := string(lookup(fields, *path)))), None)
    cluster = string(lookup(fields, "orchestrator", "cluster", "name")) or string(lookup(fields, "openshift", "cluster_id"))
    return (time if time and "T" in time else None), host, cluster


def raw_start(raw: msgspec.Raw) -> bytes:
    """The first byte of a value."""
    return bytes(memoryview(raw)[:1])


def _inner(fields: Fields, line: Line, text: bytes) -> Line:
    time, host, cluster = facts(fields)
    return line.inner(text, time=time, instance=host, cluster=cluster, stream=f"{host}")


def _holds_event(text: bytes) -> bool:
    start = text[:64].lstrip()
    if start[:1] in (b"{", b"["):
        return b'"auditID"' in text or b"audit.k8s.io/" in text
    return b" AUDIT: id=" in text[:64] or (CRI.match(text) is not None and b'"auditID"' in text)


def _is_log(text: bytes) -> bool:
    return klog.begins_entry(text) or CRI.match(text) is not None or legacy.LEGACY.match(text) is not None


_EVENT = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"Panic","verb":"get"}'
_QUOTED = b'"%s"' % _EVENT.replace(b'"', b'\\"')

SAMPLES = (
    Sample(
        b'{"@timestamp":"2024-05-01T10:00:00.000Z","host":{"name":"m-0"},"message":%s}\n' % _QUOTED
        + b'{"date":1714557600.1,"log":%s,"kubernetes":{"host":"m-1","labels":{"a":"b"}}}\n' % _QUOTED
        + b'{"preview":false,"result":{"_raw":%s,"host":"m-2"}}\n' % _QUOTED
        + b'{"time":1714557600,"host":"m-3","event":%s}\n' % _EVENT
        + b'{"@timestamp":"2024-05-01T10:00:00.000Z","log":{"original":"I0501 10:00:00.000000       1 a.go:1] hi"}}\n',
        (
            {"auditID": "a1", "item": None, "instance": "m-0", "time": "2024-05-01T10:00:00.000Z"},
            {"auditID": "a1", "instance": "m-1", "time": None},
            {"auditID": "a1"},
            {"auditID": "a1", "instance": "m-3"},
            {"format": "klog", "text": "hi"},
        ),
    ),
    Sample(
        b'{"took":1,"hits":{"total":{},"hits":[{"_id":"1","_source":{"message":%s}}]}}' % _QUOTED,
        ({"auditID": "a1", "item": 1},),
    ),
    Sample(b'{"kubernetes.audit.verb":"get","message":"x"}\n', ({"reject": "flattened fields"},)),
)
