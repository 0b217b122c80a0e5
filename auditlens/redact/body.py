"""Values in an event: in its bodies, their copies and patches, its annotations and messages, at any depth of JSON in strings.

What holds nothing stays as its bytes stood, numbers to the letter.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from auditlens.records import Event
from auditlens.redact import rules
from auditlens.redact.rules import ObjectRule, Paths, below
from auditlens.redact.suspect import may_hold
from auditlens.redact.text import TOKEN, Token, arguments, header, hide, is_manifest
from auditlens.redact.uri import hidden

_INHERIT: Final = frozenset({"items", "rows", "object", "patch"})  # more such objects, or a patch of one
_DICT, _LIST = Decoder(dict[str, Raw]), Decoder(list[Raw])
_TEXTS, _STR = Decoder(dict[str, str | None]), Decoder(str)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_MAX_DEPTH: Final = 100


class Pass:
    """The work on one event. Remembers the values it hid, for the messages that quote them."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.seen: dict[str, str] = {}
        self.known: set[str] = set()  # names that may happen to be values as well: the event shows them anyway

    def event(self, event: Event, suspect: bool = True) -> Event:
        """The event without its values; the same object when there is nothing to redact."""
        ref, uri, rule = event.head.get("objectRef"), event.head.get("requestURI"), None
        if isinstance(ref, dict) and ref.get("resource"):
            rule = rules.rule_of(ref["resource"], ref.get("apiGroup") or "")
        elif isinstance(uri, str):
            rule = rules.rule_of_path(unquote(uri))
        if not (suspect or rule):
            return event
        for names in (ref, event.head.get("user")):
            self.known.update(map(str, names.values()) if isinstance(names, dict) else ())
        request = self.body(event.request_object, rule) if event.request_object else event.request_object
        response = self.body(event.response_object, rule) if event.response_object else event.response_object
        extra = event.extra
        if extra and (new := self.body(old := encode(extra), rule)) != old:
            read = msgspec.json.decode(new)
            extra = read if isinstance(read, dict) else dict.fromkeys(extra, read)
        head = self.head(event.head, rule)
        new_event = replace(event, head=head, request_object=request, response_object=response, extra=extra)
        return event if new_event == event else new_event

    # -- the head

    def head(self, head: dict[str, Any], rule: ObjectRule | None) -> dict[str, Any]:
        """Every field but the bodies."""
        uri = head.get("requestURI")
        clean = hidden(uri, self.token) if isinstance(uri, str) else uri
        if clean == uri and not (rule or self.seen or may_hold(encode(head))):
            return head
        new = {**head, "requestURI": clean} if clean != uri else dict(head)
        if isinstance(notes := head.get("annotations"), dict):
            new["annotations"] = {k: self.note(k, v, rule) for k, v in notes.items()}
        if (rule or self.seen) and "responseStatus" in head:
            new["responseStatus"] = self.strings(head["responseStatus"], self.quoted)
        who = {k: new[k] for k in ("user", "impersonatedUser") if k in new}
        return {
            **dict(self.strings(new, self.hide)),
            **dict(self.strings(who, lambda s: self.hide(s, identity=True))),
        }

    def note(self, key: str, value: Any, rule: ObjectRule | None) -> Any:
        """An audit annotation: JSON patches of webhooks, and what webhooks and policies chose to say."""
        if not isinstance(value, str) or key in rules.OWN_ANNOTATIONS:
            return value
        strict = rule is not None and key.startswith(rules.PATCHES)
        if strict or may_hold(value):
            value = _STR.decode(self.string(encode(value), rule, strict, 0))
        return self.quoted(value) if rule or self.seen else value

    def strings(self, value: Any, change: Callable[[str], str]) -> Any:
        """The value with `change` made in each of its texts, and what a secret name announces replaced."""
        if isinstance(value, str):
            return change(value)
        if isinstance(value, dict):
            about = _announces(str(value.get("field", "")))
            return {
                change(k): self.strings(
                    v, partial(self.named, k) if _announces(k) else self.invalid if about and k == "message" else change
                )
                for k, v in value.items()
            }
        return [self.strings(v, change) for v in value] if isinstance(value, list) else value

    def quoted(self, message: str) -> str:
        """A message of the server without the values it repeats."""
        for pattern in rules.QUOTES:
            message = pattern.sub(lambda m: m[1] + self.token(m[2].encode()) + m[3], message)
        for value in sorted(self.seen, key=len, reverse=True):
            message = message.replace(value, self.seen[value])
        return message

    def repeated(self, text: str) -> str:
        """A text without the values that were seen, as they stand and as strings in strings write them."""
        for value in sorted(self.seen, key=len, reverse=True):
            shown = value
            for _ in range(3):
                text = text.replace(shown, self.seen[value])
                if (quoted := json.dumps(shown, ensure_ascii=False)[1:-1]) == shown:
                    break
                shown = quoted
        return text

    # -- bodies

    def body(self, raw: bytes, rule: ObjectRule | None) -> bytes:
        """One body; replaced whole when it cannot be read."""
        if not (rule or may_hold(raw)):
            return raw
        try:
            return self.value(raw, rule, rule is not None, 0)
        except _UNREADABLE:
            return encode(f"…<{len(raw)} bytes, {self.token(raw)}>")

    def value(self, raw: bytes, rule: ObjectRule | None, own: bool, depth: int) -> bytes:
        """Any JSON value. `rule`: it is part of such an object; `own`: it is one, a list or a patch of it."""
        if not own and not may_hold(raw) and not (rule and any(map(raw.__contains__, rules.WITHIN))):
            return raw
        if depth > _MAX_DEPTH:
            raise RecursionError
        raw = raw.strip()
        match raw[:1]:
            case b'"':
                return self.leaf(raw, False) if own else self.string(raw, rule, False, depth)
            case b"[":
                items = [self.value(bytes(v), rule, own, depth + 1) for v in _LIST.decode(raw)]
                return _same(raw, encode([Raw(v) for v in self.command(items)]))
            case b"{":
                return self.object(raw, rule, own, depth)
        return self.leaf(raw, False) if own else raw

    def command(self, items: list[bytes]) -> list[bytes]:
        """The elements of an array that may be a command: one argument may announce the next."""
        if len(items) < 2 or any(item[:1] != b'"' for item in items):
            return items
        old = [_STR.decode(item) for item in items]
        return [item if a == b else encode(b) for item, a, b in zip(items, old, arguments(old, self.token), strict=True)]

    def object(self, raw: bytes, rule: ObjectRule | None, own: bool, depth: int) -> bytes:
        """An object, and whether it is one of those with values by its kind."""
        fields = {k: bytes(v) for k, v in _DICT.decode(raw).items()}
        named = _named(raw, fields)
        if named is not None:
            rule, own = named, True
        announced = _pair(fields)
        cause = _announces(_text(fields.get("field")) or "")  # Status.details.causes[]: a field, and what is wrong with it
        new = {
            k: Raw(self.cause(v) if cause and k == "message" else self.member(k, v, fields, rule, own, announced, depth))
            for k, v in fields.items()
        }
        return _same(raw, encode(new))

    def cause(self, value: bytes) -> bytes:
        """The message of a cause, about the value of a secret field."""
        return encode(self.strings(msgspec.json.decode(value), self.invalid))

    def invalid(self, message: str) -> str:
        """A message about a secret field without the value it quotes."""
        return rules.INVALID.sub(lambda m: m[1] + self.hidden(m[2], False), message)

    def member(
        self, key: str, value: bytes, fields: dict[str, bytes], rule: ObjectRule | None, own: bool, announced: str, depth: int
    ) -> bytes:
        """One member of an object; `announced` is the name that another member gives to its `value`."""
        if rule and own and (paths := rule.first.get(key.lower())):
            return self.field(value, paths)
        if key.lower() == "value" and any(k.lower() == "op" for k in fields):
            return self.operation(
                _text(next((v for k, v in fields.items() if k.lower() == "path"), None)), value, rule, own, depth
            )
        if own and key in _INHERIT:
            return self.value(value, rule, True, depth + 1)
        if own and key in ("message", "details") and _text(fields.get("kind")) == "Status":
            old = msgspec.json.decode(value)
            return value if (said := self.strings(old, self.quoted)) == old else encode(said)
        if own and key == "status" and self.seen:  # of a review, which may quote its token
            return encode(self.strings(msgspec.json.decode(value), self.quoted))
        if key.lower() in ("value", "default") and announced and value[:1] == b'"':
            return encode(self.named(announced, _STR.decode(value)))
        if _announces(key) and (secret := self.secret(key, value)) is not None:
            return secret
        if _maybe(key, value):
            return self.leaf(value, False)
        if key == "auth" and value[:1] == b'"' and b":" in (rules.decoded(_STR.decode(value)) or b""):
            return self.leaf(value, True)
        return self.annotated(key, value, rule, depth)

    def operation(self, path: str | None, value: bytes, rule: ObjectRule | None, own: bool, depth: int) -> bytes:
        """The value of one JSON patch operation at `path` (RFC 6902; RFC 6901 for `~1` and `~0`)."""
        steps = [s.replace("~1", "/").replace("~0", "~") for s in (path or "").split("/") if s]
        if own and not steps:
            return self.leaf(value, False) if path is None else self.value(value, rule, True, depth + 1)
        if paths := below(rule.paths if rule and own else [], [s.lower() for s in steps]):
            return self.field(value, paths)
        last = steps[-1] if steps else ""
        if _announces(last) and (secret := self.secret(last, value)) is not None:
            return secret
        return self.annotated(last, value, rule, depth)

    def annotated(self, key: str, raw: bytes, rule: ObjectRule | None, depth: int) -> bytes:
        """A member that may be the copy of a whole object."""
        if raw[:1] == b'"' and key in rules.COPIES and (rule or may_hold(raw)):
            return self.string(raw, rule, rule is not None or _holds_kind(raw), depth)
        if raw[:1] == b'"' and key in rules.PACKED and rule:
            return self.leaf(raw, False)
        return self.value(raw, rule, False, depth + 1)

    def secret(self, key: str, raw: bytes) -> bytes | None:
        """What a secret name announces: a text, a number, a list of texts, {"value": a text}; None for anything else."""
        if raw[:1] == b'"':
            text = _STR.decode(raw)
            return raw if (new := self.named(key, text)) == text else encode(new)
        if raw[:1] == b"[":
            items = [bytes(v) for v in _LIST.decode(raw)]
            return encode([Raw(self.leaf(v, False)) for v in items]) if items and all(v[:1] == b'"' for v in items) else None
        if raw[:1] == b"{" and (value := bytes((fields := _DICT.decode(raw)).get("value", b"")))[:1] == b'"':
            return encode(fields | {"value": Raw(self.leaf(value, False))})
        return self.leaf(raw, False) if raw[:1] in b"-0123456789" and rules.announces_number(key) else None

    def named(self, key: str, text: str) -> str:
        """The text that a secret name announces."""
        if text.startswith(("{", "[")):  # a document of its own: .dockerconfigjson
            new = _STR.decode(self.string(encode(text), None, False, 0))
            return new if new != text else self.hidden(text, False)
        return header(key, text, self.token) if rules.is_header(key) else self.hidden(text, False)

    # -- texts

    def hide(self, text: str, identity: bool = False) -> str:
        """A text without the values in it."""
        if is_manifest(text):
            return _STR.decode(self.string(encode(text), None, False, 0))
        return hide(text, self.token, identity=identity)

    def string(self, raw: bytes, rule: ObjectRule | None, strict: bool, depth: int) -> bytes:
        """A string that may hold JSON. `strict`: it must, and be readable, or it goes as a whole."""
        text = _STR.decode(raw)
        body = text.strip()
        if body[:1] in ("{", "["):
            with suppress(*_UNREADABLE):
                old = body.encode()
                new = self.value(old, rule if strict else None, strict and rule is not None, depth + 1)
                return raw if new == old else encode(text.replace(body, new.decode(), 1))
        if strict or is_manifest(text):
            return self.leaf(raw, False)
        return raw if (new_text := self.hide(text)) == text else encode(new_text)

    def field(self, raw: bytes, paths: Paths) -> bytes:
        """What stands at a secret field, or above one: `paths` is the rest of the way."""
        ends = [base64 for steps, base64 in paths if not steps]
        if raw[:1] != b"{":
            return self.leaf(raw, any(ends))
        if ends:
            try:
                return encode({k: v and self.hidden(v, ends[0], k) for k, v in _TEXTS.decode(raw).items()})
            except msgspec.ValidationError:  # something other than strings in it
                return encode({k: Raw(self.leaf(bytes(v), ends[0])) for k, v in _DICT.decode(raw).items()})
        fields = _DICT.decode(raw)
        rest = {k: below(paths, [k.lower()]) for k in fields}
        return encode({k: Raw(self.field(bytes(v), rest[k])) if rest[k] else v for k, v in fields.items()})

    def leaf(self, raw: bytes, base64: bool) -> bytes:
        """Any value, replaced whole."""
        if raw == b"null":
            return raw
        text = _STR.decode(raw) if raw[:1] == b'"' else _compact(raw).decode()
        return encode(self.hidden(text, base64))

    def hidden(self, text: str, base64: bool, key: str = "") -> str:
        """The token of a value; what is empty, hidden already or a directive of a patch stays."""
        if not text or TOKEN.fullmatch(text) or (key == "$patch" and text in ("delete", "replace", "merge")):
            return text
        value = text.encode("utf-8", "surrogatepass")
        if base64:
            with suppress(ValueError):  # as the server decodes it: line breaks are skipped, all else is an error
                value = binascii.a2b_base64(value.translate(None, b"\r\n"), strict_mode=True)
        token = self.token(value)
        if len(text) <= 4096 and len(self.seen) < 1000:
            for shown in {text, value.decode("utf-8", "replace")} - self.known:
                if len(shown) >= 6:  # shorter ones are words of any message
                    self.seen[shown] = token
        return token


def _announces(key: str) -> bool:
    return key not in rules.OWN_ANNOTATIONS and rules.announces(key)


def _maybe(key: str, value: bytes) -> bool:
    """Whether the key may announce a secret, and the value looks like one."""
    return rules.may_announce(key) and value[:1] == b'"' and rules.is_random(_STR.decode(value))


def _pair(fields: dict[str, bytes]) -> str:
    """The name in an object of a name and a value, where it announces a secret one."""
    value = next((v for key, v in fields.items() if key.lower() in ("value", "default")), None)
    if "op" in fields or value is None:
        return ""
    names = (_text(value) for key, value in fields.items() if key.lower() in rules.PAIRS)
    return next((name for name in names if name and (_announces(name) or _maybe(name, value))), "")


def _named(raw: bytes, fields: dict[str, bytes]) -> ObjectRule | None:
    """The rule of an object's kind. Of a key that comes twice each is believed: readers differ in which one counts."""
    kind = next((_text(v) for k, v in fields.items() if k.lower() == "kind"), None)
    version = _text(fields.get("apiVersion"))
    twice = b"redacted:hmac:" not in raw and len(_compact(raw)) != len(_compact(encode({k: Raw(v) for k, v in fields.items()})))
    for rule in rules.OBJECTS:
        if kind in rule.kinds and (not version or version.rpartition("/")[0] == rule.group):
            return rule
        if twice and any(f'"{k}"'.encode() in raw for k in rule.kinds):
            return rule
    return None


def _holds_kind(raw: bytes) -> bool:
    return any(k.encode() in raw for k in rules.KINDS)


def _same(old: bytes, new: bytes) -> bytes:
    """`old` where only white space differs; not where it repeats a key: its first value was not looked at."""
    return old if new == old or (b"redacted:hmac:" not in new and _compact(old) == _compact(new)) else new


def _compact(raw: bytes) -> bytes:
    return msgspec.json.format(raw, indent=-1)


def _text(raw: bytes | None) -> str | None:
    return _STR.decode(raw) if raw and raw[:1] == b'"' else None
