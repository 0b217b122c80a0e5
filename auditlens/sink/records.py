"""What a segment of the WAL looks like: whole records are told from torn, damaged and never written ones.

A segment is a row of records, each framed as

    key (16 bytes) | length of all that follows the frame | CRC-32 of it | length of the header | CRC-32 of these three
    header (JSON: cluster, received, client) | body                          (little-endian, 4 bytes each)

The key is random, one per segment, and stands in the segment's name: who posts a body cannot know it, so nothing in a body
is ever taken for a frame, however the record around it was torn. It may be seen once the segment is sealed: nothing is
written to it then. Segments without a key in their name are of version 0.1.0, with a constant and no CRC of the frame.

Segments with the id of a redaction key in their name are encrypted (cipher.py): in the place of the content's CRC-32 stands
the number of the record, and a tag follows the body. The others were written without such a key, or before there was one.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from auditlens.errors import AuditlensError
from auditlens.sink.cipher import TAG, SegmentCipher, Vault

NAME = re.compile(r"(\d{12})(?:\.([0-9a-f]{32})(?:\.([0-9a-f]{8}))?)?\.(open|seg)")
KEY = 16  # bytes
FRAME = KEY + 16  # bytes
_LENGTHS = struct.Struct("<III")
_CHECK = struct.Struct("<I")
_CONSTANT = b"\xa7AWL"  # in the key's place, where there is none
_EFFORT = 32  # times a segment's size that may be read to find its records: frames that overlap would take the square of it


class WalError(AuditlensError):
    """The log cannot be used: it is held by another process, unreadable, or not writable."""


class RecordHeader(msgspec.Struct, frozen=True):
    """The header of one record: where a body came from. `received` is in seconds since the epoch."""

    cluster: str | None
    received: float
    client: str


class State(msgspec.Struct, frozen=True):
    """`sink.json`: the log's name and the first segment number that no process has for its own."""

    sink: str
    next: int


@dataclass(frozen=True, slots=True)
class WalRecord:
    """One whole record of a segment."""

    header: RecordHeader
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
    key: bytes | None
    key_id: str | None = None  # of the redaction key, when it is encrypted

    @classmethod
    def of(cls, path: Path) -> Segment:
        """Of a file whose name fits `NAME`; FileNotFoundError when it is gone."""
        name = NAME.fullmatch(path.name)
        assert name, path
        return cls(path, int(name[1]), path.stat().st_size, bytes.fromhex(name[2]) if name[2] else None, name[3])

    def read(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    def records(self, data: bytes, vault: Vault | None) -> Iterator[WalRecord | Damage]:
        """What its bytes hold; raises WalError where another key is needed."""
        check([self], vault)
        return read(data, self.key, vault.cipher(self.key) if vault and self.key and self.key_id else None)


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RecordHeader).decode


def check(found: Sequence[Segment], vault: Vault | None) -> None:
    """Raises WalError where one of the segments is encrypted with another key than the vault's."""
    strange = [s for s in found if s.key_id and s.key_id != (vault.id if vault else None)]
    if strange:
        raise WalError(
            f"{strange[0].path.parent}: {len(strange)} segments are encrypted with the redaction key {strange[0].key_id}, and "
            f"the key here is {vault.id if vault else 'none'}: give that key (--redact-key FILE or AUDITLENS_REDACT_KEY); until it "
            "is found, keep the directory as it is and start with another --wal; nothing of it was deleted"
        )


def read(data: bytes, key: bytes | None, cipher: SegmentCipher | None = None) -> Iterator[WalRecord | Damage]:
    """The records of a segment in order; what is damaged is passed over to the next whole record, and said."""
    view, at, end = memoryview(data), 0, len(data)
    effort = _EFFORT * end
    while at < end:
        record, size = _record(view, at, key, cipher)
        if record:
            yield record
            at += size
            continue
        start = at
        while not record and at < end:
            effort -= size
            at = data.find(key or _CONSTANT, at + 1) if effort > 0 else -1
            if at < 0:
                at = end
            else:
                record, size = _record(view, at, key, cipher)
        yield Damage(start, at - start)


def _record(view: memoryview, at: int, key: bytes | None, cipher: SegmentCipher | None) -> tuple[WalRecord | None, int]:
    """The record that begins here and its size, frame included; or none, and the bytes that had to be read to see that."""
    marker = key or _CONSTANT
    start = at + len(marker) + _LENGTHS.size + (_CHECK.size if key else 0)
    if len(view) < start or view[at : at + len(marker)] != marker:
        return None, 0
    numbers = view[at + len(marker) :][: _LENGTHS.size]
    length, crc, head = _LENGTHS.unpack(numbers)  # with a cipher, the second is the record's number
    if key and zlib.crc32(numbers) != _CHECK.unpack_from(view, start - _CHECK.size)[0]:
        return None, 0
    if head > length or length > len(view) - start:
        return None, 0
    content = view[start : start + length]
    if cipher:
        content = memoryview(cipher.decrypt(crc, content, view[at:start]) or b"")
    if len(content) < head or not (cipher or zlib.crc32(content) == crc):
        return None, length
    try:
        return WalRecord(_decode(content[:head]), content[head:]), start + length - at
    except msgspec.MsgspecError:  # whole, but nothing that was ever written
        return None, length


def frame(parts: Sequence[bytes], key: bytes) -> bytes:
    """What stands before a record of these parts, the first of them its header."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return _frame(key, sum(map(len, parts)), crc, len(parts[0]))


def _frame(key: bytes, *numbers: int) -> bytes:
    packed = _LENGTHS.pack(*numbers)
    return key + packed + _CHECK.pack(zlib.crc32(packed))


def written(parts: Sequence[bytes], key: bytes, cipher: SegmentCipher | None, number: int) -> list[bytes]:
    """A record of these parts as it is written; it is the segment's record `number`."""
    if cipher is None:
        return [frame(parts, key), *parts]
    head = _frame(key, sum(map(len, parts)) + TAG, number, len(parts[0]))
    return [head, *cipher.encrypt(number, parts, head)]


def segments(directory: Path) -> list[Segment]:
    """The sealed segments of a log, oldest first."""
    out = []
    with os.scandir(directory) as found:
        for file in found:
            name = NAME.fullmatch(file.name)
            if name and name[4] == "seg":
                with contextlib.suppress(FileNotFoundError):  # drained meanwhile
                    out.append(Segment.of(Path(file.path)))
    return sorted(out, key=lambda s: s.number)


def state(directory: Path) -> State:
    """What the log knows of itself; raises WalError where that cannot be told."""
    path = directory / "sink.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise WalError(f"{path}: cannot be read ({e}); restore it, its name is in the rows' source") from e


def identity(directory: Path) -> str:
    """The name of the log, part of every row's source; raises WalError where there is none."""
    return state(directory).sink
