"""Live files go into the lake while they are written, each line once: across rotation, truncation, deletion and restarts.

A file is known by its first line (4 KiB of it at most), whatever it is called and wherever it goes, compressed or not. How
far it was read is in the lake itself, as the version of the transaction `follow:CLUSTER:FINGERPRINT`: it is committed
with the rows, so that it can neither lead nor lag. Only whole lines are read; the torn last line of a file is read when
the file was rotated away or deleted.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import duckdb

from auditlens.formats.reader import Reader
from auditlens.importing.batches import SourceReader
from auditlens.importing.chunks import HEAD, MAX_LINE
from auditlens.importing.commit import Read, SourceReport, commit_batch
from auditlens.importing.sources import SourceFile
from auditlens.importing.transform import PLAIN, Source, prepare
from auditlens.importing.writer import Writer
from auditlens.lake import Lake
from auditlens.lake.fold import Folder
from auditlens.records import Chunk
from auditlens.redact import NO_REDACTION, Redactor
from auditlens.tables import TABLES, Imports

MEMORY_LIMIT = "250MB"  # for DuckDB
_FINGERPRINT = 4096  # bytes of the first line
_SLICE = 32 << 20  # bytes per import
_BLOCK = 1 << 20
_LINGER = 2.0  # seconds without growth after which a file that is gone is done with
_OPEN_END = 10.0  # seconds without growth after which an entry that may go on is taken as it is
_FOLD = 30.0  # seconds between folds
# behind the name or before its suffix: lumberjack's stamp, logrotate's number or date
_ROTATED = re.compile(r"(?:-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}|[.-]\d{8}(?:-\d+)?|\.\d{1,4})")


def follow(
    paths: Iterable[str | Path],
    lake: Lake | str | Path,
    *,
    cluster: str | None = None,
    format: str = "auto",
    redact: bool = True,
    redact_key: str | Path | None = None,
    stop: threading.Event | None = None,
    poll: float = 0.25,
    wait: float = 1.0,
    report: Callable[[SourceReport], None] = lambda report: None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Follow files until `stop` is set; then read what is there, and return.

    Args:
        paths: files, directories or globs; what appears there later is followed as well, and so are the rotated files of
            a followed one from the first on that was begun before.
        lake: the lake, or its directory.
        cluster, format, redact, redact_key: as for an import.
        poll: seconds between looks at the files.
        wait: seconds for which new lines are collected before they are imported.
        report: called with what became of the lines of each import.
        say: called with a line of text about rotations and the like.

    Raises:
        LakeError: the lake cannot be read or written.
    """
    redactor = Redactor.from_config(Path(redact_key) if redact_key else None) if redact else NO_REDACTION
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    follower = _Follower([str(p) for p in paths], _Into(lake, cluster, format, redactor, report), say)
    folder, folded = Folder(lake), time.monotonic()
    stop = stop or threading.Event()
    imported = 0.0
    while True:
        ending = stop.wait(poll)
        follower.look()
        if ending or time.monotonic() - imported >= wait:
            follower.read(ending)
            imported = time.monotonic()
        if ending:
            return
        if time.monotonic() - folded > _FOLD:
            folder.run()
            folded = time.monotonic()


class _Into:
    """Where lines go: one import per slice of a file."""

    def __init__(
        self, lake: Lake, cluster: str | None, format: str, redactor: Redactor, report: Callable[[SourceReport], None]
    ) -> None:
        self.lake, self.cluster, self.format, self.redactor, self.report = lake, cluster, format, redactor, report
        self.con = duckdb.connect(config={"memory_limit": MEMORY_LIMIT})
        self.con.execute("set TimeZone = 'UTC'")
        prepare(self.con)

    def known(self, fingerprint: str) -> tuple[int, int]:
        """The offset up to which a file is in the lake, and up to which an import that did not finish had come."""
        app = self._app(fingerprint)
        done = self.lake.transaction(Imports.NAME, app) or 0
        return done, max([done, *(self.lake.transaction(t, app) or 0 for t in TABLES)])

    def _app(self, fingerprint: str) -> str:
        return f"follow:{self.cluster or ''}:{fingerprint}"

    def put(self, tail: _Tail, chunk: Chunk, size: int) -> bool:
        """Import the slice of `size` bytes behind a file's offset; False when another follower was first."""
        start, end = tail.offset, tail.offset + size
        digest = hashlib.sha256(chunk.data).hexdigest()
        import_id = hashlib.sha256(f"{self._app(tail.fingerprint)}:{start}:{end}".encode()).hexdigest()[:16]
        source = Source(tail.name, SourceFile(None, tail.name).instance, import_id, self.cluster)
        read = Read(source, SourceReport(tail.name, bytes=size), sha256=digest)
        with self.lake.staging() as staging:
            directory = str(staging.dir).replace("'", "''")
            self.con.execute(f"set temp_directory = '{directory}'")
            writer = Writer(self.con, staging, import_id, self.redactor)
            reader = SourceReader(source, format=self.format)
            for piece in reader.pieces([chunk]):
                writer.add(source, piece)
            writer.flush()
            counts, report = reader.counts, read.report
            report.lines, report.items, report.records = counts.lines, counts.items, counts.records
            report.continuations, report.blanks = counts.continuations, counts.blanks
            app = self._app(tail.fingerprint), end
            done = commit_batch(self.lake, writer, staging, import_id, [read], self.redactor, transaction=app)
        if done:
            self.report(report)
        return done


@dataclass(slots=True)
class _Tail:
    """An open file and how far it is read. Offsets are of the decompressed content."""

    name: str
    file: BinaryIO
    key: tuple[int, int]  # device, inode
    fingerprint: str
    offset: int = 0
    line: int = 1  # number of the line at `offset`
    must_end: int = 0  # where the next slice must end, to finish an import that was interrupted
    compressed: bool = False
    gone: bool = False  # no longer at its path: nothing new is expected
    grown: float = field(default_factory=time.monotonic)  # when it last had something new
    size: int = 0

    def ended(self) -> bool:
        """Whether a torn last line will not be completed any more."""
        return self.compressed or (self.gone and time.monotonic() - self.grown > _LINGER)

    def slice(self, ended: bool, format: str) -> tuple[Chunk, int] | None:
        """The next whole lines as a chunk and their size; None when there are none yet. `ended`: take the torn line too."""
        self.file.seek(self.offset)
        data = self.file.read(self.must_end - self.offset if self.must_end else _SLICE)
        if self.must_end and len(data) == self.must_end - self.offset:
            return self._chunk(data)
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
        while more := self.file.read(_BLOCK):
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
        self.must_end = 0


def _settled(data: bytes, end: int, format: str) -> int:
    """Where the last record that is surely complete ends: an entry or document over several lines may go on."""
    if data.startswith(PLAIN.encode()) and data.count(b"\n" + PLAIN.encode(), 0, end) == data.count(b"\n", 0, end - 1):
        return end
    whole = Reader(format=format)
    for _ in whole.feed(Chunk(data[:end], 1, 0)):
        pass
    if whole.idle:
        return end
    reader, at, settled = Reader(format=format), 0, 0
    while at < end:
        stop = data.find(b"\n", at) + 1
        for _ in reader.feed(Chunk(data[at:stop], 1, at)):
            pass
        at = stop
        if reader.idle:
            settled = at
    return settled


class _Follower:
    """The files that are open, and those that are done with."""

    def __init__(self, paths: list[str], into: _Into, say: Callable[[str], None]) -> None:
        self._paths, self._into, self._say = paths, into, say
        self._tails: dict[tuple[int, int], _Tail] = {}
        self._done: dict[tuple[int, int], int] = {}  # size up to which a closed file was read

    def look(self) -> None:
        """Open what is new, notice what was rotated, truncated or deleted."""
        there: dict[tuple[int, int], Path] = {}
        for path in self._found():
            with contextlib.suppress(OSError):
                stat = path.stat()
                there[stat.st_dev, stat.st_ino] = path
                self._consider(path, (stat.st_dev, stat.st_ino), stat.st_size)
        for key, tail in list(self._tails.items()):
            self._check(key, tail, there.get(key))

    def _found(self) -> Iterator[Path]:
        """The files to follow: rotated ones first, from the oldest that was begun before."""
        seen: set[Path] = set()
        for text in self._paths:
            path = Path(text)
            if path.is_dir():
                files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            elif any(c in text for c in "*?["):
                files = sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file())
            else:
                files = [*self._begun(_siblings(path)), path]
            for file in files:
                if file not in seen:
                    seen.add(file)
                    yield file

    def _begun(self, rotated: list[Path]) -> list[Path]:
        """From the first rotated file on that was begun before."""
        for i, path in enumerate(rotated):
            with contextlib.suppress(OSError, EOFError, zlib.error):
                stat = path.stat()
                key = stat.st_dev, stat.st_ino
                if key in self._tails or key in self._done:
                    return rotated[i:]
                with _opened(path) as file:
                    fingerprint = _fingerprint(file)
                if fingerprint and (self._into.known(fingerprint)[1] or self._open(fingerprint)):
                    return rotated[i:]
        return []

    def _open(self, fingerprint: str) -> _Tail | None:
        return next((t for t in self._tails.values() if t.fingerprint == fingerprint), None)

    def _consider(self, path: Path, key: tuple[int, int], size: int) -> None:
        if key in self._tails or self._done.get(key) == size:
            return
        file = _opened(path)
        compressed = isinstance(file, gzip.GzipFile)
        try:
            fingerprint = _fingerprint(file)
        except (OSError, EOFError, zlib.error):
            fingerprint = None  # a .gz that is still being written
        twin = self._open(fingerprint) if fingerprint else None
        if fingerprint is None or (twin and not self._stale(twin)):
            file.close()
            return
        tail = _Tail(str(path), file, key, fingerprint, compressed=compressed)
        try:
            self._resume(tail)
        except (OSError, EOFError, zlib.error):
            file.close()
            return
        self._say(f"{path}: from byte {tail.offset}, line {tail.line}")
        self._tails[key] = tail

    @staticmethod
    def _stale(tail: _Tail) -> bool:
        """Whether the open file does not hold any more what its fingerprint says: it was truncated."""
        try:
            return not tail.compressed and _fingerprint(tail.file) != tail.fingerprint
        except OSError:
            return True

    def _resume(self, tail: _Tail) -> None:
        """Go to where the lake says; the lines before are counted."""
        done, begun = self._into.known(tail.fingerprint)
        tail.file.seek(0)
        at, last = 0, b"\n"
        while at < done:
            block = tail.file.read(min(_BLOCK, done - at))
            if not block:
                break
            at += len(block)
            last = block[-1:]
            tail.line += block.count(b"\n")
        tail.line += last != b"\n"
        tail.offset = at
        tail.must_end = begun if begun > done else 0

    def _check(self, key: tuple[int, int], tail: _Tail, path: Path | None) -> None:
        stat = os.fstat(tail.file.fileno())
        tail.gone = path is None or str(path) != tail.name
        if stat.st_size != tail.size:
            tail.size, tail.grown = stat.st_size, time.monotonic()
            if not tail.compressed and (stat.st_size < tail.offset or self._stale(tail)):
                self._say(f"{tail.name}: truncated")
                self._close(key, None)

    def read(self, ending: bool) -> None:
        """Import what is there."""
        for key, tail in list(self._tails.items()):
            ended = tail.ended()
            while True:
                try:
                    found = tail.slice(ended, self._into.format)
                except (EOFError, zlib.error) as e:
                    self._say(f"{tail.name}: the compressed data ends early or is damaged: {e}")
                    found = None
                if found is None:
                    break
                if not tail.compressed and self._stale(tail):
                    break  # truncated while it was read: look() will see it
                chunk, size = found
                if not self._into.put(tail, chunk, size):
                    tail.line = 1
                    self._resume(tail)  # another follower was first
                    continue
                tail.advance(chunk, size)
            if ended:
                self._say(f"{tail.name}: done after {tail.offset} bytes")
                self._close(key, os.fstat(tail.file.fileno()).st_size)
            elif ending:
                self._close(key, None)

    def _close(self, key: tuple[int, int], size: int | None) -> None:
        self._tails.pop(key).file.close()
        if size is not None:
            self._done[key] = size


def _opened(path: Path) -> BinaryIO:
    file = path.open("rb", buffering=0)  # a buffer would show what was there before
    magic = file.read(2)
    file.seek(0)
    if magic == b"\x1f\x8b":
        file.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return file


def _fingerprint(file: BinaryIO) -> str | None:
    """Of the first line, 4 KiB of it at most; None while it is not whole."""
    file.seek(0)
    head = file.read(_FINGERPRINT)
    end = head.find(b"\n") + 1
    if not end and len(head) < _FINGERPRINT:
        return None
    return hashlib.sha256(head[: end or _FINGERPRINT]).hexdigest()[:32]


def _siblings(path: Path) -> list[Path]:
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

