"""AKS diagnostic logs: `properties.log` holds the line, as a string or as an object; resourceId names the cluster.

Log Analytics rows of the same records have the columns log_s and pod_s.
"""

from __future__ import annotations

from . import names
from .line import Fields, Line, Sample, members, string, text_of

__all__ = ["SAMPLES", "open"]


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The line inside; None for other objects."""
    if "log_s" in fields:
        inside: Fields = {"log": fields["log_s"]} | ({"pod": fields["pod_s"]} if "pod_s" in fields else {})
    elif "properties" in fields and ("category" in fields or "resourceId" in fields or "Category" in fields):
        properties = members(fields["properties"]) or members(text_of(fields["properties"]))
        if properties is None or "log" not in properties:
            return None
        inside = properties
    else:
        return None
    pod = string(inside.get("pod"))
    text = text_of(inside["log"])
    if not text:
        return [line.hollow("AKS record whose log is empty or no text")]
    found = line.inner(
        text,
        time=next((string(fields[name]) for name in ("time", "TimeGenerated") if name in fields), None),
        instance=pod,
        cluster=names.cluster_of(fields),
        stream=f"{pod}/{string(inside.get('stream'))}",
    )
    return [found]


_EVENT = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"Panic","verb":"get"}'
_RECORD = (
    b'{"category":"kube-audit","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",'
    b'"properties":{"log":%s,"stream":"stdout","pod":"kube-apiserver-5b"},'
    b'"resourceId":"/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/PROD",'
    b'"time":"2024-05-01T10:00:00.1234567Z"}'
)
_QUOTED = b'"%s\\n"' % _EVENT.replace(b'"', b'\\"')
_WANTED = {"auditID": "a1", "cluster": "PROD", "instance": "kube-apiserver-5b", "time": "2024-05-01T10:00:00.1234567Z"}

SAMPLES = (
    Sample(_RECORD % _QUOTED + b"\n" + _RECORD % _EVENT, (_WANTED | {"item": None}, _WANTED | {"line": 2})),
    Sample(b'{"records":[%s,%s]}' % (_RECORD % _QUOTED, _RECORD % _EVENT), (_WANTED | {"item": 1}, _WANTED | {"item": 2})),
    Sample(
        b'{"log_s":%s,"pod_s":"p","_ResourceId":"/x/managedclusters/PROD"}' % _QUOTED,
        ({"auditID": "a1", "cluster": "PROD", "instance": "p"},),
    ),
)
