"""A posted body is split into its items as they stand, in bounded memory, or it is said why that cannot be done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import msgspec

from auditlens.faults import said
from auditlens.formats.splitter import Splitter, State

_MAX_ITEMS = 200_000  # of one body: 64 MiB of the shortest events the apiserver writes
_MIN_ITEM = 64  # bytes of the shortest complete event; a long list of less is no list of events
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_ITEMS = re.compile(rb'"items"\s*:\s*\[\s*')


class _List(msgspec.Struct):
    items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # the last, of several


_decode = msgspec.json.Decoder(_List).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


class Poster(Protocol):
    """Where a body came from."""

    @property
    def cluster(self) -> str | None: ...
    @property
    def client(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Body:
    """One body of a segment; `damaged` says why its bytes are not what was posted, if they are not."""

    poster: Poster | None
    data: memoryview
    offset: int = 0
    damaged: str | None = None


def split(body: memoryview) -> list[bytes] | str:
    """The items of an EventList as they stand, a body that is no list as one item, or why it cannot be read."""
    try:
        if bytes(body).count(b",") > _MAX_ITEMS and (reason := _too_many(body)):
            return reason
        text = _decode(body).items
        if text is msgspec.UNSET or bytes(text)[:1] not in (b"[", b"n"):
            return [bytes(body)]  # no list: an event that was posted alone, or what will be rejected
        if _lists(body) > _lists(text):
            return "the body holds more than one list"
        items = _decode_items(text)
    except (RecursionError, msgspec.ValidationError):  # the latter for what is no object, which the sink does not take
        return _unread(body) or "JSON nested too deeply to read"
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        return f"the body is not JSON: {said(e)}"
    return [bytes(item) for item in items or ()]  # Go writes an empty list as null


def _lists(text: bytes | memoryview | msgspec.Raw) -> int:
    return bytes(text).count(b"[")


def _unread(body: memoryview) -> list[bytes]:
    """The items of a list as they stand, found by its brackets alone; a body that is no list as one item."""
    splitter = Splitter()
    state, _ = splitter.feed(bytes(body) + b"\n", 0, len(body) + 1, lambda at: (1, at))
    if state is not State.DONE:
        return []
    if not splitter.list_key:
        return [bytes(body)]
    items = [text for text, _, _ in splitter.ready]
    return items if _lists(body) == 1 + sum(map(_lists, items)) else []


def _too_many(body: memoryview) -> str | None:
    """Why a list with very many commas is not worth splitting; its items are counted one by one, held nowhere."""
    start = _ITEMS.search(body)
    if start is None:
        return None
    at, count = start.end(), 0
    while True:
        try:
            _skip(body[at:])
            break
        except msgspec.DecodeError as e:
            end = _TRAILING.search(str(e))
        if end is None:
            break  # not JSON: the decoder will say where
        at += int(end[1]) - 1  # of the comma or bracket behind the item, counted from 1
        count += 1
        if count > _MAX_ITEMS or (count > 1000 and at < count * _MIN_ITEM):
            return f"more than {count - 1} items in {at} bytes: not a list of audit events"
        if body[at] != 0x2C:
            break
        at += 1
    return None
