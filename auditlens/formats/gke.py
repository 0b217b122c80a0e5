"""GKE's Cloud Logging entries: Google's AuditLog is turned into the audit event it was made from, as far as it says.

https://cloud.google.com/kubernetes-engine/docs/how-to/audit-logging and google/cloud/audit/audit_log.proto. Method
`io.k8s.core.v1.pods.delete` ends in the verb; resource `core/v1/namespaces/default/pods/x` is the API path without its
prefix. The query string, the groups of the user and the exact 2xx code are not in the entry and stay absent or 200.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .line import Fields, Line, Sample, lookup, members, string, text_of, value_of

__all__ = ["SAMPLES", "around", "audited", "open"]

_PAYLOADS = ("protoPayload", "textPayload", "jsonPayload")

# google/rpc/code.proto: the HTTP mapping beside each code
_HTTP = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
    13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip
_TRUE = (True, "true")  # BigQuery's rows have texts
_METHOD = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE"}


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The event made of protoPayload, or what textPayload or jsonPayload hold; None for other objects."""
    if "logName" not in fields and "insertId" not in fields and "resource" not in fields:
        return None
    there = [name for name in _PAYLOADS if name in fields]
    if not there:
        return None
    payload = members(fields.get("protoPayload"))
    if payload is not None:
        return [audited(fields, payload, line)]
    for name in there:
        if text := text_of(fields[name]):
            return [line.inner(text, **around(fields))]
    return [line.hollow(f"Cloud Logging entry whose {', '.join(there)} holds nothing")]


def around(fields: Fields) -> dict[str, Any]:
    """What an entry says beside its payload, as Line.inner() takes it."""
    labels = members(lookup(fields, "resource", "labels")) or {}
    places = (labels.get("pod_name"), labels.get("node_name"), lookup(fields, "labels", "compute.googleapis.com/resource_name"))
    instance = next((text for raw in places if (text := string(raw))), None)
    cluster = string(labels.get("cluster_name"))
    return {"time": string(fields.get("timestamp")), "instance": instance, "cluster": cluster, "stream": f"{instance}"}


def audited(fields: Fields, payload: Fields, line: Line) -> Line:
    """The audit event in a line of its own, a reject when it is of another API than Kubernetes'."""
    service = string(payload.get("serviceName"))
    method = string(payload.get("methodName")) or ""
    if not method.startswith("io.k8s") and service != "k8s.io":
        return line.hollow(f"audit log of {service}, not of the Kubernetes API")
    return line.inner(msgspec.json.encode(_event(fields, payload, method)), **around(fields))


def _event(fields: Fields, payload: Fields, method: str) -> dict[str, Any]:
    verb, resource = method.rpartition(".")[2], string(payload.get("resourceName")) or ""
    request, response = payload.get("request"), payload.get("response")
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse" if response else "Request" if request else "Metadata",
        "auditID": string(lookup(fields, "operation", "id")) or string(fields.get("insertId")),
        "stage": _stage(fields),
        "verb": verb,
        "user": {"username": string(lookup(payload, "authenticationInfo", "principalEmail"))},
        "sourceIPs": [ip for ip in [string(lookup(payload, "requestMetadata", "callerIp"))] if ip] or None,
        "userAgent": string(lookup(payload, "requestMetadata", "callerSuppliedUserAgent")),
        "responseStatus": _status(payload),
        "requestReceivedTimestamp": string(lookup(payload, "requestMetadata", "requestAttributes", "time")),
        "stageTimestamp": string(fields.get("timestamp")),
        "annotations": value_of(fields.get("labels")),
        "requestObject": request,
        "responseObject": response,
    }
    event |= _what(verb, resource, method)
    for name in ("methodName", "resourceName", "authenticationInfo", "authorizationInfo"):
        event[name] = payload.get(name)
    for name in ("logName", "insertId"):
        event[name] = fields.get(name)
    return {name: value for name, value in event.items() if value is not None}


def _stage(fields: Fields) -> str:
    """A long-running request gives an entry at its start and one at its end, both with the operation's id."""
    first = value_of(lookup(fields, "operation", "first")) in _TRUE
    last = value_of(lookup(fields, "operation", "last")) in _TRUE
    return "ResponseStarted" if first and not last else "ResponseComplete"


def _status(payload: Fields) -> dict[str, Any]:
    status = value_of(payload.get("status"))
    status = status if isinstance(status, dict) else {}
    answer = members(payload.get("response")) or {}
    if string(answer.get("kind")) == "Status":
        said = {name: value_of(answer.get(name)) for name in ("status", "message", "reason", "details", "code")}
        if isinstance(said["code"], int):
            return {"metadata": {}} | {name: value for name, value in said.items() if value is not None}
    code = status.get("code") or 0
    code = int(code) if isinstance(code, str) and code.isdigit() and len(code) < 5 else code
    found = {"metadata": {}, "code": _HTTP.get(code, 500) if isinstance(code, int) else 500}
    return found | ({"message": status["message"]} if isinstance(status.get("message"), str) else {})


def _what(verb: str, resource: str, method: str) -> dict[str, Any]:
    """objectRef, or the path of a non-resource request (method io.k8s.get)."""
    if method.count(".") < 4:
        return {"requestURI": "/" + resource.lstrip("/")} if resource else {}
    from auditlens.requestinfo import resolve

    path = f"/api/{resource[5:]}" if resource.startswith("core/") else f"/apis/{resource}"
    info = resolve(_METHOD.get(verb, "GET"), path)
    if not info.is_resource_request or not info.resource:
        return {}
    pairs = (
        ("resource", info.resource),
        ("namespace", info.namespace),
        ("name", info.name),
        ("apiGroup", info.api_group),
        ("apiVersion", info.api_version),
        ("subresource", info.subresource),
    )
    return {"objectRef": {name: value for name, value in pairs if value}}


_ENTRY = (
    b'{"insertId":"i-1","labels":{"authorization.k8s.io/decision":"allow"},"logName":"projects/p/logs/'
    b'cloudaudit.googleapis.com%%2Factivity","operation":{"first":true,"id":"a1","last":true,"producer":"k8s.io"},'
    b'"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","authenticationInfo":'
    b'{"principalEmail":"eve@example.com"},"authorizationInfo":[{"granted":true,"permission":"io.k8s.core.v1.pods.delete",'
    b'"resource":"core/v1/namespaces/default/pods/x"}],"methodName":"io.k8s.core.v1.pods.delete","request":'
    b'{"@type":"meta.k8s.io/__internal.DeleteOptions","x":1.10},"requestMetadata":{"callerIp":"203.0.113.7",'
    b'"callerSuppliedUserAgent":"kubectl/v1.30.1"},"resourceName":"core/v1/namespaces/default/pods/x",'
    b'"serviceName":"k8s.io","status":%s},"resource":{"labels":{"cluster_name":"prod","location":"eu"},'
    b'"type":"k8s_cluster"},"timestamp":"2024-05-01T10:00:00.123456Z"}'
)
_WANTED = {
    "auditID": "a1", "stage": "ResponseComplete", "verb": "delete", "level": "Request", "cluster": "prod",
    "user": {"username": "eve@example.com"}, "sourceIPs": ["203.0.113.7"], "stageTimestamp": "2024-05-01T10:00:00.123456Z",
    "objectRef": {"resource": "pods", "namespace": "default", "name": "x", "apiVersion": "v1"},
    "annotations": {"authorization.k8s.io/decision": "allow"},
    "request_object": '{"@type":"meta.k8s.io/__internal.DeleteOptions","x":1.10}',
}  # fmt: skip

SAMPLES = (
    Sample(
        _ENTRY % b"{}" + b"\n" + _ENTRY % b'{"code":7,"message":"Forbidden"}',
        (
            _WANTED | {"item": None, "responseStatus": {"metadata": {}, "code": 200}},
            _WANTED | {"responseStatus": {"metadata": {}, "code": 403, "message": "Forbidden"}},
        ),
    ),
    Sample(b"[\n  %s\n]\n" % (_ENTRY % b"{}"), (_WANTED | {"item": 1, "line": 2},)),
    Sample(
        b'{"insertId":"2","textPayload":"{\\"level\\":\\"Metadata\\",\\"auditID\\":\\"a2\\",\\"stage\\":\\"Panic\\",'
        b'\\"verb\\":\\"get\\"}"}\n{"insertId":"3","jsonPayload":{"level":"Metadata","auditID":"a3","stage":"Panic",'
        b'"verb":"get"}}\n{"insertId":"4","protoPayload":{"serviceName":"container.googleapis.com"}}\n',
        ({"auditID": "a2"}, {"auditID": "a3"}, {"reject": "audit log of container.googleapis.com"}),
    ),
    Sample(
        b'{"insertId":"5","textPayload":null}\n{"insertId":"6","protoPayload":null,"jsonPayload":{"level":"Metadata","auditID":"a6",'
        b'"stage":"Panic","verb":"get"}}\n',
        ({"reject": "whose textPayload holds nothing"}, {"auditID": "a6"}),
    ),
)
