"""Any JSON object one of whose fields holds audit events or a log line: Fluent Bit, Filebeat, Elastic, Splunk, Vector, Datadog.

The event may be a string or an object, or stand in an array of a page (`data`, `value`, `hits.hits`): the search goes four
levels down and no further than 200 fields. What the objects around it say of host and cluster belongs to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from . import klog, legacy, names, native
from .cri import LINE as CRI
from .line import Fields, Line, Sample, array, members, string, text_of

__all__ = ["SAMPLES", "open"]

_TEXT = ("message", "log", "msg", "original", "line", "body", "_raw", "content", "payload", "event", "data", "text", "@message")
_WORDS = (b"auditID", b"AuditId", b"AUDIT: id=", b"io.k8s.")  # of an event in any of its forms
_MAX_DEPTH = 4
_MAX_FIELDS = 200


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The events found, else the first log line in a field named for one, else the elements of a page; None without any."""
    found: dict[object, Line] = {}
    log: Line | None = None
    page: list[Line] | None = None
    for around, name, raw in _walk(fields, line):
        first = bytes(memoryview(raw)[:1])
        if first == b"{":
            inner = members(raw) or {}
            found.setdefault(_identity(inner), around.inner(bytes(raw), stream=around.instance or ""))
        elif first == b"[":
            page = page if page is not None else _page(raw, around)
        else:
            text = text_of(raw) or b""
            if _holds_event(text):
                found.setdefault(_identity(members(text)) or text, around.inner(text, stream=around.instance or ""))
            elif log is None and name.lower().rpartition(".")[2] in _TEXT and _is_log(text):
                log = around.inner(text, stream=around.instance or "")
    if found:
        return [*found.values()]
    return [log] if log is not None else page


def _walk(fields: Fields, line: Line) -> Iterator[tuple[Line, str, msgspec.Raw]]:
    """Events, arrays and texts, nearest first, each with what is known of it from around."""
    queue = deque([(0, fields, _context(fields, line))])
    seen = 0
    while queue:
        depth, inside, around = queue.popleft()
        for name, raw in inside.items():
            seen += 1
            if seen > _MAX_FIELDS:
                return
            first = bytes(memoryview(raw)[:1])
            if first == b"{":
                inner = members(raw)
                if inner is not None and native.is_event(inner):
                    yield around, name, raw
                elif inner is not None and depth < _MAX_DEPTH - 1:
                    queue.append((depth + 1, inner, _context(inner, around)))
            elif first in (b'"', b"["):
                yield around, name, raw


def _context(fields: Fields, line: Line) -> Line:
    """The same line, with what these fields say of it."""
    time, instance, cluster = names.facts(fields)
    known = line.same(line.text)
    known.time, known.instance, known.cluster = time or line.time, instance or line.instance, cluster or line.cluster
    known.disputed = (names.disputed(fields, line.cluster) if cluster else None) or line.disputed
    return known


def _identity(fields: Fields | None) -> object:
    """What tells one event from another: shippers keep the same one as text and as an object."""
    return (string(fields.get("auditID")), string(fields.get("stage"))) if fields else None


def _page(raw: msgspec.Raw, around: Line) -> list[Line] | None:
    text = bytes(raw)
    if not any(word in text for word in _WORDS) and klog.HEADER.search(text) is None:
        return None
    return [
        around.inner(text_of(element) or bytes(element), listed=True, stream=around.instance or "")
        for element in array(raw) or []
    ] or None


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
    Sample(  # Datadog: a page of GET /api/v2/logs/events
        b'{"data":[{"id":"1","type":"log","attributes":{"host":"m-0","tags":["env:p","kube_cluster_name:prod"],"timestamp":'
        b'"2024-05-01T10:00:00Z","attributes":%s}},{"id":"2","attributes":{"message":"x"}}],"meta":{"elapsed":1}}' % _EVENT,
        (
            {"auditID": "a1", "item": 1, "instance": "m-0", "cluster": "prod", "time": "2024-05-01T10:00:00Z"},
            {"reject": "fields id, attributes", "item": 2},
        ),
    ),
    Sample(
        b'{"cluster_name":"c1","log":%s}\n{"time":1,"host":"m-3","fields":{"cluster_name":"c2"},"event":%s}\n'
        b'{"_gdch_cluster":"c3","log":%s}\n{"kubernetes":{"cluster":"c4"},"message":%s}\n{"k8s.cluster.name":"c5","body":%s}'
        % (_QUOTED, _EVENT, _QUOTED, _QUOTED, _QUOTED),
        tuple({"auditID": "a1", "cluster": f"c{n}"} for n in range(1, 6)),
    ),
    Sample(
        b'{"value":[{"message":%s,"host":"m-1"}]}\n{"rawResponse":{"hits":{"hits":[{"_source":{"message":%s}}]}}}'
        % (_QUOTED, _QUOTED),
        ({"auditID": "a1", "item": 1, "instance": "m-1"}, {"auditID": "a1", "item": 1}),
    ),
    Sample(b'{"kubernetes.audit.verb":"get","message":"x"}\n', ({"reject": "flattened fields"},)),
)
