"""The apiserver's own JSON: audit events of any version, lists of them, and what only looks like one."""

from __future__ import annotations

import re

from . import names
from .line import Fields, Line, Sample, array, string

__all__ = ["AUDIT_START", "ITEM_START", "SAMPLES", "facts", "is_event", "is_event_start", "open", "why_not"]

AUDIT_START = b'{"kind":"Event","apiVersion":"audit.k8s.io/'
# an item of an EventList, split out: Go writes the fields in the order of the struct, and items have no kind
ITEM_START = re.compile(rb'\{"level":"[A-Za-z]+","(?:timestamp":"[^"]*",")?auditID":"')

_LISTS = ("items", "records", "events", "Records", "entries")
_TYPE = ("kind", "apiVersion")
_OWN = {  # of v1 and its forerunners (types.go): whoever sent the request decides what they say
    "kind", "apiVersion", "metadata", "level", "timestamp", "auditID", "stage", "requestURI", "verb", "user", "impersonatedUser",
    "authenticationMetadata", "sourceIPs", "userAgent", "objectRef", "responseStatus", "requestObject", "responseObject",
    "requestReceivedTimestamp", "stageTimestamp", "annotations",
}  # fmt: skip
_ADMISSION = (
    "; it is what an admission webhook was asked: import the apiserver's audit log, which holds the request and, in annotations, "
    "what webhooks made of it"
)
_COLLECTOR_LEVELS = ("k8s_audit_level", "openshift_audit_level")


def is_event(fields: Fields) -> bool:
    """Whether the object is an audit event, told by its group or, as list items have none, by auditID and stage."""
    if "auditID" in fields and "stage" in fields:
        return "level" in fields or "requestBody" not in fields  # Rancher's audit log had stages once
    group = string(fields.get("apiVersion"))
    return bool(group and group.startswith("audit.k8s.io/") and string(fields.get("kind")) == "Event")


def is_event_start(text: bytes) -> bool:
    """Whether the text begins as the apiserver writes an event: on one line, whatever becomes of its end."""
    return text.startswith(AUDIT_START) or ITEM_START.match(text) is not None


def facts(fields: Fields, line: Line) -> Line:
    """What a collector wrote into the event itself: the level it replaced, the host, the cluster.

    OpenShift's collector sets `level` to its own word and moves the audit level to k8s_audit_level or
    openshift_audit_level (cluster-logging-operator, internal/generator/vector).
    """
    for name in _COLLECTOR_LEVELS:
        line.level = string(fields.get(name)) or line.level
    line.instance = string(fields.get("hostname")) or line.instance
    added = fields.keys() - _OWN
    if added:
        line.cluster = names.cluster_of({name: fields[name] for name in added}) or line.cluster
    return line


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The items of an EventList, a List, and the pages and batches that name their list items, records, events."""
    for name in _LISTS:
        if name in fields:
            items = array(fields[name])
            if items is not None:
                _, instance, cluster = names.facts(fields)
                found = [line.inner(bytes(item), instance=instance, cluster=cluster, listed=True) for item in items]
                return found or [line.hollow(f"an empty list: no {name} in it")]
    return None


def why_not(fields: Fields) -> str:
    """Why an object that nothing recognised is not an audit event."""
    kind, group = string(fields.get("kind")), string(fields.get("apiVersion"))
    if kind == "Event" and group and (group == "v1" or group.startswith("events.k8s.io/")):
        return f"core/v1 Event object, not an audit event: apiVersion={group}"
    if "involvedObject" in fields or ("regarding" in fields and "reportingController" in fields):
        return "core/v1 Event object, not an audit event"
    if any(name.startswith("kubernetes.audit.") for name in fields):
        return "flattened fields (kubernetes.audit.*), not an audit event: the original is needed"
    if "verb" in fields and ("user" in fields or "username" in fields) and "auditID" not in fields:
        return "flattened imitation of an audit event: verb and user, but no auditID and stage"
    if "requestTimestamp" in fields or "remoteAddr" in fields or ("auditID" in fields and "requestBody" in fields):
        return (
            "Rancher's own API audit log, not an audit event of Kubernetes: it tells what was asked of Rancher; import the audit "
            "log of the cluster's apiserver, where the same person is the impersonated user"
        )
    if "kind" in fields or "apiVersion" in fields:
        said = (string(fields.get(name)) or bytes(fields.get(name, b"none")).decode("utf-8", "replace")[:60] for name in _TYPE)
        what = "JSON object is not an audit event: kind={}, apiVersion={}".format(*said)
        return what + (_ADMISSION if kind == "AdmissionReview" else "")
    names = ", ".join(list(fields)[:6]) or "none"
    return f"JSON object is not an audit event: fields {names}"


_EVENT = (
    b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"ResponseComplete",'
    b'"requestURI":"/api/v1/namespaces/shop/pods/web","verb":"get","user":{"username":"eve"},'
    b'"requestReceivedTimestamp":"2024-05-01T10:00:00.000000Z","stageTimestamp":"2024-05-01T10:00:00.001000Z"}'
)
_ITEM = _EVENT.replace(b'"kind":"Event","apiVersion":"audit.k8s.io/v1",', b"")
_FOUND = {"auditID": "a1", "stage": "ResponseComplete", "verb": "get"}

SAMPLES = (
    Sample(_EVENT + b"\n", (_FOUND | {"item": None},)),
    Sample(b"\x1e" + _EVENT + b"\n\x1e" + _ITEM + b"\n", (_FOUND | {"item": None}, _FOUND)),
    Sample(_ITEM + b"\n" + _EVENT + b"," + b"\r\n", (_FOUND, _FOUND)),
    Sample(
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%s,%s]}\n' % (_ITEM, _ITEM),
        (_FOUND | {"item": 1}, _FOUND | {"item": 2}),
    ),
    Sample(b"[%s,%s]" % (_EVENT, _ITEM), (_FOUND | {"item": 1}, _FOUND | {"item": 2})),
    Sample(b"[\n%s,\n%s\n]\n" % (_EVENT, _ITEM), (_FOUND | {"item": 1, "line": 2}, _FOUND | {"item": 2, "line": 3})),
    Sample(b'{\n  "apiVersion": "v1",\n  "items": [\n    %s\n  ],\n  "kind": "List"\n}\n' % _ITEM, (_FOUND | {"line": 4},)),
    Sample(_EVENT + _EVENT, (_FOUND | {"item": None}, _FOUND | {"item": 2})),
    Sample(  # as OpenShift's collector forwards it
        b'{"@timestamp":"2023-10-18T17:32:47.4Z","apiVersion":"audit.k8s.io/v1","auditID":"a1","hostname":"ip-10-0-1-2",'
        b'"k8s_audit_level":"Metadata","kind":"Event","level":"default","log_type":"audit","openshift":{"cluster_id":"c1"},'
        b'"stage":"ResponseComplete","verb":"get"}\n',
        (_FOUND | {"level": "Metadata", "instance": "ip-10-0-1-2", "cluster": "c1"},),
    ),
    Sample(_EVENT[:150], ({"auditID": "a1", "cut": True, "partial": True},)),
    Sample(b'{"log":"' + _EVENT[:150].replace(b'"', b'\\"'), ({"auditID": "a1", "cut": True},)),
    Sample(_EVENT[:170] + b"...[Truncated...]\n", ({"auditID": "a1", "cut": True},)),
    Sample(b'{"items":[\n%s,\n%s' % (_ITEM, _ITEM[:170]), (_FOUND | {"line": 2}, {"auditID": "a1", "item": 2, "cut": True})),
    Sample(_EVENT[:170] + b"\n" + _EVENT, ({"auditID": "a1", "cut": True}, _FOUND)),
    Sample(_EVENT[:170] + _EVENT, ({"auditID": "a1", "cut": True}, _FOUND)),
    Sample(
        b'{"kind":"Event","apiVersion":"v1","metadata":{"name":"x"},"involvedObject":{}}\n{"verb":"get","user":"x"}\n',
        ({"reject": "core/v1 Event object"}, {"reject": "flattened imitation"}),
    ),
    Sample(
        b'{"auditID":"r","requestURI":"/v3/x","user":{"name":"u"},"method":"POST","remoteAddr":"192.0.2.1:5","requestTimestamp":"t"}\n'
        b'{"auditID":"r","stage":"RequestReceived","requestURI":"/v3/x","verb":"PUT","user":{"name":"u"},"requestBody":{}}\n'
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u"}}\n',
        (
            {"reject": "Rancher's own API audit log"},
            {"reject": "Rancher's own"},
            {"reject": "what an admission webhook was asked"},
        ),
    ),
    Sample(b'{"a":tru}\nsome words\n', ({"reject": "not JSON at column"}, {"reject": "text line of no known format"})),
)
