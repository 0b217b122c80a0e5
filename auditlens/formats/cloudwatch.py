"""CloudWatch Logs (EKS): subscription records, pages of `aws logs` commands, results of Logs Insights.

An EKS control plane logs to /aws/eks/CLUSTER/cluster, each apiserver to a stream kube-apiserver-audit-HASH; a message
is cut at 256 KB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from . import names
from .line import Fields, Line, Sample, array, members, rfc3339_of_ms, string, text_of, value_of

__all__ = ["SAMPLES", "cells", "open"]

_PAGE = {"logStreamName", "ingestionTime", "eventId", "logGroupName"}
_CELL = {"field", "value"}
_NO_ROW = "Logs Insights row that is no list of fields and values"


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The messages inside; None for other objects. A CONTROL_MESSAGE (a health check) holds none."""
    if "logEvents" in fields and ("logGroup" in fields or "messageType" in fields):
        return _subscription(fields, line)
    if "message" in fields and not _PAGE.isdisjoint(fields):
        stream, group = string(fields.get("logStreamName")), string(fields.get("logGroupName"))
        return [_message(fields, line, stream, names.of_group(group), listed=False)]
    if "results" in fields and ("statistics" in fields or "queryLanguage" in fields):
        rows = array(fields["results"]) or []
        found = [cells(array(row) or [], line) or line.hollow(_NO_ROW, bytes(row), True) for row in rows]
        return found or [line.hollow("Logs Insights answer without rows")]
    if "@message" in fields:
        return [_insight({name: text_of(raw) for name, raw in fields.items()}, line, listed=False)]
    return None


def cells(row: list[msgspec.Raw], line: Line) -> Line | None:
    """A row of get-query-results: a list of {"field": "@message", "value": "…"}; None for other lists."""
    found: dict[str, bytes | None] = {}
    for cell in map(members, row):
        name = string(cell.get("field")) if cell and cell.keys() <= _CELL else None
        if cell is None or name is None:
            return None
        found[name] = text_of(cell.get("value"))
    return _insight(found, line, listed=True) if found else None


def _subscription(fields: Fields, line: Line) -> list[Line] | None:
    if string(fields.get("messageType")) == "CONTROL_MESSAGE":
        return []
    events = array(fields["logEvents"])
    if events is None:
        return None
    stream, cluster = string(fields.get("logStream")), names.of_group(string(fields.get("logGroup")))
    found = [_message(members(event) or {}, line, stream, cluster, listed=True) for event in events]
    return found or [line.hollow("CloudWatch record without events")]


def _message(event: Fields, line: Line, stream: str | None, cluster: str | None, listed: bool) -> Line:
    text = text_of(event.get("message"))
    if not text:
        return line.hollow("CloudWatch event without a message", msgspec.json.encode(event), listed)
    return line.inner(
        text,
        time=rfc3339_of_ms(value_of(event.get("timestamp"))),
        instance=stream,
        cluster=cluster,
        stream=stream or "cloudwatch",
        listed=listed,
    )


def _insight(row: Mapping[str, bytes | None], line: Line, listed: bool) -> Line:
    """A row of Logs Insights; its console's JSON has the message as an object."""
    message = row.get("@message")
    if not message:
        return line.hollow("Logs Insights row without @message", msgspec.json.encode(_texts(row)), listed)
    told = _texts(row)
    return line.inner(
        message,
        time=_time(told.get("@timestamp")),
        instance=told.get("@logStream"),
        cluster=names.of_group(told.get("@log")),
        stream=told.get("@logStream") or "insights",
        listed=listed,
    )


def _texts(row: Mapping[str, bytes | None]) -> dict[str, str]:
    return {name: text.decode("utf-8", "replace") for name, text in row.items() if text is not None}


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

_ROWS = (
    b'%%s[[{"field":"@message","value":"%s"},{"field":"@logStream","value":"s"},'
    b'{"field":"@log","value":"1:/aws/eks/prod/cluster"},{"field":"@ptr","value":"C"}]]}' % _EVENT
)
_ROW = ({"auditID": "a1", "item": 1, "cluster": "prod", "instance": "s"},)

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
    Sample(_ROWS % b'{"results":', _ROW),
    Sample((_ROWS % b'{"queryLanguage":"CWLI","results":').replace(b"]]}", b']],"statistics":{},"status":"Complete"}'), _ROW),
    Sample((_ROWS % b"")[:-1], _ROW),  # --query results
    Sample((_ROWS % b"")[:-1].replace(b"[{", b"\n [\n  {").replace(b"},{", b"},\n  {"), (_ROW[0] | {"line": 2},)),
    Sample(b'[{"@message":%s,"@logStream":"s","@log":"1:/aws/eks/prod/cluster"}]' % _EVENT.replace(b"\\", b""), _ROW),
    Sample(b'{"message":null,"eventId":"1"}\n', ({"reject": "without a message"},)),
)
