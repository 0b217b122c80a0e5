"""A logical line is what a wrapper leaves: its text, where it stood, and what the wrapper knew about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

__all__ = [
    "MAX_DEPTH",
    "MAX_RECORD",
    "RFC3339",
    "Fields",
    "Line",
    "Root",
    "Sample",
    "array",
    "lookup",
    "members",
    "mended",
    "rfc3339_of_ms",
    "string",
    "text_of",
    "value_of",
]

MAX_RECORD = 256 << 20  # bytes of one record's text that are held at most
MAX_DEPTH = 8  # wrappers and lists around one another: four of each

RFC3339 = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"

Fields = Mapping[str, msgspec.Raw]  # a JSON object, its values as they stood


class Root:
    """A physical line's claim: the first record that starts on it is the line's own, further ones are items."""

    __slots__ = ("free", "items")

    def __init__(self) -> None:
        self.free = True
        self.items = 0


@dataclass(slots=True)
class Line:
    """One line after unwrapping. `listed` lines came out of a list document: their records are items."""

    text: bytes
    number: int
    offset: int
    root: Root = field(default_factory=Root)
    listed: bool = False
    time: str | None = None
    instance: str | None = None
    cluster: str | None = None
    level: str | None = None
    stream: str = ""  # lines of one stream belong together; other streams interleave with it
    partial: bool = False  # the text goes on in the stream's next line
    cut: bool = False  # the text breaks off here for good
    last: bool = False  # the source ends here, without a newline
    continues: bool = False  # the wrapper says that partial lines go on until it says so
    depth: int = 0
    reason: str | None = None  # why the wrapper holds nothing to read
    disputed: tuple[str, str] | None = None  # two names of its cluster

    def same(self, text: bytes, number: int | None = None, offset: int = 0) -> Line:
        """Another text of this line, or of the same document at another place; what is known of it is the same."""
        elsewhere = number is not None
        return Line(
            text,
            number if number is not None else self.number,
            offset if elsewhere else self.offset,
            self.root,
            self.listed,
            self.time,
            self.instance,
            self.cluster,
            self.level,
            self.stream,
            False,
            self.cut,
            self.last,
            self.continues,
            self.depth,
            None,
            self.disputed,
        )

    def inner(
        self,
        text: bytes,
        *,
        time: str | None = None,
        instance: str | None = None,
        cluster: str | None = None,
        level: str | None = None,
        stream: str = "",
        partial: bool = False,
        listed: bool = False,
        cut: bool = False,
        continues: bool = False,
        reason: str | None = None,
    ) -> Line:
        """The line inside this wrapper; what it does not say itself, it takes from outside."""
        return Line(
            text,
            self.number,
            self.offset,
            self.root,
            self.listed or listed,
            time or self.time,
            instance or self.instance,
            cluster or self.cluster,
            level or self.level,
            f"{self.stream}/{stream}",
            partial,
            self.cut or cut,
            self.last,
            continues,
            self.depth + 1,
            reason,
            self.disputed or ((cluster, self.cluster) if cluster and self.cluster and cluster != self.cluster else None),
        )

    def hollow(self, reason: str, text: bytes | None = None, listed: bool = False) -> Line:
        """What stands for a wrapper that holds nothing to read: a reject with the wrapper's own text."""
        return self.inner(self.text if text is None else text, listed=listed, reason=reason)


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes of a source and what they must yield: one mapping per record, naming only what matters.

    Keys are the fields of the record (format, item, time, instance, cluster, level, cut) or of the event's head;
    `reject` is a part of a reject's reason, `text` a part of a log entry's text.
    """

    source: bytes
    yields: tuple[Mapping[str, Any], ...]


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError)


def members(raw: bytes | msgspec.Raw | None) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON object, None for anything else."""
    if raw is None:
        return None
    try:
        return _FIELDS.decode(raw)
    except _UNREADABLE:
        return None


def array(raw: bytes | msgspec.Raw | None) -> list[msgspec.Raw] | None:
    """The elements of a JSON array, None for anything else."""
    if raw is None:
        return None
    try:
        return _ARRAY.decode(raw)
    except _UNREADABLE:
        return None


def string(raw: bytes | msgspec.Raw | None) -> str | None:
    """A JSON string's value, None for anything else."""
    if raw is None:
        return None
    try:
        return _STRING.decode(raw)
    except _UNREADABLE:
        pass
    try:
        return _STRING.decode(mended(bytes(raw)))
    except _UNREADABLE:
        return None


def value_of(raw: bytes | msgspec.Raw | None) -> Any:
    """Any JSON value, None when it is absent or cannot be read."""
    if raw is None:
        return None
    try:
        return _ANY.decode(raw)
    except _UNREADABLE:
        return None


def text_of(raw: msgspec.Raw | None) -> bytes | None:
    """The text behind a field: a string's content, an object's or array's own JSON text."""
    if raw is None:
        return None
    text = bytes(raw)
    if text[:1] in (b"{", b"["):
        return text
    content = string(raw)
    return None if content is None else content.encode("utf-8", "replace")


def lookup(fields: Fields, *path: str) -> msgspec.Raw | None:
    """The value at a path of member names, None when a step is missing."""
    for name in path[:-1]:
        inner = members(fields.get(name))
        if inner is None:
            return None
        fields = inner
    return fields.get(path[-1])


def rfc3339_of_ms(milliseconds: object) -> str | None:
    """Milliseconds since 1970 as RFC 3339 text, None when they are none."""
    from datetime import UTC, datetime, timedelta

    if isinstance(milliseconds, str) and milliseconds.isdigit():
        milliseconds = int(milliseconds)
    if not isinstance(milliseconds, (int, float)) or isinstance(milliseconds, bool):
        return None
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def mended(text: bytes) -> bytes:
    """The text with invalid UTF-8 and lone surrogate escapes replaced by U+FFFD; equal text when there are none."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode("utf-8", "replace").encode()
    if b"\\ud" in text or b"\\uD" in text:
        text = _ESCAPE.sub(lambda match: rb"\ufffd" if match["lone"] else match[0], text)
    return text
