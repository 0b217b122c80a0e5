"""Live files go into the lake while they are written, each line once: across rotation, truncation, deletion and restarts.

A file is known by its first line (4 KiB of it at most), whatever it is called and wherever it goes, compressed or not; one that
begins alike and goes on differently (the head of glog's files names a second, that of a table its columns) by a further name. How
far it was read is in the lake itself, as the version of the transaction `follow:CLUSTER:FINGERPRINT`: it is committed
with the rows, so that it can neither lead nor lag. Only whole lines are read; the torn last line of a file is read when
the file was rotated away or deleted.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from auditlens.faults import said
from auditlens.formats.clock import Clock, Survey
from auditlens.importing.batches import Filter, SourceReader
from auditlens.importing.commit import Read, SourceReport, commit_batch
from auditlens.importing.files.chunks import HEAD, MAX_LINE
from auditlens.importing.files.tail import BLOCK, Tail, fingerprint_of, opened, siblings
from auditlens.importing.sources import SourceFile, given
from auditlens.importing.transform import Source, connection
from auditlens.importing.writer import Writer
from auditlens.lake import Lake
from auditlens.lake.merge_small import Merger
from auditlens.records import Chunk
from auditlens.redact import NO_REDACTION, Redactor
from auditlens.tables import Imports

MEMORY_MB = 250  # for DuckDB
_SCHEMA = Imports.arrow_schema()  # files of older versions lack columns
_FOLD = 30.0  # seconds between folds


def follow(
    paths: str | Path | Iterable[str | Path],
    lake: Lake | str | Path,
    *,
    cluster: str | None = None,
    format: str = "auto",
    redact: bool = True,
    redact_key: str | Path | None = None,
    keep: Filter | None = None,
    stop: threading.Event | None = None,
    poll: float = 0.25,
    wait: float = 1.0,
    report: Callable[[SourceReport], None] = lambda report: None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Follow files until `stop` is set; then read what is there, and return.

    Args:
        paths: files, directories or globs; what appears there later is followed as well, and so are the rotated files
            beside a followed one (lumberjack's and logrotate's names, compressed or not).
        lake: the lake, or its directory.
        cluster, format, redact, redact_key, keep: as for an import.
        poll: seconds between looks at the files.
        wait: seconds for which new lines are collected before they are imported.
        report: called with what became of the lines of each import.
        say: called with a line of text about rotations and the like.

    Raises:
        LakeError: the lake cannot be read or written.
    """
    redactor = Redactor.from_config(Path(redact_key) if redact_key else None) if redact else NO_REDACTION
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    with contextlib.closing(_Into(lake, cluster, format, redactor, keep, report)) as into:
        _loop(_Follower(given(paths), into, say), Merger(lake), stop or threading.Event(), poll, wait)


def _loop(follower: _Follower, merger: Merger, stop: threading.Event, poll: float, wait: float) -> None:
    folded = time.monotonic()
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
            merger.run()
            folded = time.monotonic()


class _Into:
    """Where lines go: one import per slice of a file."""

    def __init__(
        self,
        lake: Lake,
        cluster: str | None,
        format: str,
        redactor: Redactor,
        keep: Filter | None,
        report: Callable[[SourceReport], None],
    ) -> None:
        self.lake, self.cluster, self.format, self.redactor, self.report = lake, cluster, format, redactor, report
        self.keep = keep
        self._spill = tempfile.TemporaryDirectory(prefix="auditlens-")  # for the owner only, not in the lake
        self.con = connection(self._spill.name, MEMORY_MB)

    def close(self) -> None:
        """Give back what was used."""
        self.con.close()
        self._spill.cleanup()

    def known(self, identity: str) -> int:
        """The offset up to which a file is in the lake."""
        return self.lake.transaction(Imports.NAME, self._app(identity)) or 0

    def holds_another(self, tail: Tail) -> bool:
        """Whether what the lake has under a file's identity is of another file: told by its last slice that this one is as long as."""
        for start, size, digest in sorted(self._slices(tail), reverse=True):
            wanted = HEAD if size > MAX_LINE else size  # of a line that is too long only the head was imported
            tail.file.seek(start)
            data = tail.file.read(wanted)
            if len(data) == wanted:
                return hashlib.sha256(data).hexdigest() != digest
        return False

    def _slices(self, tail: Tail) -> Iterator[tuple[int, int, str]]:
        """Start, size and digest of what was imported under a file's identity."""
        mine = [("file_fingerprint", "=", tail.fingerprint)]
        names = ["import_id", "byte_offset", "bytes", "sha256"]
        for file in self.lake.snapshot().files(Imports.NAME):
            for row in pq.read_table(file.file, columns=names, schema=_SCHEMA, filters=mine).to_pylist():
                start, size = row["byte_offset"], row["bytes"]
                if row["import_id"] == self._import_id(tail.identity, start, start + size):
                    yield start, size, row["sha256"]

    def _app(self, identity: str) -> str:
        return f"follow:{self.cluster or ''}:{identity}"

    def _import_id(self, identity: str, start: int, end: int) -> str:
        return hashlib.sha256(f"{self._app(identity)}:{start}:{end}".encode()).hexdigest()[:16]

    def put(self, tail: Tail, chunk: Chunk, size: int) -> bool:
        """Import the slice of `size` bytes behind a file's offset; False when another follower was first."""
        start, end = tail.offset, tail.offset + size
        digest = hashlib.sha256(chunk.data).hexdigest()
        import_id = self._import_id(tail.identity, start, end)
        file = SourceFile(None, tail.name)
        source = Source(tail.name, file.instance, import_id, self.cluster)
        read = Read(
            source, SourceReport(tail.name, bytes=size), sha256=digest, policy=self.keep.digest if self.keep else None,
            fingerprint=tail.fingerprint, byte_offset=start, directory=file.directory,
        )  # fmt: skip
        batch_id = uuid.uuid4().hex[:16]
        with self.lake.staging() as staging:
            writer = Writer(self.con, staging, batch_id, self.redactor)
            tail.clock = tail.clock or _surveyed(tail)
            reader = SourceReader(source, format=self.format, redactor=self.redactor, keep=self.keep, clock=tail.clock)
            for piece in reader.pieces([chunk]):
                writer.add(source, piece)
            writer.finish()
            read.report.take(reader)
            app = self._app(tail.identity), end
            done = commit_batch(self.lake, writer, staging, batch_id, [read], self.redactor, transaction=app)
        if done:
            self.report(read.report)
        return done


def _surveyed(tail: Tail) -> Clock:
    """The clock for a file's entries, by what is in it now."""
    survey = Survey()
    tail.file.seek(0)
    while block := tail.file.read(BLOCK):
        if survey.look(block):
            break
    return survey.clock(tail.name, round(os.fstat(tail.file.fileno()).st_mtime * 1e6))


class _Follower:
    """The files that are open, and those that are done with."""

    def __init__(self, paths: list[str], into: _Into, say: Callable[[str], None]) -> None:
        self._paths, self._into, self._say = paths, into, say
        self._tails: dict[tuple[int, int], Tail] = {}
        self._done: dict[tuple[int, int], int] = {}  # size up to which a closed file was read
        self._copies: dict[tuple[int, int], int] = {}  # sizes of what repeats a file that is open

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
        """The files to follow, rotated ones first: what was rotated while nobody followed is not lost."""
        seen: set[Path] = set()
        for text in self._paths:
            path = Path(text)
            if path.is_dir():
                files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            elif any(c in text for c in "*?["):
                files = sorted(p for p in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if p.is_file())
            else:
                files = [*siblings(path), path]
            for file in files:
                if file not in seen:
                    seen.add(file)
                    yield file

    def _open(self, identity: str) -> Tail | None:
        return next((t for t in self._tails.values() if t.identity == identity), None)

    def _consider(self, path: Path, key: tuple[int, int], size: int) -> None:
        if key in self._tails or size in (self._done.get(key), self._copies.get(key)):
            return
        file = opened(path)
        compressed = isinstance(file, gzip.GzipFile)
        try:
            fingerprint = fingerprint_of(file)
        except (OSError, EOFError, zlib.error):
            fingerprint = None  # a .gz that is still being written
        if fingerprint is None:
            file.close()
            return
        tail = Tail(str(path), file, key, fingerprint, compressed=compressed)
        try:
            if not self._identified(tail, size):
                file.close()
                return
            self._resume(tail)
        except (OSError, EOFError, zlib.error):
            file.close()
            return
        self._say(f"{path}: from byte {tail.offset}, line {tail.line}")
        self._tails[key] = tail

    def _identified(self, tail: Tail, size: int) -> bool:
        """Give a file an identity of its own among those that begin alike; False for a copy of one that is open."""
        while self._into.holds_another(tail):
            tail.number += 1
        twin = self._open(tail.identity)
        if twin is None or self._stale(twin):
            return True
        if twin.offset:  # else it cannot be told yet
            self._copies[tail.key] = size
        return False

    @staticmethod
    def _stale(tail: Tail) -> bool:
        """Whether the open file does not hold any more what its fingerprint says: it was truncated."""
        try:
            return not tail.compressed and fingerprint_of(tail.file) != tail.fingerprint
        except OSError:
            return True

    def _resume(self, tail: Tail) -> None:
        """Go to where the lake says; the lines before are counted."""
        done = self._into.known(tail.identity)
        tail.file.seek(0)
        at, last = 0, b"\n"
        while at < done:
            block = tail.file.read(min(BLOCK, done - at))
            if not block:
                break
            at += len(block)
            last = block[-1:]
            tail.line += block.count(b"\n")
        tail.line += last != b"\n"
        tail.offset = at

    def _check(self, key: tuple[int, int], tail: Tail, path: Path | None) -> None:
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
                    self._say(f"{tail.name}: the compressed data ends early or is damaged: {said(e)}")
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
