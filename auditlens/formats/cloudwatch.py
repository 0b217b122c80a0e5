"""CloudWatch Logs (EKS): subscription records, pages of `aws logs` commands, results of Logs Insights.

An EKS control plane logs to /aws/eks/CLUSTER/cluster, each apiserver to a stream kube-apiserver-audit-HASH; a message
is cut at 256 KB.
"""

from __future__ import annotations

import re

from .line import Fields, Line, Sample, array, members, rfc3339_of_ms, string, text_of, value_of

__all__ = ["SAMPLES", "open"]

_CLUSTER = re.compile(r"/aws/eks/([^/]+)/")
_PAGE = {"logStreamName", "ingestionTime", "eventId"}


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The messages inside; None for other objects. A CONTROL_MESSAGE (a health check) holds none."""
    if "logEvents" in fields and ("logGroup" in fields or "messageType" in fields):
        return _subscription(fields, line)
    if "message" in fields and not _PAGE.isdisjoint(fields):
        return [_message(fields, line, string(fields.get("logStreamName")), None, listed=False)]
    if "results" in fields and "statistics" in fields:
        return [found for row in array(fields["results"]) or [] if (found := _insight(row, line)) is not None]
    if "@message" in fields:
        text = text_of(fields["@message"]) or b""
        return [line.inner(text, time=_time(string(fields.get("@timestamp"))), instance=string(fields.get("@logStream")))]
    return None


def _subscription(fields: Fields, line: Line) -> list[Line] | None:
    if string(fields.get("messageType")) == "CONTROL_MESSAGE":
        return []
    events = array(fields["logEvents"])
    if events is None:
        return None
    stream, group = string(fields.get("logStream")), string(fields.get("logGroup")) or ""
    cluster = _CLUSTER.search(group)
    return [_message(members(event) or {}, line, stream, cluster[1] if cluster else None, listed=True) for event in events]


def _message(event: Fields, line: Line, stream: str | None, cluster: str | None, listed: bool) -> Line:
    text = text_of(event.get("message"))
    return line.inner(
        text or b"",
        time=rfc3339_of_ms(value_of(event.get("timestamp"))),
        instance=stream,
        cluster=cluster,
        stream=stream or "cloudwatch",
        listed=listed,
        reason=None if text else "CloudWatch event without a message",
    )


def _insight(row: bytes | object, line: Line) -> Line | None:
    """A row of get-query-results: a list of {"field": "@message", "value": "…"}."""
    cells = {}
    for cell in array(row) or []:  # type: ignore[arg-type]  # a Raw
        pair = members(cell) or {}
        cells[string(pair.get("field"))] = string(pair.get("value"))
    message = cells.get("@message")
    if message is None:
        return line.inner(b"", listed=True, reason="Logs Insights row without @message")
    stream, group = cells.get("@logStream"), _CLUSTER.search(cells.get("@log") or "")
    return line.inner(
        message.encode("utf-8", "replace"),
        time=_time(cells.get("@timestamp")),
        instance=stream,
        cluster=group[1] if group else None,
        stream=stream or "insights",
        listed=True,
    )


def _time(text: str | None) -> str | None:
    """Logs Insights writes UTC as `2024-05-01 10:00:00.123`."""
    if not text or not re.match(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", text):
        return None
    text = text.replace(" ", "T")
    return text if text.endswith("Z") or "+" in text else f"{text}Z"


_EVENT = (
    rb"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"a1\","
    rb"\"stage\":\"Panic\",\"verb\":\"get\"}"
)
_STREAM = b"kube-apiserver-audit-0123456789abcdef0123456789abcdef"
_SUBSCRIPTION = (
    b'{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"/aws/eks/prod/cluster","logStream":"%s",'
    b'"subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":1714557600123,"message":"%s"},'
    b'{"id":"2","timestamp":1714557600124,"message":"%s"}]}' % (_STREAM, _EVENT, _EVENT[:110])
)
_WANTED = (
    {
        "auditID": "a1", "item": 1, "cluster": "prod", "instance": _STREAM.decode(),
        "time": "2024-05-01T10:00:00.123000Z", "stageTimestamp": "2024-05-01T10:00:00.123000Z", "time_source": "wrapper",
    },
    {"auditID": "a1", "item": 2, "cut": True, "partial": True, "stage": None},
)  # fmt: skip

SAMPLES = (
    Sample(_SUBSCRIPTION, _WANTED),
    Sample(_SUBSCRIPTION.replace(b'"logEvents":[', b'\n"logEvents":[\n'), _WANTED),
    Sample(
        _SUBSCRIPTION * 2 + b'{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"","message":"CWL CONTROL MESSAGE"}]}',
        (*_WANTED, {"auditID": "a1", "item": 3, "cut": False}, {"auditID": "a1", "item": 4, "cut": True}),
    ),
    Sample(
        b'{\n "events": [\n  {\n   "logStreamName": "%s",\n   "timestamp": 1714557600123,\n   "message": "%s",\n'
        b'   "ingestionTime": 1,\n   "eventId": "3"\n  }\n ],\n "searchedLogStreams": []\n}\n' % (_STREAM, _EVENT),
        ({"auditID": "a1", "item": 1, "line": 3, "instance": _STREAM.decode(), "time": "2024-05-01T10:00:00.123000Z"},),
    ),
    Sample(
        b'{"results":[[{"field":"@timestamp","value":"2024-05-01 10:00:00.123"},{"field":"@message","value":"%s"}]],'
        b'"statistics":{},"status":"Complete"}' % _EVENT,
        ({"auditID": "a1", "item": 1, "time": "2024-05-01T10:00:00.123Z"},),
    ),
)
