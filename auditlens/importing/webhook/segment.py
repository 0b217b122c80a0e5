"""One segment of the webhook's log becomes one import: every item of every body is a row, a duplicate or a reject.

A segment has no physical lines: its lines are its items, numbered from 1 across all bodies, and a body that cannot be
split into items is one line. So lines = records; items, continuations and blanks are 0, and `item` is null.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pyarrow as pa

from auditlens.errors import AuditlensError, LakeError
from auditlens.faults import said
from auditlens.importing.batches import Piece, SourceReader
from auditlens.importing.commit import Read, SourceReport, commit_batch
from auditlens.importing.transform import DEFAULT_CLUSTER, Source, connection
from auditlens.importing.webhook.eventlist import Body, split
from auditlens.importing.writer import Writer
from auditlens.lake import Lake
from auditlens.records import Reject
from auditlens.redact import Redactor
from auditlens.tables import Imports

if TYPE_CHECKING:
    from auditlens.lake import Staging

MEMORY_MB = 200  # for DuckDB; a segment of 32 MiB of usual events needs no more, and the process stays below 500 MiB
_MOST_MB = 3200  # for DuckDB, when less has failed: being right comes before being small
_LARGE = 32 << 10  # bytes of an item of which DuckDB keeps many copies at once: a vector of strings is never split
_LARGE_HELD = 3 << 20  # bytes of such items that are imported at once: DuckDB takes thirty times as much
_FLUSH = 100_000  # items and rejects that are held at once
_SHOWN = 16 << 10  # bytes kept of a body that cannot be read


@dataclass(frozen=True, slots=True)
class Sealed:
    """One segment to import: its number, what was posted in order, the SHA-256 (hex) and the size of its bytes."""

    number: int
    bodies: Iterable[Body]
    sha256: str
    size: int


# What says nothing about the body that was being imported: the machine's state, or the caller's.
_NOT_ITS_FAULT = (
    duckdb.OutOfMemoryException,
    duckdb.IOException,
    duckdb.InterruptException,
    MemoryError,
    OSError,
    AuditlensError,
)
_ITS_FAULT = (duckdb.Error, pa.ArrowException, ValueError, AssertionError, RecursionError)


def may_be_a_body(error: BaseException) -> bool:
    """Whether an import failed for what a body holds, and not for the disk, the memory or the lake."""
    return isinstance(error, _ITS_FAULT) and not isinstance(error, _NOT_ITS_FAULT)


class SegmentImporter:
    """Imports segments of one sink into one lake, in the order of their numbers.

    `spill` is a directory for what does not fit into memory, encrypted with a key that is nowhere else.
    """

    def __init__(self, lake: Lake, sink: str, redactor: Redactor, spill: Path, *, memory_mb: int = MEMORY_MB) -> None:
        self.lake, self.sink, self.redactor = lake, sink, redactor
        self._spill, self._memory_mb = spill, memory_mb
        self._app = f"webhook:{sink}"
        self._connect()

    def _connect(self) -> None:
        few = {"threads": 1} if self._memory_mb > MEMORY_MB else {}  # each thread holds its own vectors
        self.con = connection(self._spill, min(self._memory_mb, _MOST_MB), **few)

    def run(self, segments: Sequence[Sealed], *, suspect: bool = False) -> list[SourceReport]:
        """Import segments in one commit, one source each; what the lake has of them already is not imported again.

        Args:
            segments: in the order of their numbers; the transaction (sink, last number) makes each import happen once.
            suspect: an import of them failed: try each body alone first, and reject those that fail again.

        Raises:
            LakeError: the lake cannot be read or written, or holds another segment of such a number: then the log was
                copied or set back, and none of it may be dropped.
        """
        done = self.lake.transaction(Imports.NAME, self._app) or 0
        reports = [self._done_before(s) for s in segments if s.number <= done]
        fresh = [s for s in segments if s.number > done]
        if not fresh:
            return reports
        batch_id = uuid.uuid4().hex[:16]
        with self.lake.staging() as staging:
            if suspect:
                fresh = [replace(s, bodies=[self._tried(b, staging) for b in s.bodies]) for s in fresh]
                self._connect()
            writer = Writer(self.con, staging, batch_id, self.redactor)
            reads = [self._read(s, writer) for s in fresh]
            writer.finish()
            transaction = (self._app, fresh[-1].number)
            if commit_batch(self.lake, writer, staging, batch_id, reads, self.redactor, transaction=transaction):
                return reports + [r.report for r in reads]
        return reports + [self._done_before(s) for s in fresh]

    def _source(self, segment: Sealed) -> Source:
        import_id = hashlib.sha256(segment.sha256.encode()).hexdigest()[:16]
        return Source(f"webhook:{self.sink}/{segment.number}", self.sink, import_id)

    def _read(self, segment: Sealed, writer: Writer) -> Read:
        source = self._source(segment)
        items = _Items(source)
        for owner, piece, full in items.pieces_of(segment.bodies):
            writer.add(owner, piece)
            if full:
                writer.finish()
        report = SourceReport(source.name, bytes=segment.size, lines=items.number, records=items.number)
        return Read(source, report, sha256=segment.sha256)

    def _done_before(self, segment: Sealed) -> SourceReport:
        source = self._source(segment)
        if not self.lake.snapshot().finished(source.import_id):
            raise LakeError(
                f"{self.lake.path}: holds another segment {segment.number} of {self.sink}; the WAL was copied or set back: "
                "move its segments to a new --wal directory, without its sink.json"
            )
        return SourceReport(source.name, bytes=segment.size)

    def _tried(self, body: Body, staging: Staging) -> Body:
        """The body, or one that says why it cannot be imported: alone, on a new connection, it failed twice."""
        error = ""
        for _ in range(2):
            self._connect()  # an internal error of DuckDB leaves the old one useless
            writer = Writer(self.con, cast("Staging", _Aside(staging)), "trial", self.redactor)
            try:
                self._read(Sealed(0, [body], "", 0), writer)
                writer.finish()
                return body
            except _NOT_ITS_FAULT:
                raise
            except _ITS_FAULT as e:
                error = said(e)
        return replace(body, damaged=f"the import failed on this body: {error}")


class _Aside:
    """Staging whose files never get a place."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self.directory, self.new, self.copy = staging.directory, staging.new, staging.copy

    def place(self, path: Any, *args: Any, **more: Any) -> None:
        path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Held:
    """Items of one cluster and client that wait to become a piece."""

    texts: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class _Items(SourceReader):
    """The items of a segment's bodies as pieces, by cluster; `number` counts them."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.number = 0
        self._clusters: dict[str, tuple[Source, _Held]] = {}
        self._held = self._large = 0  # items held; bytes of those that are large

    def pieces_of(self, bodies: Iterable[Body]) -> Iterator[tuple[Source, Piece, bool]]:
        """The pieces, each with the source that names its cluster, and whether it is time to write what was given."""
        for body in bodies:
            for _ in self._take(body):
                yield from self._hand_over(True)
        yield from self._hand_over(bool(self._large))

    def _take(self, body: Body) -> Iterator[None]:
        """Hold the items of a body; yields whenever enough is held."""
        poster, shared = body.poster, self._source
        cluster = (poster.cluster if poster else None) or DEFAULT_CLUSTER
        if cluster not in self._clusters:
            self._clusters[cluster] = Source(shared.name, shared.instance, shared.import_id, cluster), _Held()
        found: list[bytes] | str = body.damaged or split(body.data)
        if isinstance(found, str):
            self.number += 1
            self._held += 1
            reject = Reject(self.number, body.offset, found, bytes(body.data[:_SHOWN]))
            self._clusters[cluster][1].rejects.append(reject)
            return
        client = poster.client if poster else shared.instance
        for item in found:
            if self._large and self._large + len(item) > _LARGE_HELD:
                yield
            self.number += 1
            held = self._clusters[cluster][1]
            held.texts.append(item)
            held.lines.append(self.number)
            held.instances.append(client)
            self._held += 1
            if len(item) > _LARGE:
                self._large += len(item)
            if self._held >= _FLUSH:
                yield

    def _hand_over(self, full: bool) -> Iterator[tuple[Source, Piece, bool]]:
        self._held = self._large = 0
        for cluster, (source, held) in self._clusters.items():
            if held.texts or held.rejects:
                self._clusters[cluster] = source, _Held()
                yield source, Piece(self._items(cluster, held), held.rejects), full

    def _items(self, cluster: str, held: _Held) -> pa.Table:
        rows = len(held.texts)
        text = pa.array(held.texts, pa.large_binary()).view(pa.large_string())
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:  # not UTF-8, which the apiserver never writes
            text = pa.array([t.decode("utf-8", "replace") for t in held.texts], pa.large_string())
        return self._table(
            rows,
            text=text,
            line=held.lines,
            instance=pa.array(held.instances, pa.string()).dictionary_encode(),
            cluster=pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([cluster], pa.string())),
        )
