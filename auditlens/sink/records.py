"""What a segment of the WAL looks like: whole records are told from torn, damaged and never written ones.

A segment is a row of records, each framed as

    magic (4 bytes) | length of all that follows the frame | CRC-32 of it | length of the header   (little-endian, 4 bytes each)
    header (JSON: cluster, received, client) | body
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from auditlens.errors import AuditlensError

NAME = re.compile(r"(\d{12})\.(open|seg)")
_MAGIC = b"\xa7AWL"
FRAME = struct.Struct("<4sIII")


class WalError(AuditlensError):
    """The log cannot be used: it is held by another process, unreadable, or not writable."""


class Post(msgspec.Struct, frozen=True):
    """The header of one record: where a body came from. `received` is in seconds since the epoch."""

    cluster: str | None
    received: float
    client: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One whole record of a segment."""

    post: Post
    body: memoryview


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no whole record."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed segment, on its way into the lake."""

    path: Path
    number: int
    size: int


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Post).decode


def read(data: bytes) -> Iterator[Entry | Damage]:
    """The records of a segment in order; what is damaged is passed over to the next whole record, and said."""
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        found = _record(view, at)
        if found:
            entry, at = found
            yield entry
            continue
        start = at
        while True:
            at = data.find(_MAGIC, at + 1)
            if at < 0 or _record(view, at):
                break
        at = end if at < 0 else at
        yield Damage(start, at - start)


def _record(view: memoryview, at: int) -> tuple[Entry, int] | None:
    if len(view) - at < FRAME.size:
        return None
    magic, length, crc, head = FRAME.unpack_from(view, at)
    start = at + FRAME.size
    if magic != _MAGIC or head > length or length > len(view) - start:
        return None
    content = view[start : start + length]
    if zlib.crc32(content) != crc:
        return None
    return Entry(_decode(content[:head]), content[head:]), start + length


def frame(parts: Sequence[bytes]) -> bytes:
    """What stands before a record of these parts, the first of them its header."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return FRAME.pack(_MAGIC, sum(map(len, parts)), crc, len(parts[0]))


def segments(directory: Path) -> list[Segment]:
    """The sealed segments of a log, oldest first."""
    out = []
    with os.scandir(directory) as found:
        for entry in found:
            name = NAME.fullmatch(entry.name)
            if name and name[2] == "seg":
                with contextlib.suppress(FileNotFoundError):  # drained meanwhile
                    out.append(Segment(Path(entry.path), int(name[1]), entry.stat().st_size))
    return sorted(out, key=lambda s: s.number)


def identity(directory: Path) -> str:
    """The name of the log, part of every row's source; raises WalError where there is none."""
    try:
        return str(json.loads((directory / "sink.json").read_text(encoding="utf-8"))["sink"])
    except (OSError, ValueError, KeyError) as e:
        raise WalError(f"{directory / 'sink.json'}: cannot be read ({e}); restore it, its name is in the rows' source") from e
