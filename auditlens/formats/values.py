"""klog's structured text `"message" key=value …` as a message and its fields, for every release that wrote it.

Strings come quoted by Go's strconv.Quote, or as `=<` blocks of tab-indented lines when they hold a newline (klog v2.40);
other values as %+v (to klog v2.90, unquoted whatever they hold) or as JSON (since). klog internal/serialize.
"""

from __future__ import annotations

import json
import re

__all__ = ["structured", "unquote"]

_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)*+)"')
_KEY = re.compile(r" ([^=\n]*?[^=\n\s]|)=")  # misuse can put spaces into a key
_BLOCK = re.compile(r"<\n((?:\t.*\n|\n)*) >")
_RAW_END = re.compile(r' (?=[^\s="<>]+=(?!=))')
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_decode = json.JSONDecoder().raw_decode


def unquote(text: str) -> str:
    """What stands between Go's quotes, its escapes undone; what is no escape stays as it is."""
    if "\\" not in text:
        return text
    if "\\x" not in text:
        return _ESCAPE.sub(_unescape, text)
    # \xNN are single bytes that were no UTF-8
    return _ESCAPE.sub(lambda m: _byte(m[0]) if m[0].startswith("\\x") else _unescape(m), text).encode(
        "utf-8", "surrogateescape"
    ).decode("utf-8", "replace")  # fmt: skip


def _byte(escape: str) -> str:
    value = int(escape[2:], 16)
    return chr(value) if value < 0x80 else chr(0xDC00 + value)


def _unescape(match: re.Match[str]) -> str:
    text = match[0]
    kind = text[1]
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind in "xuU" and len(text) > 2:
        code = int(text[2:], 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    return chr(int(text[1:], 8) & 0xFF) if kind.isdigit() and len(text) == 4 else text


def structured(text: str) -> tuple[str, dict[str, str]] | None:
    """Message and fields of structured text, None when it is plain text. Of a key that comes twice the last one counts.

    `"HTTP" verb="GET" resp=200` gives ("HTTP", {"verb": "GET", "resp": "200"}). Values that are no strings keep their text.
    """
    head = _QUOTED.match(text)
    if head is None:
        return None
    fields: dict[str, str] = {}
    pos, end = head.end(), len(text)
    if pos < end and text[pos] != " ":
        return None
    while pos < end:
        key = _KEY.match(text, pos)
        if key is None:
            if text[pos:].strip():
                if not fields:
                    return None  # `"quoted" and then prose`
                fields[""] = text[pos:].strip()
            break
        value, pos = _value(text, key.end(), end)
        fields[key[1]] = value
    return unquote(head[1]), fields


def _value(text: str, pos: int, end: int) -> tuple[str, int]:
    """The value that begins here, and where it ends."""
    first = text[pos : pos + 1]
    if first == '"':
        quoted = _QUOTED.match(text, pos)
        if quoted and text[quoted.end() : quoted.end() + 1] in ("", " ", "\n"):
            return unquote(quoted[1]), quoted.end()
    elif first == "<":
        block = _BLOCK.match(text, pos)
        if block:
            lines = block[1].split("\n")[:-1]
            return "\n".join(line[1:] if line[:1] == "\t" else line for line in lines), block.end()
    elif first in ("{", "["):
        try:
            _, stop = _decode(text, pos)
        except (ValueError, RecursionError):
            stop = -1
        if stop > 0 and text[stop : stop + 1] in ("", " "):
            return text[pos:stop], stop
    raw = _RAW_END.search(text, pos)
    stop = raw.start() if raw else end
    return text[pos:stop], stop
