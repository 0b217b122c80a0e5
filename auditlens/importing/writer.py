"""Batches become Parquet files: one per table, cluster and date of each batch; none of them is committed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from auditlens.formats.event import read_event
from auditlens.importing import batches, transform
from auditlens.importing.klog.parser import LOG_TABLES, LogRows, few
from auditlens.importing.transform import Source
from auditlens.lake import NewFile, Staging
from auditlens.quoting import quoted
from auditlens.redact import Redactor
from auditlens.tables import TABLES, Audit, AuditObjects, Rejects, Table

# Bytes of event text per Parquet file: small enough for the memory promised, large enough for few files.
_FLUSH = 48 << 20
# What a record that cannot be read takes on its way to `rejects` beside its text: a flood of short ones is more than its bytes.
_REJECT = 1 << 10


class Writer:
    """Collects pieces of sources and writes them as files of their tables."""

    def __init__(self, con: duckdb.DuckDBPyConnection, staging: Staging, batch_id: str, redactor: Redactor) -> None:
        self.con = con
        self.files: list[NewFile] = []
        self.rejects: Counter[str] = Counter()  # per import id
        self._staging = staging
        self._batch_id = batch_id
        self._redactor = redactor
        self._pending: list[tuple[Source, batches.Piece]] = []
        self._size = 0

    def add(self, source: Source, piece: batches.Piece) -> None:
        """Take one piece; writes when enough has come together."""
        self._pending.append((source, piece))
        self._size += (
            piece.lines.nbytes + sum(len(r.text) + _REJECT for r in piece.rejects) + (piece.logs.size if piece.logs else 0)
        )
        if self._size >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        if not self._pending:
            return
        self._write_logs([piece.logs for _, piece in self._pending if piece.logs])
        batch, rejects = batches.merge(self._pending)
        self._pending, self._size = [], 0
        total = batch.lines.num_rows
        before = len(self.files)
        numbers = transform.by_text(batch)
        lines, unread = transform.load(batch, numbers, read_event, self._redactor)
        written = self._write_events(lines)
        if written + len(unread) < total:  # optimism was wrong: some lines must be read exactly after all
            paths = [str(self._staging.directory(Audit.NAME) / f.path) for f in self.files[before:] if f.table == Audit.NAME]
            numbers = transform.missing(self.con, lines, paths)
            lines, more = transform.load(batch, numbers, read_event, self._redactor, only=True)
            written += self._write_events(lines)
            unread += more
        assert written + len(unread) == total, "a record must become a row or a reject"
        if rejects := rejects + unread:
            self.rejects.update(batch.sources[src].import_id for src, _ in rejects)
            self.write_rows(Rejects, list(transform.reject_rows(rejects, batch.sources, self._redactor)))

    def _write_events(self, lines: pa.Table) -> int:
        """Write the rows of `audit` and `audit_objects` of what can be read fast or was read exactly; returns the number of events."""
        written = 0
        clusters = pc.unique(lines["cluster"])
        for cluster in clusters.to_pylist():
            self.con.register("lines", lines.filter(pc.equal(lines["cluster"], cluster)) if len(clusters) > 1 else lines)
            path = self._staging.new()
            rows = self._copy_events(path)
            written += rows
            for date, part in self._by_date(path) if rows else ():
                self._place(part, {"cluster": cluster, "date": date})
        return written

    def _write_logs(self, logs: Sequence[LogRows]) -> None:
        """Write the rows of the log tables, one file for each cluster and date."""
        for name in LOG_TABLES:
            for i, rows in enumerate(found := few([table for one in logs for table in one.tables.get(name, ())], name)):
                self.con.register(f"part_{i}", rows)
            if not found:
                continue
            columns = ", ".join(c.name for c in TABLES[name].stored())
            every = " union all ".join(f"select cluster, day, {columns} from part_{i}" for i in range(len(found)))
            days = self.con.execute(
                f"select distinct cluster, day, (date '1970-01-01' + day)::varchar from ({every}) order by all"
            )
            for cluster, day, date in days.fetchall():
                one = f"cluster = {quoted(cluster)} and day is not distinct from {'null' if day is None else day}"
                path = self._staging.new()
                self._staging.copy(self.con, f"select {columns} from ({every}) where {one}", path)
                partition = {"cluster": cluster, "date": date}
                new = self._staging.place(path, TABLES[name], prefix=self._batch_id, partition=partition)
                self.files += [new] if new else []
            for i in range(len(found)):
                self.con.unregister(f"part_{i}")

    def _copy_events(self, path: Path) -> int:
        # Pushed below the projection, the filter would make DuckDB parse every line twice.
        self.con.execute("set disabled_optimizers = 'filter_pushdown'")
        try:
            return self._staging.copy(self.con, transform.audit_select(), path)
        except duckdb.InvalidInputException:  # a line is not JSON
            return self._staging.copy(self.con, transform.audit_select(careful=True), path)
        finally:
            self.con.execute("set disabled_optimizers = ''")

    def _by_date(self, path: Path) -> Iterator[tuple[str | None, Path]]:
        """The file by UTC date of its events: nearly always as it is, else (midnight, an old line) one file for each."""
        events = f"read_parquet({quoted(path)})"
        found = self.con.execute(f"select distinct stage_time::date::varchar from {events} order by all").fetchall()
        if len(found) == 1:
            yield found[0][0], path
            return
        for (date,) in found:
            part = self._staging.new()
            day = "null" if date is None else f"date {quoted(date)}"
            self._staging.copy(self.con, f"from {events} where stage_time::date is not distinct from {day}", part)
            yield date, part
        path.unlink()

    def _place(self, path: Path, partition: Mapping[str, str | None]) -> None:
        self.con.execute(f"create or replace temp view written as from read_parquet({quoted(path)})")
        touched = self._staging.new()
        self._staging.copy(self.con, transform.objects_select(), touched)
        for table, file in ((AuditObjects, touched), (Audit, path)):
            new = self._staging.place(file, table, prefix=self._batch_id, partition=partition)
            self.files += [new] if new else []

    def write_rows(self, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows that Python made as one file of an unpartitioned table."""
        path = self._staging.new()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=table.arrow_schema()), path, compression="zstd")
        file = self._staging.place(path, table, prefix=self._batch_id, partition={})
        if file:
            self.files.append(file)

    def of(self, table: type[Table]) -> list[NewFile]:
        """The files written for a table."""
        return [f for f in self.files if f.table == table.NAME]

    def counts(self, table: type[Table]) -> dict[str, tuple[int, int | None, int | None]]:
        """Per import id: rows of a table, and their first and last time in microseconds since the epoch."""
        names = [str(self._staging.directory(table.NAME) / f.path) for f in self.of(table)]
        parts = [f"select import_id, {table.TIME} as time from read_parquet($files)"] if names else []
        events = [str(self._staging.directory(Audit.NAME) / f.path) for f in self.of(Audit)]
        if table.OWN and events:
            self.con.execute("create or replace temp view audit as select null as cluster, null as date, * from read_parquet("
                             + "[" + ", ".join(quoted(e) for e in events) + "])")  # fmt: skip
            parts += [f"select import_id, time from ({own})" for own in table.OWN]
        if not parts:
            return {}
        rows = self.con.execute(
            f"select import_id, count(*), epoch_us(min(time)), epoch_us(max(time)) from ({' union all '.join(parts)}) group by 1",
            {"files": names} if names else {},
        ).fetchall()
        return {import_id: (count, first, last) for import_id, count, first, last in rows}
