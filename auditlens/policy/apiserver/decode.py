"""Nodes become the fields of a Policy as kube-apiserver decodes them: names in exact case, unknown ones told apart.

Source: sigs.k8s.io/json (UnmarshalStrict and UnmarshalCaseSensitivePreserveInts), the field tags of
staging/src/k8s.io/apiserver/pkg/apis/audit/v1/types.go and apimachinery pkg/apis/meta/v1/types.go.
A type fault does not stop the decoding: the first one is the server's error, the rest is decoded as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from auditlens.policy.apiserver.document import Node
from auditlens.policy.apiserver.errors import Path, Position, Problem

__all__ = ["Decoded", "Unknown", "decode", "dotted", "known_fields"]


@dataclass(frozen=True, slots=True)
class _Type:
    """A Go type: `go` is its name in messages; a struct has fields, a list or map an element."""

    kind: str  # struct, list, map, string, bool, pointer-bool, int64, time, any
    go: str = ""
    fields: dict[str, _Type] = field(default_factory=dict)
    element: _Type | None = None


_STRING: Final = _Type("string", "string")
_STRINGS: Final = _Type("list", "[]string", element=_STRING)
_BOOL: Final = _Type("bool", "bool")
_POINTER_BOOL: Final = _Type("pointer-bool", "bool")
_INT: Final = _Type("int64", "int64")
_TIME: Final = _Type("time", "string")
_STRING_MAP: Final = _Type("map", "map[string]string", element=_STRING)
_OWNER: Final = _Type(
    "struct",
    "v1.OwnerReference",
    {
        **dict.fromkeys(("apiVersion", "kind", "name"), _STRING),
        "uid": _Type("string", "types.UID"),
        "controller": _POINTER_BOOL,
        "blockOwnerDeletion": _POINTER_BOOL,
    },
)
_META: Final = _Type(
    "struct",
    "v1.ObjectMeta",
    {
        **dict.fromkeys(("name", "generateName", "namespace", "selfLink", "resourceVersion"), _STRING),
        "uid": _Type("string", "types.UID"),
        "generation": _INT,
        "creationTimestamp": _TIME,
        "deletionTimestamp": _TIME,
        "deletionGracePeriodSeconds": _INT,
        "labels": _STRING_MAP,
        "annotations": _STRING_MAP,
        "ownerReferences": _Type("list", "[]v1.OwnerReference", element=_OWNER),
        "finalizers": _STRINGS,
        "managedFields": _Type("list", "[]v1.ManagedFieldsEntry", element=_Type("any")),
    },
)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")


def _policy_type(package: str) -> _Type:
    stages = _Type("list", f"[]{package}.Stage", element=_Type("string", f"{package}.Stage"))
    group = _Type(
        "struct",
        f"{package}.GroupResources",
        {"group": _STRING, "resources": _STRINGS, "resourceNames": _STRINGS},
    )
    rule = _Type(
        "struct",
        f"{package}.PolicyRule",
        {
            "level": _Type("string", f"{package}.Level"),
            **dict.fromkeys(("users", "userGroups", "verbs"), _STRINGS),
            "resources": _Type("list", f"[]{package}.GroupResources", element=group),
            **dict.fromkeys(("namespaces", "nonResourceURLs"), _STRINGS),
            "omitStages": stages,
            "omitManagedFields": _POINTER_BOOL,
        },
    )
    return _Type(
        "struct",
        f"{package}.Policy",
        {
            "kind": _STRING,
            "apiVersion": _STRING,
            "metadata": _META,
            "rules": _Type("list", f"[]{package}.PolicyRule", element=rule),
            "omitStages": stages,
            "omitManagedFields": _BOOL,
        },
    )


_POLICY: Final = {package: _policy_type(package) for package in ("v1", "v1beta1", "v1alpha1")}


@dataclass(frozen=True, slots=True)
class Unknown:
    """A key the server drops; `path` ends in it, `node` is what stood under it."""

    path: Path
    position: Position
    node: Node
    repeated: bool = False  # a known field given twice (JSON only)


@dataclass(slots=True)
class Decoded:
    """`value` holds the known fields by their JSON names; `positions` say where each value, or else its key, stands."""

    value: dict[str, Any] = field(default_factory=dict)
    positions: dict[Path, Position] = field(default_factory=dict)
    unknown: list[Unknown] = field(default_factory=list)
    faults: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Position:
        """The position of a field, or of the nearest thing around it that stands in the text."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, Position(1, 1))


def decode(root: Node, package: str = "v1") -> Decoded:
    """Decode a document as the Policy of one API version; the server's error is the first of `faults`."""
    out = Decoded()
    value = _Decoder(out).value(root, _POLICY[package], None, (), "")
    out.value = value if isinstance(value, dict) else {}
    return out


def known_fields(path: Path) -> tuple[str, ...]:
    """The field names the server knows where an unknown one (the path's last part) was found."""
    kind: _Type | None = _POLICY["v1"]
    for part in path[:-1]:
        if kind is None:
            return ()
        kind = kind.element if isinstance(part, int) else kind.fields.get(part)
    return tuple(kind.fields) if kind is not None else ()


def dotted(path: Path) -> str:
    """Write a path as Kubernetes does: rules[0].resources[1].verbs."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


class _Decoder:
    def __init__(self, out: Decoded) -> None:
        self._out = out

    def value(self, node: Node, kind: _Type, into: Any, path: Path, context: str) -> Any:
        """Decode a node over what was there (JSON may give a field twice); `context` is the struct of the field."""
        self._out.positions[path] = node.position
        if kind.kind == "any":
            return into
        if node.kind == "null":
            return None if kind.kind in ("list", "map", "pointer-bool", "time") else into
        if node.kind == "object" and kind.kind == "struct":
            return self._struct(node, kind, into, path)
        if node.kind == "object" and kind.kind == "map" and kind.element is not None:
            name = context
            return {k: self.value(v, kind.element, None, (*path, k), name) or "" for k, _, v in node.entries}
        if node.kind == "array" and kind.kind == "list" and kind.element is not None:
            return self._list(node, kind.element, into, path, context)
        return self._literal(node, kind, into, path, context)

    def _struct(self, node: Node, kind: _Type, into: Any, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = into if isinstance(into, dict) else {}
        times: dict[str, int] = {}
        for key, position, child in node.entries:
            inner = (*path, key)
            known = kind.fields.get(key)
            times[key] = times.get(key, 0) + 1
            if known is None:
                if times[key] == 1:  # the server tells each thing once
                    self._out.unknown.append(Unknown(inner, position, child))
                continue
            if times[key] == 2:
                self._out.unknown.append(Unknown(inner, position, child, repeated=True))
            value[key] = self.value(child, known, value.get(key), inner, kind.go.partition(".")[2])
        return value

    def _list(self, node: Node, element: _Type, into: Any, path: Path, context: str) -> list[Any]:
        old: list[Any] = into if isinstance(into, list) else []
        values: list[Any] = []
        for index, child in enumerate(node.items):
            before = old[index] if index < len(old) else None
            decoded = self.value(child, element, before, (*path, index), context)
            values.append(_zero(element) if decoded is None else decoded)
        return values

    def _literal(self, node: Node, kind: _Type, into: Any, path: Path, context: str) -> Any:
        if kind.kind == "time" and node.kind == "string":
            if not _RFC3339.fullmatch(node.text):
                shown = f'parsing time "{node.text}" as "2006-01-02T15:04:05Z07:00": cannot parse it'
                self._out.faults.append(Problem(shown, "type", node.position, path))
            return node.text
        if kind.kind == "string" and node.kind == "string":
            return node.text
        if kind.kind in ("bool", "pointer-bool") and node.kind == "bool":
            return node.text == "true"
        found: str = node.kind
        if kind.kind == "int64" and node.kind == "number":
            if re.fullmatch(r"-?[0-9]+", node.text) and -(2**63) <= int(node.text) < 2**63:
                return int(node.text)
            found = f"number {node.text}"
        where = ".".join(part for part in path if isinstance(part, str))
        if path and path[0] == "metadata" and len(path) > 2 and path[1] in ("labels", "annotations"):
            where = ".".join(str(part) for part in path[:2])
        target = f"Go struct field {context}.{where}" if path else "Go value"
        message = f"json: cannot unmarshal {found} into {target} of type {kind.go}"
        self._out.faults.append(Problem(message, "type", node.position, path))
        return into


def _zero(kind: _Type) -> Any:
    return {"struct": {}, "string": ""}.get(kind.kind)
