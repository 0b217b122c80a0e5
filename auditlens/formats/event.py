"""One record of format audit becomes one event in the words of audit.k8s.io/v1, or a reject that names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from auditlens.records import Event, Record, Reject

from . import legacy, salvage
from .line import members, mended, string, text_of

__all__ = ["read_event"]

_BODIES = ("requestObject", "responseObject")
_decode = msgspec.json.Decoder().decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_METHOD = {
    "get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETE",
}  # fmt: skip


class _Wrong(Exception):
    """A known field has a type that v1 does not give it."""


def read_event(record: Record) -> Event | Reject:
    """The event of a record, whatever version or shape it came in; never raises.

    Null and, where v1 omits empty values (user, objectRef), empty strings are absent; every other wrong type of a
    known field is a Reject naming it, as is a missing auditID, stage, level or verb. A cut record is partial: what
    stands before the cut is kept; so is one with a value nested too deeply to read, which is left out. Times are the event's own text; if it has none, stageTimestamp is the wrapper's.
    """
    try:
        return _read(record)
    except _Wrong as error:
        return _reject(record, str(error))
    except RecursionError:
        return _reject(record, "JSON nested too deeply to read")


def _reject(record: Record, reason: str) -> Reject:
    return Reject(record.line, record.offset, reason, record.text, record.item)


def _read(record: Record) -> Event | Reject:
    text = mended(record.text)
    if legacy.LEGACY.match(text):
        head, partial = legacy.parse(text)
        return _finished(record, Event(head, partial=partial or record.cut), fill=True)
    partial = record.cut
    if partial:
        fields = _shallow(salvage.members_before_cut(text))
    else:
        try:
            fields = _decode_fields(text)
        except msgspec.DecodeError as error:
            if "truncated" not in str(error):
                return _reject(record, _not_json(error))
            fields, partial = _shallow(salvage.members_before_cut(text)), True
        except RecursionError:
            fields, partial = _shallow(salvage.members_before_cut(text)), True
            if not fields:
                raise
    if partial and not fields:
        return _reject(record, "cut before its first complete field")
    return _finished(record, _event(fields, partial), fill=partial)


def _shallow(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The members that are JSON, and that the decoder's stack is deep enough for."""
    found = {}
    for name, raw in fields.items():
        with suppress(RecursionError, msgspec.DecodeError):
            _skip(raw)
            found[name] = raw
    return found


def _not_json(error: msgspec.DecodeError) -> str:
    message = str(error)
    what, _, where = message.partition(" (byte ")
    if not where:
        return f"not JSON: {message}"
    return f"not JSON at column {int(where.rstrip(')')) + 1}: {what.removeprefix('JSON is malformed: ')}"


def _event(fields: dict[str, msgspec.Raw], partial: bool) -> Event:
    version = string(fields.get("apiVersion")) or ""
    event = Event({}, partial=partial)
    for name, raw in fields.items():
        check = _FIELDS.get(name)
        if check is not None:
            value = _decoded(name, raw)
            if value is not None:
                event.head[name] = check(name, value)
        elif bytes(raw) == b"null":
            continue
        elif name in _BODIES:
            body = _body(raw)
            if body is None:  # what a platform put in its place, such as AKS' skipped-too-big-size-object
                event.extra[name] = _decoded(name, raw)
            elif name == "requestObject":
                event.request_object = body
            else:
                event.response_object = body
        elif not _is_old(name, raw, version):
            event.extra[name] = _decoded(name, raw)
    if not version.endswith("/v1"):
        _old_times(event.head, fields)
    return event


def _body(raw: msgspec.Raw) -> bytes | None:
    """A body's JSON text, also of one that was made a text; None when it is no object and no list."""
    text = text_of(raw)
    if text is None or text.lstrip()[:1] not in (b"{", b"["):
        return None
    if bytes(raw)[:1] == b'"':  # what was made a text is checked here, anything else was JSON when the event was
        try:
            _skip(text)
        except (msgspec.DecodeError, RecursionError):
            return None
    return text


def _is_old(name: str, raw: msgspec.Raw, version: str) -> bool:
    """Whether a field that v1 does not have is one of the older versions, and so no news."""
    if name in ("kind", "apiVersion"):
        return True
    if name == "metadata":
        return not version.endswith("/v1") or set(members(raw) or {"": raw}) <= {"creationTimestamp"}
    return name == "timestamp" and not version.endswith("/v1")


def _old_times(head: dict[str, Any], fields: dict[str, msgspec.Raw]) -> None:
    """v1alpha1 and v1beta1: the times in whole seconds, where the exact ones are missing.

    audit.k8s.io conversion, pkg/apis/audit/v1beta1/conversion.go.
    """
    received = string(fields.get("timestamp"))
    if received and "requestReceivedTimestamp" not in head:
        head["requestReceivedTimestamp"] = received
    staged = string((members(fields.get("metadata")) or {}).get("creationTimestamp"))
    if staged and "stageTimestamp" not in head:
        head["stageTimestamp"] = staged


def _decoded(name: str, raw: msgspec.Raw) -> Any:
    try:
        return _decode(raw)
    except msgspec.DecodeError as error:
        raise _Wrong(f"{name}: {_not_json(error)}") from None


def _finished(record: Record, event: Event, fill: bool) -> Event | Reject:
    head = event.head
    if record.level is not None and record.level != head.get("level"):
        if "level" in head:
            event.extra["collector_level"] = head["level"]
        head["level"] = record.level
    if not event.partial:
        missing = [name for name in ("auditID", "stage", "level", "verb") if name not in head]
        missing += [name for name in ("auditID", "stage", "level") if head.get(name) == ""]
        if missing:
            return _reject(record, f"not a complete audit event: no {', '.join(missing)}")
    if fill and "objectRef" not in head:
        _fill_reference(head)
    for name in ("requestReceivedTimestamp", "stageTimestamp"):
        if name in head and not _PLAUSIBLE.match(head[name]):
            event.extra[name] = head.pop(name)
    if record.time and _PLAUSIBLE.match(record.time) and "requestReceivedTimestamp" not in head and "stageTimestamp" not in head:
        head["stageTimestamp"] = record.time
        event.time_source = "wrapper"
    return event


def _fill_reference(head: dict[str, Any]) -> None:
    """objectRef as the URI gives it, when verb and URI agree about what the request is."""
    verb, uri = head.get("verb"), head.get("requestURI")
    if not uri or verb not in _METHOD:
        return
    from auditlens.requestinfo import resolve

    info = resolve(_METHOD[verb], uri)
    if not info.is_resource_request or not info.resource or info.verb != verb:
        return
    pairs = (
        ("resource", info.resource),
        ("namespace", info.namespace),
        ("name", info.name),
        ("apiGroup", info.api_group),
        ("apiVersion", info.api_version),
        ("subresource", info.subresource),
    )
    head["objectRef"] = {name: value for name, value in pairs if value}


# -- the types of v1 (apiserver/pkg/apis/audit/v1/types.go)


def _is(value: object, kind: type | tuple[type, ...], path: str, words: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        found = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")
        raise _Wrong(f"{path} is {'null' if value is None else found}, not {words}")


def _text(path: str, value: Any) -> Any:
    if type(value) is not str:  # the call below costs a third of the whole event
        _is(value, str, path, "a string")
    return value


def _texts(path: str, value: Any) -> Any:
    _is(value, list, path, "an array of strings")
    for element in value:
        if type(element) is not str:
            _is(element, str, path, "an array of strings")
    return value


def _object(path: str, value: Any) -> Any:
    _is(value, dict, path, "an object")
    return value


def _text_map(path: str, value: Any) -> Any:
    _is(value, dict, path, "an object")
    for key, element in value.items():
        if type(element) is not str:
            _is(element, str, f"{path}[{key!r}]", "a string")
    return value


def _user(path: str, value: Any) -> Any:
    _is(value, dict, path, "an object")
    user = {name: member for name, member in value.items() if member is not None and member != ""}
    for name, check in (("username", _text), ("uid", _text), ("groups", _texts)):
        if name in user:
            check(f"{path}.{name}", user[name])
    if "extra" in user:
        _is(user["extra"], dict, f"{path}.extra", "an object")
        user["extra"] = {key: element for key, element in user["extra"].items() if element is not None}
        for key, element in user["extra"].items():
            _texts(f"{path}.extra[{key!r}]", element)
    return user


def _reference(path: str, value: Any) -> Any:
    _is(value, dict, path, "an object")
    reference = {name: member for name, member in value.items() if member is not None and member != ""}
    for name, member in reference.items():
        if type(member) is not str and name in _REFERENCE:
            _is(member, str, f"{path}.{name}", "a string")
    version = reference.get("apiVersion", "")
    if "/" in version and "apiGroup" not in reference:
        # v1alpha1 has group/version here; its 1.7 server wrote "/v1" for the core group
        group, _, reference["apiVersion"] = version.rpartition("/")
        if group:
            reference["apiGroup"] = group
    return reference


def _status(path: str, value: Any) -> Any:
    _is(value, dict, path, "an object")
    for name in ("status", "message", "reason"):
        if value.get(name) is not None:
            _is(value[name], str, f"{path}.{name}", "a string")
    if value.get("code") is not None:
        _is(value["code"], int, f"{path}.code", "an integer")
    return value


# No apiserver wrote before 2015. Go's zero time is of the year 1; a time of another millennium would be everybody's window.
_PLAUSIBLE = re.compile(r"(19[7-9]|20|21)\d")

_REFERENCE = {"resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"}
_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "level": _text,
    "auditID": _text,
    "stage": _text,
    "requestURI": _text,
    "verb": _text,
    "user": _user,
    "impersonatedUser": _user,
    "authenticationMetadata": _object,
    "sourceIPs": _texts,
    "userAgent": _text,
    "objectRef": _reference,
    "responseStatus": _status,
    "requestReceivedTimestamp": _text,
    "stageTimestamp": _text,
    "annotations": _text_map,
}
