"""From JSON text that breaks off: the members that are complete, and nothing that is not.

The apiserver writes who did what first and times and annotations last (formats of audit.k8s.io/v1 in Go field order),
so the head of a cut event says most of what matters.
"""

from __future__ import annotations

import re

import msgspec

from . import native
from .line import string

__all__ = ["elided", "members_before_cut", "remains"]

_SPACE = re.compile(rb"[\s,]*+")
_KEY = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"(?:true|false|null|-?\d[\d.eE+-]*)(?=\s*[,}\]])")
_INSIDE = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)

_DOTS = re.compile(rb'("[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")|\.{2,}|\xe2\x80\xa6')
_COMMA = re.compile(rb'("[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")|,\s*([}\]])')
_ESCAPED_START = b'{\\"kind\\":\\"Event\\",\\"apiVersion\\":\\"audit.k8s.io/'

# of these the complete members are kept when the cut is inside; bodies and lists are not worth half of them
_NESTED = {"user", "impersonatedUser", "objectRef", "responseStatus", "annotations", "authenticationMetadata"}


def members_before_cut(text: bytes, nested: bool = True) -> dict[str, msgspec.Raw]:
    """The complete members of an object that breaks off; of user, objectRef and the like, their complete members."""
    found: dict[str, msgspec.Raw] = {}
    at = text.find(b"{") + 1
    if not at:
        return found
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # matches always
        key = _KEY.match(text, at)
        if key is None:
            return found
        try:
            name = msgspec.json.decode(key[1], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return found
        start, at = key.end(), _end_of_value(text, key.end())
        if at < 0:
            if nested and name in _NESTED and text[start : start + 1] == b"{":
                inside = members_before_cut(text[start:], nested=False)
                if inside:
                    found[name] = msgspec.Raw(msgspec.json.encode(inside))
            return found
        found[name] = msgspec.Raw(text[start:at])


def _end_of_value(text: bytes, at: int) -> int:
    """Where the value that begins here ends, -1 when it breaks off."""
    first = text[at : at + 1]
    if first == b'"':
        string = _STRING.match(text, at)
        return string.end() if string else -1
    if first not in (b"{", b"["):
        scalar = _SCALAR.match(text, at)
        return scalar.end() if scalar else -1
    depth = 0
    while at < len(text):
        byte = text[at]
        if byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
            if depth == 0:
                return at + 1
        elif byte == 0x22:
            return -1  # a string that does not end
        at = _INSIDE.match(text, at + 1).end()  # type: ignore[union-attr]  # matches always
    return -1


def remains(text: bytes) -> bytes | None:
    """The audit event in JSON that breaks off, also inside an envelope; None when there is none."""
    if native.is_event_start(text) or "auditID" in members_before_cut(text):
        return text
    inside = text.find(native.AUDIT_START)
    if inside > 0:
        return text[inside:]
    inside = text.find(_ESCAPED_START)
    return _unescaped(text[inside:]) if inside >= 0 else None


def elided(text: bytes) -> bytes:
    """The text without the dots that people put where they left something out, `"extra": { ..... }`, so that what follows is read."""
    kept = _DOTS.sub(lambda match: match[1] or b"", text)
    return _COMMA.sub(lambda match: match[1] or match[2], kept) if len(kept) < len(text) else text


def _unescaped(text: bytes) -> bytes:
    """The content of a JSON string that breaks off."""
    whole = re.match(rb'(?:[^"\\\n]++|\\u[0-9a-fA-F]{4}|\\[^u\n])*+', text)
    return (string(b'"' + (whole[0] if whole else b"") + b'"') or "").encode("utf-8", "replace")
