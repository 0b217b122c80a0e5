"""One segment of the webhook's log becomes one import: every item of every body is a row, a duplicate or a reject.

A segment has no physical lines: its lines are its items, numbered from 1 across all bodies, and a body that cannot be
split into items is one line. So lines = records; items, continuations and blanks are 0, and `item` is null.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import msgspec
import pyarrow as pa

from auditlens.errors import LakeError
from auditlens.importing.batches import Piece, SourceReader
from auditlens.importing.commit import Read, SourceReport, commit_batch
from auditlens.importing.transform import DEFAULT_CLUSTER, Source, prepare
from auditlens.importing.writer import Writer
from auditlens.lake import Lake
from auditlens.records import Reject
from auditlens.redact import Redactor

if TYPE_CHECKING:
    from auditlens.lake import Staging

MEMORY_LIMIT = "200MB"  # for DuckDB; a segment of 32 MiB needs no more, and the process stays far below 600 MiB
_FLUSH = 100_000  # items and rejects that are held at once
_MAX_ITEMS = 200_000  # of one body: 64 MiB of the shortest events the apiserver writes
_MIN_ITEM = 64  # bytes of the shortest complete event; a long list of less is no list of events
_SHOWN = 16 << 10  # bytes kept of a body that cannot be read
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_ITEMS = re.compile(rb'"items"\s*:\s*\[\s*')


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


_decode = msgspec.json.Decoder(_List).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


class Post(Protocol):
    """Where a body came from."""

    @property
    def cluster(self) -> str | None: ...  # noqa: D102
    @property
    def client(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Body:
    """One body of a segment; `damaged` says why its bytes are not what was posted, if they are not."""

    post: Post | None
    data: memoryview
    offset: int = 0
    damaged: str | None = None


class SegmentImporter:
    """Imports segments of one sink into one lake, one after another, in the order of their numbers."""

    def __init__(self, lake: Lake, sink: str, redactor: Redactor, *, memory_limit: str = MEMORY_LIMIT) -> None:
        self.lake, self.sink, self.redactor = lake, sink, redactor
        self.con = duckdb.connect(config={"memory_limit": memory_limit, "preserve_insertion_order": True})
        self.con.execute("set TimeZone = 'UTC'")
        prepare(self.con)

    def run(self, number: int, bodies: Iterable[Body], sha256: str, size: int, *, suspect: bool = False) -> SourceReport:
        """Import one segment; what the lake has of it already is not imported again.

        Args:
            number: the segment's number; the transaction (sink, number) makes the import happen once.
            bodies: what was posted, in order.
            sha256: of the segment's bytes, hex.
            size: of the segment in bytes.
            suspect: an import of this segment failed: try each body alone first, and reject those that fail.

        Raises:
            LakeError: the lake cannot be read or written, or holds another segment of this number: then the log was
                copied or set back, and none of it may be dropped.
        """
        source = Source(f"webhook:{self.sink}/{number}", self.sink, hashlib.sha256(sha256.encode()).hexdigest()[:16])
        report = SourceReport(source.name, bytes=size)
        read = Read(source, report, sha256=sha256)
        transaction = (f"webhook:{self.sink}", number)
        batch_id = uuid.uuid4().hex[:16]
        with self.lake.staging() as staging:
            directory = str(staging.dir).replace("'", "''")
            self.con.execute(f"set temp_directory = '{directory}'")
            if suspect:
                bodies = self._tried(bodies, source, staging)
            writer = Writer(self.con, staging, batch_id, self.redactor)
            items = _Items(source)
            for owner, piece in items.pieces_of(bodies):
                writer.add(owner, piece)
                if len(piece.rejects) + piece.lines.num_rows >= _FLUSH:
                    writer.flush()
            writer.flush()
            report.lines = report.records = items.number
            if commit_batch(self.lake, writer, staging, batch_id, [read], self.redactor, transaction=transaction):
                return report
        if source.import_id not in self.lake.snapshot().imports:
            raise LakeError(
                f"{self.lake.path}: holds another segment {number} of {self.sink}; the WAL was copied or set back: "
                "move its segments to a new --wal directory, without its sink.json"
            )
        report.rows, report.derived = {}, {}
        report.duplicates, report.rejects = report.records, 0
        return report

    def _tried(self, bodies: Iterable[Body], source: Source, staging: Staging) -> Iterator[Body]:
        for body in bodies:
            writer = Writer(self.con, _Aside(staging), "trial", self.redactor)
            try:
                for owner, piece in _Items(source).pieces_of([body]):
                    writer.add(owner, piece)
                writer.flush()
            except (duckdb.Error, pa.ArrowException, ValueError, AssertionError, RecursionError, MemoryError) as e:
                yield Body(body.post, body.data, body.offset, f"the import failed on this body: {str(e)[:200]}")
            else:
                yield body


class _Aside:
    """Staging whose files never get a place."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self.root, self.new, self.copy = staging.root, staging.new, staging.copy

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

    def pieces_of(self, bodies: Iterable[Body]) -> Iterator[tuple[Source, Piece]]:
        """The pieces, each with the source that names its cluster."""
        held = 0
        for body in bodies:
            before = self.number
            self._take(body)
            held += self.number - before
            if held >= _FLUSH:
                yield from self._hand_over()
                held = 0
        yield from self._hand_over()

    def _take(self, body: Body) -> None:
        post, shared = body.post, self._source
        cluster = (post.cluster if post else None) or DEFAULT_CLUSTER
        if cluster not in self._clusters:
            self._clusters[cluster] = Source(shared.name, shared.instance, shared.import_id, cluster), _Held()
        held = self._clusters[cluster][1]
        found: list[bytes] | str = body.damaged or split(body.data)
        if isinstance(found, str):
            self.number += 1
            text = bytes(body.data[:_SHOWN])
            held.rejects.append(Reject(self.number, body.offset, found, text))
            return
        held.texts += found
        held.lines += range(self.number + 1, self.number + len(found) + 1)
        held.instances += [post.client if post else shared.instance] * len(found)
        self.number += len(found)

    def _hand_over(self) -> Iterator[tuple[Source, Piece]]:
        for cluster, (source, held) in self._clusters.items():
            if held.texts or held.rejects:
                self._clusters[cluster] = source, _Held()
                yield source, Piece(self._items(cluster, held), held.rejects)

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


def split(body: memoryview) -> list[bytes] | str:
    """The items of an EventList as they stand, a body that is no list as one item, or why it cannot be read."""
    try:
        if bytes(body).count(b",") > _MAX_ITEMS and (reason := _too_many(body)):
            return reason
        items = _decode(body).items
    except RecursionError:
        return "JSON nested too deeply to read"
    except msgspec.ValidationError:
        items = msgspec.UNSET  # an object whose `items` is no list, or no object
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        return f"the body is not JSON: {e}"
    if items is None:
        return []  # Go writes an empty list as null
    return [bytes(body)] if items is msgspec.UNSET else [bytes(item) for item in items]


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
