"""YAML documents become JSON text, numbers as they stood; a list's items are converted one at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from auditlens.faults import words

from .line import MAX_RECORD, Line, Sample

__all__ = ["SAMPLES", "Document", "Found", "is_key", "is_separator", "is_start", "to_json"]

_START = re.compile(
    rb"(?:apiVersion|kind|items|metadata|annotations|auditID|level|stage|verb|user|objectRef|requestURI|requestObject"
    rb"|responseObject|responseStatus|sourceIPs|request|object|type|uid):(?:\s|\Z)"
)
_KEY = re.compile(rb"[\"']?[\w./$-]+[\"']?:(?:\s|\Z)")
_GOES_ON = re.compile(rb"\s|#|-(?:\s|\Z)|[\"']?[\w./$-]+[\"']?:(?:\s|\Z)|[\]}]\s*\Z")
_ITEM = re.compile(rb"( *)-(?: |\Z)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?\Z")
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_MAX_DEPTH = 500


@dataclass(slots=True)
class Found:
    """One document or list item: JSON text, or the reason why there is none."""

    line: Line
    text: bytes
    reason: str | None = None


def is_separator(text: bytes) -> bool:
    """Whether the line separates YAML documents."""
    return text.startswith((b"---", b"...")) and not text[3:].strip()


def is_start(text: bytes) -> bool:
    """Whether the line begins a YAML document by one of the keys such documents begin with."""
    return _START.match(text) is not None


def is_key(text: bytes) -> bool:
    """Whether the line is a key of a YAML mapping; enough behind a separator."""
    return _KEY.match(text) is not None


class Document:
    """One YAML document, line by line. `ready` holds what is complete."""

    def __init__(self, line: Line) -> None:
        self.first = line
        self.lines: list[bytes] = []
        self.size = 0
        self.item: Line | None = None  # the line the open list item starts on
        self.indent: int | None = None  # of the dashes, inside `items:`
        self.head: list[bytes] = []  # the lines up to `items:`
        self.ready: list[Found] = []

    def add(self, line: Line) -> bool:
        """Take a further line; False when it is no part of this document."""
        text = line.text
        begun = self.lines or self.item
        if begun and (is_separator(text) or not _GOES_ON.match(text) or self.size > MAX_RECORD):
            return False
        if self.indent is not None:
            if self._list_line(line):
                return True
        elif self.item is None and text.rstrip() == b"items:":
            self.indent = -1  # the first dash tells
            self.head, self.lines, self.size = [*self.lines, text], [], 0
            self.item = line
            return True
        self._hold(text)
        return True

    def _list_line(self, line: Line) -> bool:
        dash = _ITEM.match(line.text)
        if self.indent == -1:
            if dash is None:  # no list after all
                self.lines, self.item, self.indent = self.head, None, None
                return False
            self.indent = len(dash[1])
        if dash is not None and len(dash[1]) == self.indent:
            self._end_item()
            self.item = line
            self._hold(b" " * (self.indent + 1) + line.text[self.indent + 1 :])
            return True
        if not line.text.startswith(b" ") and dash is None:  # a key behind the list
            self._end_item()
            self.indent = None
            return True
        return False

    def blank(self) -> None:
        """A blank line, which counts inside a block of text."""
        if self.lines:
            self.lines.append(b"")

    def _hold(self, text: bytes) -> None:
        self.lines.append(text)
        self.size += len(text)

    def _end_item(self) -> None:
        if self.lines and self.item is not None:
            line = self.first.same(b"", self.item.number, self.item.offset)
            line.listed = True
            self._convert(line)
        self.lines, self.size = [], 0

    def _convert(self, line: Line) -> None:
        text = b"\n".join(self.lines)
        try:
            self.ready.append(Found(line, to_json(text)))
        except (ValueError, RecursionError) as error:
            self.ready.append(Found(line, text, f"not YAML: {error}"))

    def end(self) -> None:
        """The document is complete."""
        if self.item is not None:
            if self.indent is not None:
                self._end_item()
        elif self.lines:
            self._convert(self.first)
        self.lines = []


def to_json(text: bytes) -> bytes:
    """A YAML document as JSON text. Raises ValueError when it is none or grows beyond bounds by its aliases."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    writer = _Writer()
    try:
        for event in yaml.parse(text.decode("utf-8", "replace"), Loader=loader):
            writer.event(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1} of the document" if mark is not None else ""
        raise ValueError(f"{words(str(getattr(error, 'problem', None) or error))}{where}") from None
    return "".join(writer.out).encode("utf-8", "replace")


class _Writer:
    """Parser events to JSON, without recursion: depth and aliases are bounded."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.size = 0
        self.stack: list[list[Any]] = []  # [is mapping, count, where it starts in out, anchor]
        self.anchors: dict[str, str] = {}

    def event(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "ScalarEvent":
            key = bool(self.stack) and self.stack[-1][0] and self.stack[-1][1] % 2 == 0
            self._add(_scalar(event.value, event.implicit[0], event.tag, key), event.anchor)
        elif kind == "AliasEvent":
            if event.anchor not in self.anchors:
                raise ValueError("unknown alias")
            self._add(self.anchors[event.anchor], None)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if len(self.stack) >= _MAX_DEPTH:
                raise ValueError("nested too deeply")
            if self.stack and self.stack[-1][0] and self.stack[-1][1] % 2 == 0:
                raise ValueError("a key that is no text")
            self._separate()
            mapping = kind == "MappingStartEvent"
            self.stack.append([mapping, 0, len(self.out), event.anchor])
            self._write("{" if mapping else "[")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            mapping, _, start, anchor = self.stack.pop()
            self._write("}" if mapping else "]")
            if anchor:
                self.anchors[anchor] = "".join(self.out[start:])
            if self.stack:
                self.stack[-1][1] += 1

    def _add(self, text: str, anchor: str | None) -> None:
        self._separate()
        self._write(text)
        if anchor:
            self.anchors[anchor] = text
        if self.stack:
            self.stack[-1][1] += 1

    def _separate(self) -> None:
        if self.stack and self.stack[-1][1]:
            mapping, count = self.stack[-1][:2]
            self._write(":" if mapping and count % 2 else ",")

    def _write(self, text: str) -> None:
        self.out.append(text)
        self.size += len(text)
        if self.size > MAX_RECORD:
            raise ValueError("aliases make it too large")


def _scalar(value: str, plain: bool, tag: str | None, key: bool) -> str:
    if plain and tag is None and not key:
        if value in _NULL:
            return "null"
        if value in _TRUE:
            return "true"
        if value in _FALSE:
            return "false"
        if _NUMBER.match(value):
            return value
    return msgspec.json.encode(value.encode("utf-8", "replace").decode()).decode()


SAMPLES = (
    Sample(
        b"---\nkind: Event\napiVersion: audit.k8s.io/v1\nlevel: RequestResponse\nauditID: a1\nstage: ResponseComplete\n"
        b'verb: patch\nuser:\n  username: "5"\nrequestURI: /x\nrequestObject:\n- op: add\n  value: 1.10\n'
        b"---\nkind: EventList\napiVersion: audit.k8s.io/v1\nitems:\n  - level: Metadata\n    auditID: a2\n"
        b"    stage: ResponseComplete\n    verb: get\n  - level: Metadata\n    auditID: a3\n    stage: Panic\n    verb: get\n"
        b"metadata: {}\n",
        (
            {"auditID": "a1", "item": None, "line": 2, "request_object": '[{"op":"add","value":1.10}]'},
            {"auditID": "a2", "item": 1, "line": 18},
            {"auditID": "a3", "item": 2, "line": 22},
        ),
    ),
    Sample(b"kind: Pod\napiVersion: v1\n", ({"reject": "JSON object is not an audit event: kind=Pod", "line": 1},)),
    Sample(b"kind: Event\n  a: b: c\n", ({"reject": "not YAML"},)),
)
