"""JSON of one stream, on one line or over many, becomes records; a torn document costs nothing but itself."""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from . import cloudwatch, jsonlog, klog, names, native, registry
from .ledger import Ledger
from .line import Line, members, mended, string
from .salvage import elided, remains
from .splitter import Splitter, State

__all__ = ["Documents", "decoded"]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode

_DOCUMENT = re.compile(rb'\{\s*(?:["}]|\Z)|\[\s*(?:[{"\[\]]|\Z)')
_CUT_MARK = re.compile(rb"(?:\.\.\.|\xe2\x80\xa6|[\[(<]?[Tt]runcated[^\"{}]*)\s*\Z")
_BYTE = re.compile(r"(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?\Z")
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_TOO_DEEP = "JSON nested too deeply to read"


def decoded(text: bytes) -> dict[str, msgspec.Raw] | list[msgspec.Raw]:
    """The members or elements of a whole JSON document; msgspec.DecodeError or RecursionError when it is none."""
    try:
        return _object(text) if text[:1] == b"{" else _array(text)
    except UnicodeDecodeError:  # only keys are decoded here
        fixed = mended(text)
        return _object(fixed) if text[:1] == b"{" else _array(fixed)


class Around(Protocol):
    """What the stream around documents does for them."""

    again: list[Line]  # what else begins on the line just read

    @property
    def entry(self) -> object | None:
        """The open log entry."""

    def append(self, text: bytes) -> None:
        """A further line of the open entry."""

    def end_entry(self) -> None:
        """The open entry is complete."""

    def route(self, line: Line) -> object:
        """A line that came out of a wrapper."""


class Documents:
    """The JSON side of a stream: at most one document is open."""

    def __init__(self, stream: Around, ledger: Ledger) -> None:
        self.stream, self.ledger = stream, ledger
        self.splitter: Splitter | None = None
        self.first: Line | None = None  # the first line of the open document
        self.error = ""  # what was wrong with its first line alone

    # -- in

    def read(self, line: Line) -> bool:
        """A line that begins with a bracket; False when it is no JSON and was not taken."""
        text = line.text
        try:
            value = decoded(text)
        except RecursionError:
            self.stream.end_entry()
            self._deep(line, text)
            return True
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._broken(line, str(error))
        self.stream.end_entry()
        self.value(value, text, line)
        return True

    def value(self, value: dict[str, msgspec.Raw] | list[msgspec.Raw], text: bytes, line: Line) -> None:
        """A whole document: an event, a log entry, or something that holds others."""
        if isinstance(value, list):
            row = cloudwatch.cells(value, line)
            if row is not None:
                self.stream.route(row)
            elif not value:
                self.ledger.reject(line, "an empty list", text)
            for element in value if row is None else ():
                self.item(bytes(element), line)
            return
        if native.is_event(value):
            self.ledger.emit(native.facts(value, line), text)
            return
        inner = registry.opened(value, line)
        if inner is not None:
            for found in inner:
                self.stream.route(found)
        elif jsonlog.is_entry(value):
            self.ledger.emit(line, text, self.ledger.log_format)
            for event in jsonlog.impacted(value):
                self.ledger.emit(line.inner(event, listed=True), event)
        else:
            self.ledger.reject(line, native.why_not(value), text)

    def item(self, text: bytes, line: Line) -> None:
        """One element of a list document."""
        if text[:1] == b'"':
            content = string(text)
            if content:
                self.stream.route(line.inner(content.encode("utf-8", "replace"), listed=True))
            else:
                self.ledger.reject(line.inner(text, listed=True), "empty text in a list", text)
        elif text[:1] in (b"{", b"["):
            self.stream.route(line.inner(text, listed=True))
        else:
            self.ledger.reject(line.inner(text, listed=True), "JSON value in a list, not an audit event", text)

    # -- documents over several lines, or several on one

    def go_on(self, line: Line) -> None:
        """A further line of the open document."""
        self.stream.end_entry()
        text = line.text + b"\n"
        self._feed(line, text, 0)

    def feed_chunk(self, data: bytes, pos: int, end: int, first_line: int, offset: int) -> tuple[State, int]:
        """Go on with whole lines of an unwrapped source; a finished document is read, a broken one is left open."""
        splitter, first = self.splitter, self.first
        assert splitter is not None and first is not None
        self.stream.end_entry()
        seen, line, start = pos, first_line, pos

        def where(at: int) -> tuple[int, int]:
            nonlocal seen, line, start
            newlines = data.count(b"\n", seen, at)
            if newlines:
                line += newlines
                start = data.rfind(b"\n", seen, at) + 1
            seen = at
            return line, offset + (start - pos)

        state, at = splitter.feed(data, pos, end, where)
        self._take_items()
        if state is State.DONE:
            self._finish()
        return state, at

    def close(self) -> None:
        """The source ends: what is still open breaks off here."""
        if self.splitter is not None:
            self._give_up(b"", "JSON document does not end")

    def broke(self, rest: bytes, where: str) -> None:
        """The open document cannot go on: `rest` still belongs to its torn line."""
        self._give_up(rest, f"not JSON at {where}")

    def _feed(self, line: Line, text: bytes, at: int, error: str = "") -> None:
        """Documents one after another on this line; what follows that is no JSON goes back to the stream."""
        place = (line.number, line.offset)
        while True:
            while text[at : at + 1] in (b" ", b",", b"\t", b"\r", b"\n"):
                at += 1
            if at >= len(text):
                return
            if self.splitter is None:
                if not _DOCUMENT.match(text, at):
                    self._again(line, text[at:].rstrip(b"\r\n"))
                    return
                self.splitter, self.first, self.error = Splitter(), line, error
            start = at
            state, at = self.splitter.feed(text, at, len(text), lambda _: place)
            self._take_items()
            if state is State.OPEN:
                if line.cut:
                    self.close()
                return
            if state is State.BROKEN:
                self._break(line, text, start, at)
                return
            self._finish()

    def _again(self, line: Line, rest: bytes) -> None:
        """Something else begins on the same line."""
        self.stream.again.append(line.same(rest))

    def _take_items(self) -> None:
        splitter, first = self.splitter, self.first
        assert splitter is not None and first is not None
        if splitter.ready and not splitter.items and splitter.head:
            head = members(splitter.head.rstrip(b", \t\r\n") + b"}")
            _, instance, cluster = names.facts(head or {})
            first.instance, first.cluster = instance or first.instance, cluster or first.cluster
        splitter.items += len(splitter.ready)
        for text, number, offset in splitter.ready:
            item = first.same(text, number, offset)
            if splitter.list_key == "logEvents":  # its events need what stands before them
                item.listed = True
                self._document(splitter.head + b'"logEvents":[' + text + b"]}", item)
            else:
                self.item(text, item)
        splitter.ready.clear()

    def _finish(self) -> None:
        splitter, first = self.splitter, self.first
        assert splitter is not None and first is not None
        self.splitter = self.first = None
        if splitter.list_key is not None:
            if not splitter.items:
                self.ledger.reject(first, "an empty list", splitter.head)
            return
        self._document(b"".join(splitter.kept).strip(), first)

    def _document(self, text: bytes, line: Line) -> None:
        """One document whose end is known."""
        try:
            value = decoded(text)
        except RecursionError:
            self._too_deep(line, text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            event = remains(elided(text))
            if event is not None:
                self.ledger.emit(line, event, cut=True)
            else:
                self.ledger.reject(line, _reason(str(error)), text)
        else:
            self.value(value, text, line)

    # -- those deeper than the decoder's stack

    def _deep(self, line: Line, text: bytes) -> None:
        """A line with a value nested too deeply: a list is split without reading its items."""
        if native.is_event_start(text):
            self._too_deep(line, text)
            return
        self._feed(line, text + b"\n", 0)
        if self.splitter is not None:  # what is so deep and does not end on its line is torn: the next line is another record's
            self._give_up(b"", _TOO_DEEP)

    def _too_deep(self, line: Line, text: bytes) -> None:
        event = remains(text)
        if event is not None:
            self.ledger.emit(line, event, cut=line.cut)
        else:
            self.ledger.reject(line, _TOO_DEEP, text)

    # -- broken ones

    def _broken(self, line: Line, error: str) -> bool:
        """A line that is no JSON by itself: torn, the first of several, several documents, or no JSON at all."""
        text = line.text
        if native.is_event_start(text) and "trailing" not in error:
            self.stream.end_entry()
            self._torn_event(line, text, error)
            return True
        if not _DOCUMENT.match(text):
            return False
        at = self._whole_ones(line, text, error)
        self._feed(line, text + b"\n", at, error)
        return True

    def _whole_ones(self, line: Line, text: bytes, error: str) -> int:
        """Read the whole documents that stand one after another at the line's start; where the rest begins.

        The decoder's error says where a document ends: ten times as fast as the splitter.
        """
        at = 0
        while (end := _TRAILING.search(error)) is not None:
            if not at:
                self.stream.end_entry()
            stop = at + int(end[1]) - 1
            self._document(text[at:stop].rstrip(b", \t\r"), line)
            at = stop
            if not _DOCUMENT.match(text, at):
                break
            try:
                _skip(memoryview(text)[at:])
            except msgspec.DecodeError as found:
                error = str(found)
            except RecursionError:
                break
            else:
                self._document(text[at:], line)
                return len(text)
        return at

    def _torn_event(self, line: Line, text: bytes, error: str) -> None:
        """One event that breaks off; the next record may have been appended to it."""
        header = klog.HEADER.search(text, 1)
        starts = (text.find(native.AUDIT_START, 1), header.start() if header else -1)
        again = min((at for at in starts if at > 0), default=0)
        if again:
            self.ledger.emit(line, text[:again], cut=True)
            self._again(line, text[again:])
        elif "truncated" in error or line.cut or line.last or _CUT_MARK.search(text[-200:]):
            self.ledger.emit(line, text, cut=True)
        else:
            self.ledger.reject(line, _reason(error), text)

    def _break(self, line: Line, text: bytes, start: int, at: int) -> None:
        """The document cannot go on at `at`: either this line is a new record, or it is where the old one is torn."""
        first, entry = self.first, self.stream.entry
        if first is not line and not text[start:at].strip():
            self._give_up(b"", f"not JSON at line {line.number}")
            self._again(line, text.rstrip(b"\r\n"))
            return
        if first is line and entry is not None and start == 0:
            self.splitter = self.first = None
            self.stream.append(line.text)
            return
        self.stream.end_entry()
        again = text.find(native.AUDIT_START, at + 1)
        rest = text[at:again] if again > 0 else text[at:].rstrip(b"\r\n")
        self._give_up(rest, _reason(self.error) if first is line and start == 0 else f"not JSON at column {at + 1}")
        if again > 0:
            self._again(line, text[again:].rstrip(b"\r\n"))

    def _give_up(self, rest: bytes, reason: str) -> None:
        splitter, first = self.splitter, self.first
        assert splitter is not None and first is not None
        self.splitter = self.first = None
        text = (b"".join(splitter.kept) + rest).strip()
        line = first
        if splitter.list_key is not None:
            line = first.same(text, *(splitter.item_at or (first.number, first.offset)))
            line.listed = True
            if splitter.item_at is None and not text.strip(b" \r\n\t,]}"):
                return  # between items, or behind the list: every item was read
        event = remains(text)
        if event is not None:
            self.ledger.emit(line, event, cut=True)
        else:
            self.ledger.reject(line, reason, text)


def _reason(error: str) -> str:
    match = _BYTE.match(error)
    if match is None or match[2] is None:
        return f"not JSON: {error}"
    return f"not JSON at column {int(match[2]) + 1}: {match[1]}"
