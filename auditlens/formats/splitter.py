"""JSON that comes in pieces of whole lines is split into documents and list items, holding one item at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

import msgspec

from .line import MAX_RECORD

__all__ = ["LIST_KEYS", "Splitter", "State"]

# A raw newline cannot stand inside a JSON string and no letters but those of true, false and null outside:
# that is how a torn line shows itself.
_SKIP = re.compile(rb'(?:[\s,:0-9+\-.eEtrufalsn]++|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")*+')
_BETWEEN = re.compile(rb"[\s,]*+")
_SCALAR = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|[0-9+\-.eEtrufalsn]++')

LIST_KEYS = ("items", "records", "events", "logEvents", "Records", "entries", "value", "data", "results")
_LIST_KEY = re.compile(rb'"(' + "|".join(LIST_KEYS).encode() + rb')"\s*:\s*\Z')

_decode = msgspec.json.Decoder(msgspec.Raw).decode

_OPENS = b"{["
_CLOSES = b"}]"


class State(Enum):
    OPEN = "open"  # more lines are needed
    DONE = "done"  # the document ends here
    BROKEN = "broken"  # no JSON document goes on like this


class Splitter:
    """One JSON document. Lists (an array, or an array under one of LIST_KEYS) give items, others their whole text.

    `ready` holds finished items as (text, line, offset); `list_key` names the list ("" for a bare array); `head` is
    the object's text before the list; `items` counts what was taken from `ready`; `kept` the text of the item, or of the document, that is still open.
    """

    def __init__(self) -> None:
        self.stack = bytearray()
        self.kept: list[bytes] = []
        self.size = 0
        self.ready: list[tuple[bytes, int, int]] = []
        self.list_key: str | None = None
        self.head = b""
        self.items = 0
        self.item_at: tuple[int, int] | None = None
        self._list_depth = 0

    def feed(self, buffer: bytes, pos: int, end: int, where: Callable[[int], tuple[int, int]]) -> tuple[State, int]:
        """Go on with buffer[pos:end], whole lines; `where` gives line and offset of a position.

        DONE with the position behind the document, BROKEN with the offending one, OPEN with `end`.
        """
        stack = self.stack
        mark = at = pos
        while True:
            if self._list_depth and len(stack) == self._list_depth:
                state, mark, at = self._between(buffer, at, end, where)
                if state is not None:
                    return state, at
                continue
            at = _SKIP.match(buffer, at, end).end()  # type: ignore[union-attr]  # matches always
            if at >= end:
                self._keep(buffer[mark:end])
                return (State.BROKEN if self.size > MAX_RECORD else State.OPEN), end
            byte = buffer[at]
            if byte in _OPENS:
                if stack and not self._may_open(buffer, at, pos):
                    self._keep(buffer[mark:at])
                    return State.BROKEN, at
                stack.append(byte)
                at += 1
                if byte == 0x5B and self._starts_list(buffer, mark, at - 1):
                    mark = at
            elif byte in _CLOSES and stack and stack[-1] + 2 == byte:  # in ASCII, } is { + 2 and ] is [ + 2
                stack.pop()
                at += 1
                if self._list_depth and len(stack) == self._list_depth:
                    self._keep(buffer[mark:at])
                    line, offset = self.item_at or where(at)
                    self.ready.append((b"".join(self.kept), line, offset))
                    self._forget()
                elif not stack:
                    self._keep(buffer[mark:at])
                    return State.DONE, at
            else:
                self._keep(buffer[mark:at])
                return State.BROKEN, at

    def _between(
        self, buffer: bytes, at: int, end: int, where: Callable[[int], tuple[int, int]]
    ) -> tuple[State | None, int, int]:
        """Between the items of the list: the state where feeding ends here, where what is kept begins, and where to go on."""
        at = _BETWEEN.match(buffer, at, end).end()  # type: ignore[union-attr]  # matches always
        if at >= end:
            return State.OPEN, end, end
        byte = buffer[at]
        if byte == 0x5D:  # ]
            self.stack.pop()
            self._list_depth = 0
            return None if self.stack else State.DONE, at + 1, at + 1
        if byte in _OPENS and not (stop := _line_item(buffer, at, end)):
            self.item_at = where(at)
            self.stack.append(byte)
            return None, at, at + 1
        if byte not in _OPENS:
            scalar = _SCALAR.match(buffer, at, end)
            if scalar is None:
                return State.BROKEN, at, at
            stop = scalar.end()
        line, offset = where(at)
        self.ready.append((buffer[at:stop], line, offset))
        return None, stop, stop

    def _keep(self, piece: bytes) -> None:
        """Hold what belongs to the open item or document; what surrounds a list is not needed."""
        if self.list_key is not None and not self._list_depth:
            return
        self.kept.append(piece)
        self.size += len(piece)

    def _forget(self) -> None:
        self.kept.clear()
        self.size = 0
        self.item_at = None

    def _may_open(self, buffer: bytes, at: int, start: int) -> bool:
        """A bracket in column 0 inside an object is a new record unless a colon asks for a value."""
        if self.stack[-1] != 0x7B or (at > start and buffer[at - 1] != 0x0A):
            return True
        before = buffer[max(start, at - 64) : at].rstrip() or (self.kept[-1].rstrip() if self.kept else b"")
        return before.endswith(b":")

    def _starts_list(self, buffer: bytes, mark: int, at: int) -> bool:
        """Whether the [ at `at` opens the document's list; then the text before it becomes `head`."""
        if len(self.stack) == 1:
            self.list_key = ""
        elif len(self.stack) == 2 and self.stack[0] == 0x7B:
            before = b"".join(self.kept[-3:])[-64:] + buffer[max(mark, at - 64) : at]
            key = _LIST_KEY.search(before)
            if key is None:
                return False
            if self.list_key is None:
                self.head = (b"".join(self.kept) + buffer[mark:at])[: -len(key[0])]
            self.list_key = key[1].decode()
        else:
            return False
        self._list_depth = len(self.stack)
        self._forget()
        return True


def _line_item(buffer: bytes, at: int, end: int) -> int:
    """Where the item ends that begins here, if it is all there is to the end of the line; 0 when it is not.

    An array with an event a line is common, and the decoder passes over one ten times as fast as the loop above.
    """
    newline = buffer.find(b"\n", at, end)
    stop = end if newline < 0 else newline
    while stop > at and buffer[stop - 1] in b" \t\r,":
        stop -= 1
    if stop - at < 3 or buffer[stop - 1] not in _CLOSES:
        return 0
    try:
        _decode(memoryview(buffer)[at:stop])
    except (msgspec.DecodeError, RecursionError):
        return 0
    return stop
