"""Import: files become rows of the lake, each source exactly once, every line accounted for."""

from __future__ import annotations

import hashlib
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from auditlens import redact as redaction
from auditlens.errors import AuditlensError, UsageError
from auditlens.faults import said
from auditlens.formats.clock import Survey
from auditlens.importing.batches import Filter
from auditlens.importing.commit import Read, SourceReport, commit_batch
from auditlens.importing.files.chunks import CHUNK, MAX_LINE, ChunkReader
from auditlens.importing.sources import SourceFile, Unreadable, find_sources
from auditlens.importing.transform import Source, connection
from auditlens.importing.writer import Writer
from auditlens.lake import Lake
from auditlens.lake.files import STAGING
from auditlens.tables import DERIVED, PRIMARY, Imports

T = TypeVar("T")
Progress = Callable[[int], None]  # bytes of the files as stored, read since the last call

CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SMALL = 4 << 20  # sources below this size as stored share a commit
_GROUP = 1000  # sources per commit at most
MEMORY_MB = 900  # for DuckDB; with two chunks in flight the process stays under 1.5 GiB


@dataclass(slots=True)
class ImportReport:
    """What became of all sources of one import, in the order they were read."""

    sources: list[SourceReport] = field(default_factory=list)
    seconds: float = 0.0

    def total(self) -> dict[str, Any]:
        """The sums as one flat object: what `import -o json` prints."""
        out: dict[str, Any] = {"sources": len(self.sources)}
        for name in (
            "bytes", "lines", "items", "records", "rows", "derived", "duplicates", "rejects", "dropped", "continuations", "blanks",
        ):  # fmt: skip
            if name in ("rows", "derived"):
                tables = PRIMARY if name == "rows" else DERIVED
                out[name] = {t: sum(getattr(s, name).get(t, 0) for s in self.sources) for t in tables}
            else:
                out[name] = sum(getattr(s, name) for s in self.sources)
        return out | {"seconds": round(self.seconds, 3)}


def import_files(
    paths: str | Path | Iterable[str | Path],
    lake: Lake | str | Path,
    *,
    cluster: str | None = None,
    format: str = "auto",
    redact: bool = True,
    redact_key: str | Path | None = None,
    max_line: int = MAX_LINE,
    keep: Filter | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import files, directories, globs or `-` into a lake; what was imported before is reported as duplicates.

    Args:
        paths: what to read, one path or several; compressed or not, whatever wrapper the events are in. A file that cannot
            be read is left out, and its report says why.
        lake: the lake, or its directory; made when missing.
        cluster: the cluster the logs are from; default: what the logs' wrapper says, else `default`.
        format: `auto`, or `audit`, `klog`.
        redact: replace values of Secrets and tokens by keyed hashes.
        redact_key: file with the key; default: $AUDITLENS_REDACT_KEY, else one made in the user's config folder.
        max_line: longest line in bytes that is read whole; a longer one keeps its fields before the bodies.
        keep: leaves events out or makes them smaller, such as policy.Filter(policy); what it dropped is counted.
        progress: called with the bytes read since the last call.

    Raises:
        UsageError: a path names nothing, or the cluster name is not one.
        LakeError: the lake cannot be read or written.
    """
    if cluster is not None and not CLUSTER.fullmatch(cluster):
        raise UsageError(f"cluster {cluster!r}: use letters, digits, '.', '_' and '-', at most 63 of them")
    started = time.monotonic()
    sources = find_sources(paths)
    redactor = redaction.Redactor.from_config(Path(redact_key) if redact_key else None) if redact else redaction.NO_REDACTION
    run = _Run(
        lake if isinstance(lake, Lake) else Lake(lake), cluster, format, redactor, max_line, keep, progress or (lambda n: None)
    )
    report = ImportReport()
    try:
        for group in _groups(sources):
            report.sources += run.group(group)
    except (OSError, duckdb.Error) as e:
        where = getattr(e, "filename", None) or run.lake.path
        why = "no space left on device" if "No space left" in str(e) else getattr(e, "strerror", None) or said(e)
        done = (
            f"{len(report.sources)} of {len(sources)} sources are imported, the lake is intact; the same command finishes the job"
        )
        raise AuditlensError(f"{where}: {why}; {done}") from e
    report.seconds = time.monotonic() - started
    return report


def _groups(sources: list[SourceFile]) -> Iterator[list[SourceFile]]:
    """Large sources alone, small neighbours together: a commit costs 10 ms and a file of the lake more than that."""
    group: list[SourceFile] = []
    size = 0
    for source in sources:
        own = source.size
        small = own is not None and own < _SMALL
        if group and (not small or size + (own or 0) > CHUNK // 8 or len(group) >= _GROUP):
            yield group
            group, size = [], 0
        if small:
            group.append(source)
            size += own or 0
        else:
            yield [source]
    if group:
        yield group


class _Run:
    """One call of import_files."""

    def __init__(
        self,
        lake: Lake,
        cluster: str | None,
        format: str,
        redactor: redaction.Redactor,
        max_line: int,
        keep: Filter | None,
        progress: Progress,
    ) -> None:
        self.lake = lake
        self.cluster = cluster
        self.format = format
        self.redactor = redactor
        self.max_line = max_line
        self.keep = keep
        self.policy = keep.digest if keep else None
        self.progress = progress
        self._con: duckdb.DuckDBPyConnection | None = None

    def group(self, files: list[SourceFile]) -> list[SourceReport]:
        """Import sources that share a commit; again without those that another process imported meanwhile."""
        while True:
            known = _Known(self.lake, self.cluster, self.policy)
            reports: list[SourceReport] = []
            fresh: list[Read] = []
            again: list[SourceFile] = []  # the same content again: imported before once the rest is in
            for file in files:
                try:
                    read = self._identify(file)
                except Unreadable as e:
                    reports.append(SourceReport(file.name, error=str(e)))
                    continue
                before = known.find(read.file_sha256, read.sha256)
                if before:
                    reports.append(_imported_before(file.name, before))
                    self.progress(read.file_bytes)
                elif any(read.sha256 and read.sha256 == r.sha256 for r in fresh):
                    again.append(file)
                else:
                    fresh.append(read)
            imported = self._import(fresh, known)
            if imported is not None:
                return reports + imported + (self.group(again) if again else [])

    def _identify(self, file: SourceFile) -> Read:
        """What a source is, by content; a large compressed file by its stored bytes, a pipe by nothing until it is read."""
        digest, size, content = uuid.uuid4().hex, 0, ""
        if file.path is not None and file.size is not None:
            digest, size = file.sha256()
            if not file.compressed:
                content = digest
            elif size < _SMALL:
                chunks = ChunkReader(file.open())
                for _ in chunks:
                    pass
                content = chunks.sha256
        identity = f"{self.cluster or ''}\0{content or digest}" + (f"\0{self.policy}" if self.policy else "")
        import_id = hashlib.sha256(identity.encode()).hexdigest()[:16]
        source = Source(file.name, file.instance, import_id, self.cluster)
        report = SourceReport(file.name)
        return Read(
            source, report, file=file, file_sha256=digest, file_bytes=size, sha256=content, policy=self.policy,
            byte_offset=0, directory=file.directory,
        )  # fmt: skip

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            # beside the lake, where there is room; DuckDB makes and removes it, and once used it cannot be another
            spill = self.lake.path / STAGING / f"spill-{uuid.uuid4().hex[:8]}"
            self._con = connection(spill, MEMORY_MB)
        return self._con

    def _import(self, reads: list[Read], known: _Known) -> list[SourceReport] | None:
        """Read, write, commit. None when another process was first with one of them: then nothing of it is visible."""
        if not reads:
            return []
        batch_id = uuid.uuid4().hex[:16]
        with self.lake.staging() as staging:
            writer = Writer(self._connection(), staging, batch_id, self.redactor)
            whole: list[Read] = []
            for read in reads:
                try:
                    self._read(read, writer)
                except Unreadable as e:  # it vanished since it was looked at
                    read.report.error = str(e)
                    continue
                whole.append(read)
                if before := known.find(read.sha256):  # known only now: then it is alone in its batch
                    return [_imported_before(read.source.name, before)]
            writer.finish()
            done = not whole or commit_batch(self.lake, writer, staging, batch_id, whole, self.redactor)
            return [r.report for r in reads] if done else None

    def _read(self, read: Read, writer: Writer) -> None:
        """Hand the pieces of one source to the writer, reading ahead in another thread while DuckDB works."""
        from auditlens.importing.batches import SourceReader

        assert read.file is not None, "what is no file is not read here"
        latest = read.file.mtime
        clock = None
        if read.file_bytes and latest is not None:
            survey = Survey()
            any(survey.look(piece) for piece in read.file.pieces(read.file_bytes))
            clock = survey.clock(read.source.name, round(latest * 1e6))
        reader = SourceReader(read.source, format=self.format, redactor=self.redactor, latest=latest, keep=self.keep, clock=clock)
        with read.file.open(limit=read.file_bytes or None) as stream:
            chunks = ChunkReader(stream, max_line=self.max_line, sha256=read.sha256 or None)
            before = 0
            for piece in _ahead(reader.pieces(chunks)):
                writer.add(read.source, piece)
                if read.file_bytes:
                    now = min(stream.stored_bytes, read.file_bytes)
                    self.progress(now - before)
                    before = now
            self.progress(read.file_bytes - before)
        read.sha256 = read.sha256 or chunks.sha256
        read.fingerprint = chunks.fingerprint
        read.report.take(reader)
        read.report.bytes = chunks.bytes
        if chunks.error:
            read.report.error = chunks.error


_SAME = ("bytes", "lines", "items", "records", "continuations", "blanks")  # in every import of the same content


class _Known:
    """What the lake's `imports` says was imported before."""

    def __init__(self, lake: Lake, cluster: str | None, policy: str | None) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        names = ["cluster", "policy", "sha256", "file_sha256", *_SAME, "dropped", "error"]
        schema = Imports.arrow_schema()  # files of older versions lack columns
        while True:
            snapshot = lake.snapshot()
            try:
                tables = [pq.read_table(f.file, columns=names, schema=schema) for f in snapshot.files(Imports.NAME)]
                break
            except FileNotFoundError as e:
                if lake.snapshot().versions == snapshot.versions and (gone := snapshot.gone()):
                    raise gone.missing() from e  # no compaction took it away
        table = pa.concat_tables([schema.empty_table().select(names), *tables])
        for name, wanted in (("cluster", cluster), ("policy", policy)):
            table = table.filter(pc.is_null(table[name]) if wanted is None else pc.equal(table[name], wanted))
        self._table = table
        # a sink's lake has a million imports after some weeks: only the digests become Python's
        self._at = {digest: i for name in ("file_sha256", "sha256") for i, digest in enumerate(table[name].to_pylist())}

    def find(self, *digests: str) -> dict[str, Any] | None:
        """The import of a file or content with one of these digests."""
        at = next((self._at[d] for d in digests if d in self._at), None)
        return None if at is None else self._table.slice(at, 1).to_pylist()[0]


def _imported_before(source: str, row: dict[str, Any]) -> SourceReport:
    dropped = row["dropped"] or 0
    same = {n: row[n] for n in _SAME}
    return SourceReport(source, **same, duplicates=row["records"] - dropped, dropped=dropped, error=row["error"])


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, the next one made in another thread while this one is used."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(item: tuple[bool, Any]) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as e:  # handed to the other thread, which raises it
            put((False, e))

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            more, item = ready.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stop.set()
