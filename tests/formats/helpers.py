"""Sources as chunks, and the accounting that must hold for every one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auditlens.formats.event import read_event
from auditlens.formats.reader import Reader
from auditlens.records import Chunk, Event, Record, Reject

SHARED = Path(__file__).resolve().parents[3] / "shared"


def chunks(data: bytes, size: int = 1 << 26) -> Iterator[Chunk]:
    """The source in chunks of whole lines, each at least `size` long."""
    start, line = 0, 1
    while start < len(data):
        newline = data.find(b"\n", start + size - 1)
        end = len(data) if newline < 0 else newline + 1
        yield Chunk(data[start:end], line, start)
        line += data.count(b"\n", start, end)
        start = end


def physical_lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


def read_all(data: bytes, size: int = 1 << 26) -> tuple[Reader, list[Record | Reject]]:
    """Everything a source yields; the accounting is checked on the way."""
    reader = Reader()
    found: list[Record | Reject] = []
    for chunk in chunks(data, size):
        found += reader.feed(chunk)
    found += reader.close()
    counts = reader.counts
    assert counts.lines == physical_lines(data)
    assert counts.lines == counts.records - counts.items + counts.continuations + counts.blanks
    assert counts.records == len(found)
    assert sum(record.item is not None for record in found) == counts.items
    assert reader.idle
    return reader, found


def facts(found: Record | Reject) -> dict[str, Any]:
    """A record or reject as one flat mapping, the event's head among it."""
    if isinstance(found, Record) and found.format == "audit":
        event = read_event(found)
        if isinstance(event, Event):
            return (
                {name: getattr(found, name) for name in ("line", "item", "format", "time", "instance", "cluster", "cut")}
                | {name: getattr(event, name) for name in ("partial", "extra", "time_source")}
                | {
                    "request_object": event.request_object and event.request_object.decode(),
                    "response_object": event.response_object and event.response_object.decode(),
                }
                | event.head
            )
        found = event
    if isinstance(found, Reject):
        return {"line": found.line, "item": found.item, "reject": found.reason}
    return {name: getattr(found, name) for name in found.__slots__} | {"text": found.text.decode("utf-8", "replace")}


def matches(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    for name, value in expected.items():
        if name in ("reject", "text"):
            if value not in found.get(name, ""):
                return False
        elif found.get(name) != value:
            return False
    return "reject" in expected or "reject" not in found
