"""Log Analytics: rows of AKS's own tables, and audit events with a column per field, however it writes their names.

AKSAudit and AKSAuditAdmin (https://learn.microsoft.com/azure/azure-monitor/reference/tables/aksaudit) have `AuditId`,
`RequestUri`, …, objects among them as text; AKSControlPlane has klog in `Message`. The query API answers with tables.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import msgspec

from . import names
from .line import Fields, Line, Sample, array, members, string, text_of

__all__ = ["SAMPLES", "open"]

_TEXTS = ("level", "auditID", "stage", "requestURI", "verb", "userAgent")
_OBJECTS = ("user", "impersonatedUser", "authenticationMetadata", "sourceIPs", "objectRef", "responseStatus", "annotations")
_BODIES = ("requestObject", "responseObject")
_TIMES = {
    "requestreceivedtime": "requestReceivedTimestamp", "requestreceivedtimestamp": "requestReceivedTimestamp",
    "stagereceivedtime": "stageTimestamp", "stagetimestamp": "stageTimestamp",
}  # fmt: skip
_COLUMNS = {name.lower(): name for name in (*_TEXTS, *_OBJECTS, *_BODIES)} | _TIMES
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}),? (\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,7}))?(?: ([AP])M)?\Z")


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The event, the log line, or the rows of the tables; None for other objects."""
    if "tables" in fields and (tables := array(fields["tables"])) is not None:
        return _tables(tables, line)
    if "Message" in fields and ("PodName" in fields or "Category" in fields):
        text = text_of(fields["Message"])
        return [line.inner(text, **_around(fields)) if text else line.hollow("AKSControlPlane row without a message")]
    columns = {name.replace("_", "").lower(): raw for name, raw in fields.items()}
    if not {"auditid", "stage", "verb", "level"} <= columns.keys():
        return None
    event: dict[str, msgspec.Raw | str] = {"kind": "Event", "apiVersion": "audit.k8s.io/v1"}
    for column, name in _COLUMNS.items():
        value = _value(name, columns.get(column))
        if value is not None:
            event.setdefault(name, value)
    return [line.inner(msgspec.json.encode(event), **_around(fields))]


def _value(name: str, raw: msgspec.Raw | None) -> msgspec.Raw | str | None:
    text = text_of(raw)
    if raw is None or not text or text == b"null":
        return None
    if name in _TEXTS:
        return raw
    if name in _TIMES.values():
        return _time(text.decode("utf-8", "replace"))
    if members(text) is not None or array(text) is not None:
        return msgspec.Raw(text)
    return raw if name in _BODIES or bytes(raw)[:1] != b'"' else None


def _around(fields: Fields) -> dict[str, Any]:
    pod, time = string(fields.get("PodName")), string(fields.get("TimeGenerated"))
    return {"time": _time(time) if time else None, "instance": pod, "cluster": names.cluster_of(fields), "stream": str(pod)}


def _time(text: str) -> str:
    """The portal's `5/1/2024, 10:00:00.123 AM` as RFC 3339, others as they stand."""
    match = _AMERICAN.match(text.strip())
    if match is None:
        return text
    month, day, year, hour, minute, second = (int(part) for part in match.groups()[:6])
    hour = hour % 12 + 12 * (match[8] == "P") if match[8] else hour
    try:
        moment = dt.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return text
    return f"{moment.isoformat()}.{match[7] or '0'}Z"


def _tables(tables: list[msgspec.Raw], line: Line) -> list[Line]:
    found = []
    for raw in tables:
        table = members(raw) or {}
        columns = [string((members(column) or {}).get("name")) or "" for column in array(table.get("columns")) or []]
        rows = array(table.get("rows"))
        if not rows or not columns:
            found.append(line.hollow("Log Analytics table without columns or rows", bytes(raw), listed=True))
        for row in rows or []:
            made = dict(zip(columns, array(row) or [], strict=False))
            found.append(line.inner(msgspec.json.encode(made), listed=True))
    return found or [line.hollow("Log Analytics answer without tables")]


_ROW = (
    b'{"TimeGenerated":"2024-05-01T10:00:00.1Z","Level":"Metadata","AuditId":"a1","Stage":"ResponseComplete","RequestUri":"/api/v1/pods",'
    b'"Verb":"list","User":"{\\"username\\":\\"eve\\"}","SourceIps":"[\\"192.0.2.1\\"]","ObjectRef":%s,"RequestObject":"",'
    b'"ResponseObject":"skipped-too-big-size-object","ResponseStatus":{"code":200},"RequestReceivedTime":"%s","Annotations":"",'
    b'"StageReceivedTime":null,"PodName":"p-1","Type":"AKSAudit","_ResourceId":"/s/0/managedclusters/aks-1"}'
)
_WANTED = {
    "auditID": "a1", "verb": "list", "user": {"username": "eve"}, "sourceIPs": ["192.0.2.1"], "objectRef": {"resource": "pods"},
    "responseStatus": {"code": 200}, "cluster": "aks-1", "instance": "p-1", "request_object": None, "annotations": None,
}  # fmt: skip

SAMPLES = (
    Sample(
        _ROW % (rb'"{\"resource\":\"pods\"}"', b"2024-05-01T10:00:00.123Z")
        + b"\n[%s]" % (_ROW % (b'{"resource":"pods"}', b"5/1/2024, 12:00:00.123 PM")),
        (
            _WANTED | {"requestReceivedTimestamp": "2024-05-01T10:00:00.123Z"},
            _WANTED | {"requestReceivedTimestamp": "2024-05-01T12:00:00.123Z"},
        ),
    ),
    Sample(
        b'{"tables":[{"name":"PrimaryResult","columns":[{"name":"log_s","type":"string"},{"name":"pod_s"}],"rows":'
        b'[["{\\"level\\":\\"Metadata\\",\\"auditID\\":\\"a1\\",\\"stage\\":\\"Panic\\",\\"verb\\":\\"get\\"}","p"],[null,"p"]]}]}\n',
        ({"auditID": "a1", "instance": "p", "item": 1}, {"reject": "AKS record whose log is empty"}),
    ),
    Sample(
        b'{"Message":"I0501 10:00:00.000000       1 a.go:1] hi","PodName":"p-2","Type":"AKSControlPlane","TimeGenerated":"2024-05-01T10:00:00Z"}\n'
        b'{"audit_id":"a2","stage":"Panic","verb":"get","level":"Metadata","request_uri":"/x","stage_timestamp":"2024-05-01T10:00:00Z"}\n',
        (
            {"auditID": "a2", "requestURI": "/x", "stageTimestamp": "2024-05-01T10:00:00Z"},
            {"format": "klog", "instance": "p-2", "text": "hi"},
        ),
    ),
)
