"""Values in words: of a command line, a message, a string of a body; and how much of a text may be kept at all."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote

from auditlens.redact import rules
from auditlens.redact.suspect import may_hold

Token = Callable[[bytes], str]

TOKEN: Final = re.compile(r"(?:…<\d+ bytes, )?redacted:hmac:[0-9a-f]{8}:[0-9a-f]{32}>?")
_ARGUMENT: Final = "\x1f"  # stands between the arguments of a command: white space to the rules, and in no text
_DURATION: Final = re.compile(r"(?:[\d.]+(?:[nµum]?s|m|h))*")  # httplog's own authorization="12ms"
_MAX_CODED: Final = 1 << 20
_PERCENT: Final = re.compile(r"""[^\s"'<>%]*%[0-9A-Fa-f]{2}[^\s"'<>]*""")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*+)("|\\?\Z)', re.DOTALL)  # the last may break off
_LONE: Final = re.compile("[\ud800-\udfff]")  # which no file can hold but as an escape
_OPEN: Final = re.compile(r"BEGIN [A-Z0-9 ]*PRIVATE KEY(?![\s\S]*PRIVATE KEY)")  # a key that may go on in the next string
_MAX_STRINGS: Final = 4  # strings in strings; each costs as many backslashes again
_decode: Final = json.JSONDecoder(strict=False).decode
_LETTER: Final = re.compile(r"\\u00([2-7][0-9A-Fa-f])")


def hide(text: str, token: Token, *, identity: bool = False) -> str:
    """The text with the values in it replaced. `identity`: it says who somebody was, and keeps identifiers."""
    if "\\n" in text and "\n" not in text:  # lines of a text that stands in quotes
        text = _hide(text.replace("\\n", "\n"), token, identity).replace("\n", "\\n")
    else:
        text = _hide(text, token, identity)
    if "%" in text:
        text = _PERCENT.sub(lambda m: _read(m[0], undone(m[0]), token), text)
    if "\\u00" in text:
        text = _read(text, _LETTER.sub(lambda m: chr(int(m[1], 16)), text), token)
    return text


def _read(text: str, inner: str, token: Token) -> str:
    """What a reader who undoes the codes in a text sees, where that holds a value; else the text."""
    return clean if inner != text and (clean := _hide(inner, token, False)) != inner else text


def in_strings(text: str, clean: Callable[[str], str], depth: int = 0) -> str:
    """The text with what stands in its strings in quotes made clean as their reader sees it: without escapes, as deep as they are."""

    def one(found: re.Match[str]) -> str:
        if "\\" not in found[1]:
            return found[0]
        try:
            inner = _decode(f'"{found[1]}"')
        except ValueError:
            return found[0]
        if _OPEN.search(inner):
            return found[0]
        new = clean(in_strings(inner, clean, depth + 1) if depth < _MAX_STRINGS else inner)
        return found[0] if new == inner else json.dumps(new, ensure_ascii=_LONE.search(new) is not None)[:-1] + found[2]

    return _STRING.sub(one, text) if "\\" in text else text


def _hide(text: str, token: Token, identity: bool) -> str:
    low = text.lower().replace(_ARGUMENT, " ")
    if not may_hold(low):
        return text
    for word in rules.WORDS:
        if not (identity and word.identity) and any(map(low.__contains__, word.needles)):
            new = _replaced(word, text, token)
            if new != text:
                text, low = new, new.lower().replace(_ARGUMENT, " ")
    if rules.NAMED_NEAR.search(low):
        for word in rules.NAMED:
            if any(map(low.__contains__, word.needles)):
                text = _replaced(word, text, token)
    if any(map(text.__contains__, rules.CODED)):
        text = rules.BASE64.sub(lambda m: _coded(m[0], token), text)
    return text


def _replaced(word: rules.Word, text: str, token: Token) -> str:
    def one(found: re.Match[str]) -> str:
        value = found[0][len(found[1]) :]
        if word.base64 and b":" not in (rules.decoded(value) or b""):
            return found[0]
        return found[1] + token(value.encode("utf-8", "surrogatepass"))

    new = word.pattern.sub(one, text)
    while word.again and new != text:
        text, new = new, word.pattern.sub(one, new)
    return new


def _coded(text: str, token: Token) -> str:
    """A run of base64: replaced whole where what it stands for holds a value."""
    raw = rules.decoded(text) if len(text) <= _MAX_CODED else None
    if raw is None:
        return text
    try:
        shown = (
            raw.decode("utf-16-le")
            if raw[1::2].count(0) > len(raw) // 4
            else _unpacked(raw).decode()
            if text.startswith(rules.PACKED_START)
            else raw.decode()
        )
    except (UnicodeDecodeError, zlib.error):
        return text
    return token(raw) if hide(shown, token) != shown or is_manifest(shown) else text


def _unpacked(raw: bytes) -> bytes:
    """The start of what gzip holds, whole letters of it."""
    return zlib.decompressobj(31).decompress(raw, _MAX_CODED).decode("utf-8", "ignore").encode()


def is_manifest(text: str) -> bool:
    """Whether the text is, or holds, a manifest of an object with values, in JSON or YAML."""
    return rules.LOOKS.search(text) is not None and rules.STOP.search(text) is not None


def arguments(words: Sequence[str], token: Token) -> list[str]:
    """The arguments of a command with the values in them replaced: also where one announces the next."""
    whole = [_flag(w, token) for w in words]
    if len(whole) < 2 or any(_ARGUMENT in w for w in whole):
        return [hide(w, token) for w in whole]
    clean = hide(_ARGUMENT.join(whole), token).split(_ARGUMENT)
    if len(clean) != len(words):  # a value that is spread over arguments, as a private key by its lines
        return [token(w.encode("utf-8", "surrogatepass")) for w in words]
    return clean


def _flag(argument: str, token: Token) -> str:
    found = rules.FLAG.fullmatch(argument)
    return found[1] + token(found[2].encode("utf-8", "surrogatepass")) if found else argument


def header(name: str, value: str, token: Token) -> str:
    """The value of a header that holds credentials: its scheme stays."""
    scheme, space, rest = value.strip().partition(" ")
    if TOKEN.fullmatch(rest if space else value) or "<masked>" in value or _DURATION.fullmatch(value):
        return value
    if space and name.lower().endswith("authorization") and scheme.isascii() and scheme.replace("-", "").isalnum():
        return f"{scheme} {token(rest.encode())}"
    return token(value.encode())


def undone(text: str) -> str:
    """Percent codes undone, as often as they were made."""
    for _ in range(3):
        if "%" not in text or (inner := unquote(text)) == text:
            break
        text = inner
    return text


def kept(text: bytes, show: Callable[[str], str]) -> tuple[str, bytes]:
    """Of a text that may hold anything: what may be shown of its start, by `show`, and the rest.

    It goes up to the first body; without a body's name, to the first thing that could hold a value, 512 characters at
    most. Text that begins inside a JSON string is not kept at all: it may be the rest of a value.
    """
    shown = text.decode("utf-8", "surrogateescape")
    body, stop = rules.BODY.search(shown), rules.STOP.search(shown)
    ends = [m.end() if ":" in m[0] else m.start() for m in (body, stop) if m]
    ends.append(len(shown) if body or not (stop or rules.LOOKS.search(shown)) else 512)
    end = 0 if rules.MIDST.match(shown) else min(ends)
    head, rest = (part.encode("utf-8", "surrogateescape") for part in (shown[:end], shown[end:]))
    return show(head.decode("utf-8", "replace")), rest
