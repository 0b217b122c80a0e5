"""metadata.managedFields is taken out of a body, and not a byte else is changed.

Source: staging/src/k8s.io/apiserver/pkg/audit/request.go copyWithoutManagedFields: of the object itself, of the items of
a list, and of the objects in the rows of a Table.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["without_managed_fields"]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def without_managed_fields(body: bytes | None) -> bytes | None:
    """The JSON text of a body without its managedFields; a body that has none, or is no object, as it is."""
    if body is None or b'"managedFields"' not in body:
        return body
    try:
        return _stripped(body)
    except (msgspec.DecodeError, RecursionError):
        return body


def _stripped(text: bytes, items: bool = True) -> bytes:
    if b'"managedFields"' not in text or not text.lstrip().startswith(b"{"):
        return text
    fields = _object(text)
    metadata = fields.get("metadata")
    if metadata is not None and bytes(metadata).lstrip().startswith(b"{"):
        inner = _object(metadata)
        if inner.pop("managedFields", None) is not None:
            fields["metadata"] = _join(inner)
    for name in ("items", "rows") if items else ():
        if name in fields and bytes(fields[name]).lstrip().startswith(b"["):
            fields[name] = _list(_row(bytes(e)) if name == "rows" else _stripped(bytes(e), False) for e in _array(fields[name]))
    return bytes(_join(fields))


def _row(text: bytes) -> bytes:
    """A row of a Table: only the object in it has metadata."""
    if b'"managedFields"' not in text:
        return text
    fields = _object(text)
    if "object" in fields:
        fields["object"] = msgspec.Raw(_stripped(bytes(fields["object"]), False))
    return bytes(_join(fields))


def _join(fields: dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(b"{" + b",".join(msgspec.json.encode(k) + b":" + bytes(v) for k, v in fields.items()) + b"}")


def _list(elements: Any) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(elements) + b"]")
