"""Which version of which kind a document says it is, and whether a kube-apiserver release has a decoder for it.

Sources: apimachinery pkg/runtime/serializer/json (meta.go Interpret, json.go gvkWithDefaults), pkg/runtime/error.go,
staging/src/k8s.io/apiserver/pkg/audit/policy/reader.go.
"""

from __future__ import annotations

from auditlens.policy.apiserver.document import Node
from auditlens.policy.apiserver.errors import Position, Problem
from auditlens.policy.apiserver.quoting import go_quote
from auditlens.policy.apiserver.versions import Features

__all__ = ["identify"]

_GROUP = "audit.k8s.io"
_INTERNAL = "__internal"
_SCHEME = 'in scheme "k8s.io/apiserver/pkg/audit/scheme.go:30"'
_OTHER_KINDS = ("Event", "EventList", "PolicyList")
_NOT_JSON = "failed decoding: couldn't get version/kind; json parse error: json: cannot unmarshal"
_GO_STRUCT = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'


def identify(root: Node, features: Features) -> str | Problem:
    """Return the API version to decode a Policy as ("v1"), or why this release cannot.

    The kind may be missing: the server then takes it from the object it decodes into.
    """
    names: dict[str, Node] = {}
    fault = _interpret(root, names)
    if fault is not None:
        return fault
    version_node, kind_node = names.get("apiversion"), names.get("kind")
    text = version_node.text if version_node else ""
    kind = (kind_node.text if kind_node else "") or "Policy"
    at = version_node.position if version_node else root.position
    if text.count("/") > 1:
        return _failed(f"unexpected GroupVersion string: {text}", at, "api-version")
    group, _, version = text.rpartition("/")
    if not version and group in ("", _GROUP):
        group, version = _GROUP, _INTERNAL
    if not version:
        return _failed("Object 'apiVersion' is missing", at, "api-version")
    shown = f"{group}/{version}" if group else version
    if shown == f"{_GROUP}/{_INTERNAL}":
        if kind == "Policy":
            message = f"unknown group version field {shown}, Kind={kind} in policy"
            return Problem(message, "api-version", at)
        registered = f"is registered for the internal version of group {go_quote(_GROUP)} {_SCHEME}"
        return _failed(f"no kind {go_quote(kind)} {registered}", at, "kind")
    at_kind = kind_node.position if kind_node else at
    served = shown in features.api_versions
    if not served or kind not in ("Policy", *_OTHER_KINDS):
        removed = shown in (f"{_GROUP}/v1beta1", f"{_GROUP}/v1alpha1") and kind == "Policy"
        code = "api-version-removed" if removed else "kind" if served else "api-version"
        message = f"no kind {go_quote(kind)} is registered for version {go_quote(shown)} {_SCHEME}"
        return _failed(message, at_kind if served else at, code)
    if kind != "Policy":
        message = f"converting ({version}.{kind}) to (audit.Policy): unknown conversion"
        return _failed(message, at_kind, "kind")
    return version


def _failed(message: str, position: Position, code: str) -> Problem:
    return Problem(f"failed decoding: {message}", code, position)


def _interpret(root: Node, names: dict[str, Node]) -> Problem | None:
    """Find apiVersion and kind in any case: here alone the server uses Go's forgiving decoder."""
    if root.kind not in ("object", "null"):
        return Problem(f"{_NOT_JSON} {root.kind} into Go value of type {_GO_STRUCT}", "kind", root.position)
    fault = None
    for key, _, node in root.entries:
        name = key.lower()
        if name not in ("apiversion", "kind") or node.kind == "null":
            continue
        if node.kind == "string":
            names[name] = node
            continue
        field, code = ("apiVersion", "api-version") if name == "apiversion" else ("kind", "kind")
        message = f"{_NOT_JSON} {node.kind} into Go struct field .{field} of type string"
        fault = fault or Problem(message, code, node.position, (key,))
    return fault
