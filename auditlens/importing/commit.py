"""The commit of a batch: table by table, the row in `imports` last, which makes all of it visible at once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import duckdb

from auditlens.importing.batches import SourceReader
from auditlens.importing.copies import find_copies
from auditlens.importing.duplicates import find_duplicates
from auditlens.importing.sources import SourceFile
from auditlens.importing.transform import Source
from auditlens.importing.writer import Writer
from auditlens.lake import Lake, NewFile, Staging
from auditlens.redact import Redactor
from auditlens.tables import DERIVED, PRIMARY, TABLES, Audit, Duplicates, Imports, Klog, Rejects

_LOOKS = 10  # at a lake of which files are missing: one after another would have to be compacted away to explain it


@dataclass(slots=True)
class SourceReport:
    """What became of one source. records = rows + duplicates + rejects + dropped; lines = records - items + continuations + blanks."""

    source: str
    bytes: int = 0
    lines: int = 0
    items: int = 0
    records: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    derived: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    rejects: int = 0
    dropped: int = 0  # by a filter
    continuations: int = 0
    blanks: int = 0
    error: str | None = None  # why reading ended early
    clusters: Counter[str] = field(default_factory=Counter)  # records by the name their wrapper gives, "" where it gives none
    disputed: tuple[str, str] | None = None  # two names that one line gives
    guessed: int = 0  # log entries whose year nothing tells but when the file was last written

    def take(self, reader: SourceReader) -> None:
        """Keep what a reader counted."""
        counts = reader.counts
        self.lines, self.items, self.records = counts.lines, counts.items, counts.records
        self.guessed = reader.guessed
        self.continuations, self.blanks, self.dropped = counts.continuations, counts.blanks, reader.dropped
        self.clusters, self.disputed = reader.clusters, reader.disputed


@dataclass(slots=True)
class Read:
    """One source of a batch: what it is, and what became of it."""

    source: Source
    report: SourceReport
    file: SourceFile | None = None  # None for a source that is no file
    file_sha256: str = ""  # of the bytes as stored
    file_bytes: int = 0  # 0 for a pipe
    sha256: str = ""  # of the content; empty until known
    policy: str | None = None  # digest of the filter it went through
    fingerprint: str | None = None  # what a file is known by, and where in it this begins
    byte_offset: int | None = None
    directory: str | None = None  # what its name is relative to

    @property
    def transaction(self) -> tuple[str, int]:
        """What a lake holds once this content is in it: (application id, version)."""
        return f"import:{self.source.cluster or ''}:{self.sha256}" + (f":{self.policy}" if self.policy else ""), 1


def commit_batch(
    lake: Lake,
    writer: Writer,
    staging: Staging,
    batch_id: str,
    reads: Sequence[Read],
    redactor: Redactor,
    *,
    transaction: tuple[str, int] | None = None,
) -> bool:
    """Commit what the writer wrote for these sources, and fill in their reports.

    The batch is one attempt: its id is new each time, and only the commit of `imports` decides whose attempt counts. What a
    lost or killed attempt committed to the other tables stays invisible until compaction removes it. `transaction` stands
    for the sources where they have a running number: one entry in the Delta log instead of one per source, for ever.

    Returns False when one of them was committed by somebody else meanwhile: then nothing of the batch is visible.
    """
    for name in (*PRIMARY, *DERIVED, Rejects.NAME):
        if files := writer.of(TABLES[name]):
            lake.commit(name, files)
    done = [transaction] if transaction else [r.transaction for r in reads]
    counted = {name: writer.counts(TABLES[name]) for name in (*PRIMARY, *DERIVED)}
    copies, copied = find_copies(writer, [r.source for r in reads], batch_id, staging)
    if copies:
        lake.commit(Duplicates.NAME, copies)
    looks = 0
    while True:  # until no other import finished between the look at the lake and the last commit
        snapshot = lake.snapshot()
        if any((lake.transaction(Imports.NAME, app_id) or 0) >= number for app_id, number in done):
            return False
        try:
            new, duplicates = find_duplicates(writer.con, snapshot, batch_id, staging)
        except duckdb.IOException as e:
            looks += 1
            if (gone := snapshot.gone()) is None:
                raise
            if looks == _LOOKS:
                raise gone.missing() from e
            continue  # compaction took a file away
        if new:
            lake.commit(Duplicates.NAME, new)
        imports = _imports(writer, batch_id, reads, counted, (duplicates, copied), redactor)
        if lake.commit(Imports.NAME, imports, transactions=done, at=snapshot.versions.get(Imports.NAME, 0)):
            return True


_Counted = dict[str, tuple[int, int | None, int | None]]  # per import id: rows, first and last time


def _imports(
    writer: Writer,
    batch_id: str,
    reads: Sequence[Read],
    counted: Mapping[str, _Counted],
    duplicates: tuple[Mapping[str, int], Mapping[str, int]],
    redactor: Redactor,
) -> list[NewFile]:
    """The reports filled in, and the file of their rows in `imports`."""
    rows = []
    for read in reads:
        import_id, report = read.source.import_id, read.report
        found = {name: counts.get(import_id, (0, None, None)) for name, counts in counted.items()}
        events, entries = (known.get(import_id, 0) for known in duplicates)
        report.duplicates = events + entries
        report.rejects = writer.rejects[import_id]
        report.rows = {name: found[name][0] for name in PRIMARY}
        report.rows[Audit.NAME] -= events
        report.rows[Klog.NAME] -= entries
        report.derived = {name: found[name][0] for name in DERIVED}
        first = min((low for name in PRIMARY if (low := found[name][1]) is not None), default=None)
        last = max((high for name in PRIMARY if (high := found[name][2]) is not None), default=None)
        rows.append(_imports_row(read, batch_id, first, last, redactor))
    writer.write_rows(Imports, rows)
    return writer.of(Imports)[-1:]


def _imports_row(read: Read, batch_id: str, first: int | None, last: int | None, redactor: Redactor) -> dict[str, Any]:
    return asdict(read.report) | {
        "import_id": read.source.import_id,
        "batch_id": batch_id,
        "cluster": read.source.cluster,
        "instance": read.source.instance,
        "sha256": read.sha256,
        "file_bytes": read.file_bytes,
        "file_sha256": read.file_sha256,
        "rows": list(read.report.rows.items()),
        "derived": list(read.report.derived.items()),
        "first_time": _from_us(first),
        "last_time": _from_us(last),
        "imported_at": dt.datetime.now(dt.UTC),
        "version": version("auditlens"),
        "redact_key_id": redactor.key_id or None,
        "policy": read.policy,
        "file_fingerprint": read.fingerprint,
        "byte_offset": read.byte_offset,
        "directory": read.directory,
    }


def _from_us(value: int | None) -> dt.datetime | None:
    return None if value is None else dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=value)
