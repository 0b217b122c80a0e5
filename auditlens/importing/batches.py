"""Chunks become batches: plain audit lines go to DuckDB as they stand, everything else through the reader first."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auditlens.formats import cri, glue
from auditlens.formats.clock import Clock
from auditlens.formats.reader import Reader
from auditlens.importing.core import core
from auditlens.importing.klog import chunks as log_text
from auditlens.importing.klog.parser import Entries, LogParser, LogRows, as_entries
from auditlens.importing.transform import DEFAULT_CLUSTER, PLAIN, Batch, Source, batch_schema
from auditlens.records import Chunk, Counts, Record, Reject
from auditlens.redact import Redactor

_BLOCK = 1 << 20
_DOCKER = b'{"log":"'
_HEAD = 128  # bytes that tell which form a chunk's lines may all have
# Records that came through the reader are handed on in pieces of this many bytes, and rejects in this number.
_PIECE = 64 << 20
_REJECTS = 50_000
_ENTRIES = 100_000  # log entries
_LONGEST_NAME, _SHORT_NAME = 200, 16  # bytes as a directory's name, which may be three for each; characters that are kept of more


@dataclass(slots=True)
class Piece:
    """Part of one source, read: events as an Arrow table of batch_schema(), rows of log entries, and what could not be read."""

    lines: pa.Table
    rejects: list[Reject] = field(default_factory=list)
    logs: LogRows | None = None


class Filter(Protocol):
    """What leaves events out or makes them smaller before they become rows: policy.filtering.Filter."""

    digest: str  # the same for filters that do the same

    def table(self, lines: pa.Table) -> pa.Table:
        """What is left of a table of batch_schema()."""


class SourceReader:
    """Reads one source into pieces and keeps its counts.

    Log entries become rows where a redactor is given, and are rejected else. `latest` is a moment (seconds since 1970) that
    none of them is after, `clock` dates them where the source was surveyed.
    """

    def __init__(
        self, source: Source, *, format: str = "auto", redactor: Redactor | None = None, latest: float | None = None,
        keep: Filter | None = None, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self.dropped = 0  # events that `keep` left out
        self.clusters = Counter[str]()  # records by the name of the cluster that their wrapper gives, "" where it gives none
        self._keep = keep
        self._source = source
        self._logs = redactor and LogParser(
            source=source.name, import_id=source.import_id, instance=source.instance,
            cluster=source.cluster or DEFAULT_CLUSTER, redactor=redactor, clock=clock, latest=latest,
        )  # fmt: skip
        self._reader = Reader(format=format)
        self._plain = Counts()
        self._auto = format in ("auto", "audit")

    @property
    def disputed(self) -> tuple[str, str] | None:
        """Two names of clusters that one line gave."""
        return self._reader.disputed

    @property
    def guessed(self) -> int:
        """Log entries whose year nothing tells but when the source was written."""
        return self._logs.guessed if self._logs else 0

    @property
    def counts(self) -> Counts:
        """Of all that was read so far."""
        a, b = self._plain, self._reader.counts
        return Counts(
            a.lines + b.lines, a.items + b.items, a.records + b.records,
            a.continuations + b.continuations, a.blanks + b.blanks,
        )  # fmt: skip

    def pieces(self, chunks: Iterable[Chunk]) -> Iterator[Piece]:
        """The source's pieces in order."""
        for piece in self._pieces(chunks):
            if self._keep is not None and piece.lines.num_rows:
                before = piece.lines.num_rows
                piece.lines = self._keep.table(piece.lines)
                self.dropped += before - piece.lines.num_rows
            yield piece

    def _pieces(self, chunks: Iterable[Chunk]) -> Iterator[Piece]:
        for chunk in chunks:
            alike = chunk.cut_from is None and not self._reader.inherits  # only the reader knows whose lines they are then
            plain = self._plain_piece(chunk) if self._auto and alike and self._reader.idle else None
            if plain is not None:
                yield plain
            elif self._logs and alike and log_text.worth_it(data := bytes(chunk.data)):
                yield from self._log_pieces(data, chunk)
            else:
                if self._logs:
                    self._logs.learn(chunk.data)
                yield from self._collect(self._reader.feed(chunk))
        yield from self._collect(self._reader.close())
        if self._logs:
            yield Piece(self._records([]), logs=self._logs.close())

    def _log_pieces(self, data: bytes, chunk: Chunk) -> Iterator[Piece]:
        """A chunk of klog text, slice by slice: most of its entries are read in bulk, the others by the reader."""
        if self._logs:
            self._logs.learn(data)
        pos, line = 0, chunk.first_line
        while pos < len(data):
            end = data.rfind(b"\n", pos, pos + log_text.SLICE) + 1 or data.find(b"\n", pos) + 1
            if not end:  # the torn last line
                yield from self._collect(self._reader.feed(Chunk(data[pos:], line, chunk.offset + pos)))
                return
            part = Chunk(data[pos:end], line, chunk.offset + pos)
            yield from self._log_piece(part)
            line += data.count(b"\n", pos, end)
            pos = end

    def _log_piece(self, chunk: Chunk) -> Iterator[Piece]:
        data = bytes(chunk.data)
        found: list[Record | Reject] = []
        bulk = []
        for region in log_text.regions(data, chunk.first_line, chunk.offset):
            settled = None if region.chunk else self._reader.settle()
            if settled is None:  # what is open takes lines with a header too
                found += self._reader.feed(region.chunk or region.as_chunk(chunk))
            else:
                found += settled
                bulk.append(region)
        entries = []
        if bulk:
            starts, ends, line, lines = (
                np.concatenate([getattr(r, name) for r in bulk]) for name in ("starts", "ends", "line", "lines")
            )
            self._plain.lines += int(lines.sum())
            self._plain.records += len(lines)
            self.clusters[""] += len(lines)
            self._plain.continuations += int(lines.sum()) - len(lines)
            entries = [Entries(data, starts, ends, line, lines > 1)]
        yield from self._collect(found, entries)

    def _plain_piece(self, chunk: Chunk) -> Piece | None:
        """The chunk as a batch without looking into its lines, when all of them begin like the log backend's."""
        head = bytes(chunk.data[:_HEAD])
        if chunk.data[-1] != 10:
            return None  # the torn last line of a live file is the reader's to judge
        if not head.startswith(PLAIN.encode()):
            return self._container_piece(chunk) if head.startswith(_DOCKER) or cri.LINE.match(head) else None
        native = core()
        starts = native.lines(chunk.data, PLAIN.encode()) if native else None
        starts = plain_lines(chunk.data) if starts is None else starts
        if starts is None:
            return None
        n = len(starts) - 1
        text = pa.LargeStringArray.from_buffers(n, pa.py_buffer(starts), pa.py_buffer(chunk.data))
        self._count(n, n)
        line = np.arange(chunk.first_line, chunk.first_line + n, dtype=np.int64)
        return Piece(self._table(n, text=text, line=line, byte_offset=starts[:-1] + chunk.offset))

    def _container_piece(self, chunk: Chunk) -> Piece | None:
        """The same of a container's log, when the core can unwrap all of it."""
        native = core()
        found = native.container(chunk.data, PLAIN.encode()) if native else None
        if found is None:
            return None
        if self._logs:
            self._logs.learn(chunk.data)
        n = len(found.text)
        self._count(n, found.lines)
        line, offset = found.line + chunk.first_line, found.start + chunk.offset
        return Piece(self._table(n, text=found.text, line=line, byte_offset=offset, time=found.time))

    def _count(self, records: int, lines: int) -> None:
        self._plain.lines += lines
        self._plain.records += records
        self._plain.continuations += lines - records
        self.clusters[""] += records

    def _collect(self, found: Iterable[Record | Reject], entries: Sequence[Entries] = ()) -> Iterator[Piece]:
        """Records gathered into pieces of bounded size; log entries that were read already go with the first."""
        events: list[Record] = []
        log: list[Record] = []
        rejects: list[Reject] = []
        size = 0
        for one in found:
            if isinstance(one, Reject):
                rejects.append(one)
            elif one.format == "audit":
                events.append(one)
                size += len(one.text)
            elif self._logs:
                log.append(one)
                size += len(one.text)
            else:
                rejects.append(Reject(one.line, one.offset, f"a {one.format} entry, not an audit event", one.text, one.item))
            if size >= _PIECE or len(rejects) >= _REJECTS or len(log) >= _ENTRIES:
                yield Piece(self._records(events), rejects, self._log_rows(log, entries))
                events, log, rejects, size, entries = [], [], [], 0, ()
        if events or log or rejects or entries:
            yield Piece(self._records(events), rejects, self._log_rows(log, entries))

    def _log_rows(self, records: list[Record], entries: Sequence[Entries]) -> LogRows | None:
        if not self._logs or not (records or entries):
            return None
        clusters = self._named(records)
        return self._logs.rows(*entries, *([as_entries(records, clusters)] if records else []))

    def _named(self, records: list[Record]) -> list[str | None]:
        said = [_cluster(r.cluster) for r in records]
        self.clusters.update(name or "" for name in said)
        return [self._source.cluster or name for name in said]

    def _records(self, rows: list[Record]) -> pa.Table:
        return self._table(
            len(rows),
            text=[r.text.decode("utf-8", "replace") for r in rows],
            line=[r.line for r in rows],
            item=[r.item for r in rows],
            byte_offset=[r.offset for r in rows],
            time=[r.time for r in rows],
            level=[r.level for r in rows],
            partial=[True if r.cut else None for r in rows],
            instance=_names([r.instance for r in rows], self._source.instance),
            cluster=_names(self._named(rows), DEFAULT_CLUSTER),
        )

    def _table(self, rows: int, **columns: Any) -> pa.Table:
        """A table of batch_schema() from some of its columns; what every row of the source shares is filled in."""
        source = self._source
        columns = {
            "exact": np.zeros(rows, dtype=bool),
            "source": _same(source.name, rows),
            "import_id": _same(source.import_id, rows),
            "instance": _same(source.instance, rows),
            "cluster": _same(source.cluster or DEFAULT_CLUSTER, rows),
        } | columns
        schema = batch_schema()
        arrays = [
            pa.nulls(rows, f.type) if f.name not in columns
            else columns[f.name] if isinstance(columns[f.name], pa.Array)
            else pa.array(columns[f.name], f.type)
            for f in schema
        ]  # fmt: skip
        return pa.Table.from_arrays(arrays, schema=schema)


def plain_lines(data: bytes | memoryview) -> np.ndarray | None:
    """Offsets of the lines of a chunk; None unless all begin as PLAIN, end as an event does, and are UTF-8."""
    octets = np.frombuffer(data, dtype=np.uint8)
    # in blocks that stay in the cache: three times as fast as one comparison of 64 MB
    ends = [np.flatnonzero(octets[i : i + _BLOCK] == 10) + (i + 1) for i in range(0, len(octets), _BLOCK)]
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), *ends))
    text = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    if not pc.all(pc.and_(pc.starts_with(text, PLAIN), pc.ends_with(text, "}\n"))).as_py():
        return None
    if bytes(data).count(PLAIN.encode()) != len(text):
        return None  # a line that was torn by a crash goes on with the next event
    if glue.several_documents(data):
        return None
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return None  # not UTF-8: the reader replaces what cannot be read
    return offsets


def _same(value: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([value], pa.string()))


def _names(values: Sequence[str | None], default: str) -> pa.Array:
    return pa.array([v or default for v in values], pa.string()).dictionary_encode()


def _cluster(named: str | None) -> str | None:
    """A wrapper's name for the cluster; two names never become one, though a directory's name has an end."""
    name = (named or "").strip()
    if len(quote(name, safe="")) > _LONGEST_NAME:
        return f"{name[:_SHORT_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name or None


def merge(pieces: Sequence[tuple[Source, Piece]]) -> tuple[Batch, list[tuple[int, Reject]]]:
    """Pieces of several sources as one batch, and their rejects by source."""
    sources: list[Source] = []
    tables: list[pa.Table] = []
    rejects: list[tuple[int, Reject]] = []
    start = 0
    for source, piece in pieces:
        if not sources or sources[-1] is not source:
            sources.append(source)
        src, rows = len(sources) - 1, piece.lines.num_rows
        lines = piece.lines
        for name, values in (("n", np.arange(start, start + rows, dtype=np.int64)), ("src", np.full(rows, src, dtype=np.int32))):
            lines = lines.set_column(lines.schema.get_field_index(name), name, pa.array(values))
        tables.append(lines)
        rejects += [(src, r) for r in piece.rejects]
        start += rows
    table = pa.concat_tables(tables).unify_dictionaries() if tables else batch_schema().empty_table()
    return Batch(table, sources), rejects
