"""One followed file: what it is, how far it is read, and which of its lines are surely whole."""

from __future__ import annotations

import contextlib
import gzip
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from auditlens.formats.clock import Clock
from auditlens.formats.reader import Reader
from auditlens.importing.files.chunks import FINGERPRINT, HEAD, MAX_LINE, fingerprint
from auditlens.importing.transform import PLAIN
from auditlens.records import Chunk

_SLICE = 32 << 20  # bytes per import
BLOCK = 1 << 20
_LINGER = 2.0  # seconds without growth after which a file that is gone is done with
_OPEN_END = 10.0  # seconds without growth after which an entry that may go on is taken as it is
# behind the name or before its suffix: lumberjack's stamp, logrotate's number or date
_ROTATED = re.compile(r"(?:-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}|[.-]\d{8}(?:-\d+)?|\.\d{1,4})")


@dataclass(slots=True)
class Tail:
    """An open file and how far it is read. Offsets are of the decompressed content."""

    name: str
    file: BinaryIO
    key: tuple[int, int]  # device, inode
    fingerprint: str
    offset: int = 0
    line: int = 1  # number of the line at `offset`
    compressed: bool = False
    gone: bool = False  # no longer at its path: nothing new is expected
    grown: float = field(default_factory=time.monotonic)  # when it last had something new
    size: int = 0
    clock: Clock | None = None  # of its entries, from the first slice on
    number: int = 0  # among the files that begin like it

    @property
    def identity(self) -> str:
        """What the lake knows it by."""
        return f"{self.fingerprint}-{self.number}" if self.number else self.fingerprint

    def ended(self) -> bool:
        """Whether a torn last line will not be completed any more."""
        return self.compressed or (self.gone and time.monotonic() - self.grown > _LINGER)

    def slice(self, ended: bool, format: str) -> tuple[Chunk, int] | None:
        """The next whole lines as a chunk and their size; None when there are none yet. `ended`: take the torn line too."""
        self.file.seek(self.offset)
        data = self.file.read(_SLICE)
        if not data:
            return None
        end = data.rfind(b"\n") + 1
        if not end:
            return self._long_line(data, ended)
        if ended and len(data) < _SLICE:
            end = len(data)
        end = end if ended or time.monotonic() - self.grown > _OPEN_END else _settled(data, end, format)
        return self._chunk(data[:end]) if end else None

    def _chunk(self, data: bytes) -> tuple[Chunk, int]:
        return Chunk(data, self.line, self.offset), len(data)

    def _long_line(self, data: bytes, ended: bool) -> tuple[Chunk, int] | None:
        """A line longer than a slice: whole up to the import's limit, beyond it only its head."""
        size, parts = len(data), [data]
        while more := self.file.read(BLOCK):
            end = more.find(b"\n") + 1
            size += end or len(more)
            if size <= MAX_LINE:
                parts.append(more[:end] if end else more)
            if end:
                break
        else:
            if not ended:
                return None
        if size <= MAX_LINE:
            return self._chunk(b"".join(parts))
        return Chunk(data[:HEAD], self.line, self.offset, size), size

    def advance(self, chunk: Chunk, size: int) -> None:
        """What was imported is read."""
        self.offset += size
        self.line += 1 if chunk.cut_from is not None else bytes(chunk.data).count(b"\n")


def _settled(data: bytes, end: int, format: str) -> int:
    """Where the last record that is surely complete ends: an entry or document over several lines may go on."""
    if data.startswith(PLAIN.encode()) and data.count(b"\n" + PLAIN.encode(), 0, end) == data.count(b"\n", 0, end - 1):
        return end
    whole = Reader(format=format)
    for _ in whole.feed(Chunk(data[:end], 1, 0)):
        pass
    if whole.idle:
        return end
    if settled := whole.settled:
        return settled
    reader, at, settled = Reader(format=format), 0, 0
    while at < end:
        stop = data.find(b"\n", at) + 1
        for _ in reader.feed(Chunk(data[at:stop], 1, at)):
            pass
        at = stop
        if reader.idle:
            settled = at
    return settled


def opened(path: Path) -> BinaryIO:
    file = path.open("rb", buffering=0)  # a buffer would show what was there before
    magic = file.read(2)
    file.seek(0)
    if magic == b"\x1f\x8b":
        file.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return file


def fingerprint_of(file: BinaryIO) -> str | None:
    """What an open file is known by."""
    file.seek(0)
    return fingerprint(file.read(FINGERPRINT))


def siblings(path: Path) -> list[Path]:
    """The rotated files of a live one, oldest first; of X and X.gz only X."""
    stem, suffix = path.stem, path.suffix
    found = []
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            name = other.name.removesuffix(".gz")
            middle = (
                name[len(path.name) :] if name.startswith(path.name)
                else name[len(stem) : -len(suffix) or None] if name.startswith(stem) and name.endswith(suffix) else ""
            )  # fmt: skip
            if _ROTATED.fullmatch(middle) and not (other.suffix == ".gz" and other.with_suffix("").exists()):
                found.append((-int(middle[1:]) if len(middle) < 6 else 0, middle, other))  # .2 is older than .1
    return [other for *_, other in sorted(found)]  # not by age: a late .gz is younger than what came after it
