"""Batches become Parquet files: one per table, cluster and date of each batch; none of them is committed here."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auditlens.formats.event import read_event
from auditlens.importing import batches, columns, transform
from auditlens.importing.core import core
from auditlens.importing.klog.parser import LOG_TABLES, LogRows, few
from auditlens.importing.transform import Source
from auditlens.lake import NewFile, Staging
from auditlens.lake.files import write_parquet
from auditlens.quoting import quoted
from auditlens.redact import Redactor
from auditlens.tables import TABLES, Audit, AuditObjects, Rejects, Table

_Rows = tuple[pa.Table, pa.Table, Any]  # of `audit`, of `audit_objects`, and numbers of the records that must be read exactly
_ARROW_BATCH = 8192
_DAY = 86_400_000_000  # microseconds

# Records that were read exactly wait for this many bytes of them: one query costs 80 ms, however few they are.
_HELD = 8 << 20
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
        self._exact: list[pa.Table] = []  # read exactly, to be written
        self._last = False

    def add(self, source: Source, piece: batches.Piece) -> None:
        """Take one piece; writes when enough has come together."""
        self._pending.append((source, piece))
        self._size += (
            piece.lines.nbytes + sum(len(r.text) + _REJECT for r in piece.rejects) + (piece.logs.size if piece.logs else 0)
        )
        if self._size >= _FLUSH:
            self.flush()

    def finish(self) -> None:
        """Write all there is."""
        self._last = True
        self.flush()

    def flush(self) -> None:
        """Write what is pending; what was read exactly may wait for more of it, unless this is the last time."""
        if not self._pending and not (self._last and self._exact):
            return
        self._write_logs([piece.logs for _, piece in self._pending if piece.logs])
        batch, rejects = batches.merge(self._pending)
        self._pending, self._size = [], 0
        suspect = transform.by_text(batch)
        wanted = np.ones(batch.lines.num_rows, dtype=bool)
        wanted[suspect] = False
        audit, touch, left = self._read(batch.lines, wanted)
        records = audit.num_rows
        for numbers, suspected in ((suspect, True), (left, False)):
            lines, unread = transform.load(batch, numbers, read_event, self._redactor, suspect=suspected)
            self._exact.append(lines)
            rejects += unread
            records += lines.num_rows + len(unread)
        assert records == batch.lines.num_rows, "a record must become a row or a reject"
        exact, touched = self._held()
        self._place(Audit, [audit, exact])
        self._place(AuditObjects, [touch, touched])
        if rejects:
            self.rejects.update(batch.sources[src].import_id for src, _ in rejects)
            self.write_rows(Rejects, list(transform.reject_rows(rejects, batch.sources, self._redactor)))

    def _held(self) -> tuple[pa.Table, pa.Table]:
        """The rows of what was read exactly, when it is enough for a query."""
        if not self._last and sum(lines.nbytes for lines in self._exact) < _HELD:
            return pa.table({}), pa.table({})
        lines = pa.concat_tables(self._exact).unify_dictionaries()
        self._exact = []
        exact, touched, _ = self._parsed(lines)
        assert exact.num_rows == lines.num_rows, "what was read exactly is kept"
        return exact, touched

    def _read(self, lines: pa.Table, wanted: np.ndarray[Any, Any]) -> _Rows:
        """The rows of what may be kept as it stands."""
        native = core()
        found = columns.read(native, self.con, lines, wanted) if native else None
        return found or self._parsed(lines if wanted.all() else lines.filter(pa.array(wanted)))

    def _parsed(self, lines: pa.Table) -> _Rows:
        """The rows of what DuckDB can read, and of what was read exactly."""
        if not lines.num_rows:
            return pa.table({}), pa.table({}), np.zeros(0, dtype=np.int64)
        # DuckDB reads an Arrow table in parallel by its batches.
        self.con.register("lines", pa.Table.from_batches(lines.to_batches(max_chunksize=_ARROW_BATCH), schema=lines.schema))
        # Pushed below the projection, the filter would make DuckDB parse every line twice.
        self.con.execute("set disabled_optimizers = 'filter_pushdown'")
        try:
            audit = self.con.sql(transform.audit_select()).to_arrow_table()
        except duckdb.InvalidInputException:  # a line is not JSON
            audit = self.con.sql(transform.audit_select(careful=True)).to_arrow_table()
        finally:
            self.con.execute("set disabled_optimizers = ''")
            self.con.unregister("lines")
        self.con.register("written", audit)
        touch = self.con.sql(transform.objects_select()).to_arrow_table()
        self.con.unregister("written")
        return audit, touch, np.setdiff1d(lines["n"].to_numpy(), audit["n"].to_numpy())

    def _place(self, table: type[Table], tables: Sequence[pa.Table]) -> None:
        """Write rows of a partitioned table, one file for each cluster and date."""
        rows = _together([t for t in tables if t.num_rows])
        if rows is None:
            return
        for cluster, date, part in _by_day(rows, table.TIME or ""):
            path = self._staging.new()
            write_parquet(part.select([c.name for c in table.stored()]), path)
            new = self._staging.place(path, table, prefix=self._batch_id, partition={"cluster": cluster, "date": date})
            self.files += [new] if new else []

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


def _together(tables: Sequence[pa.Table]) -> pa.Table | None:
    """The rows of some tables as one, where any has a column as a dictionary as dictionaries."""
    if len(tables) < 2:
        return tables[0] if tables else None
    names = tables[0].column_names
    coded = {name for name in names if any(pa.types.is_dictionary(t.schema.field(name).type) for t in tables)}

    def columns_of(table: pa.Table) -> list[Any]:
        encode = [n in coded and not pa.types.is_dictionary(table.schema.field(n).type) for n in names]
        return [table[n].dictionary_encode() if e else table[n] for n, e in zip(names, encode, strict=True)]

    return pa.concat_tables([pa.table(columns_of(t), names) for t in tables]).unify_dictionaries()


def _by_day(rows: pa.Table, time: str) -> Iterator[tuple[str, str | None, pa.Table]]:
    """The rows by cluster and UTC date of their time: nearly always all of them together, else (midnight, an old line) apart."""
    never = np.iinfo(np.int64).min
    days = rows[time].cast(pa.int64()).fill_null(never).to_numpy() // _DAY
    names = rows["cluster"].combine_chunks()
    clusters = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
    of = clusters.indices.to_numpy()
    several = days.min() != days.max() or of.min() != of.max()
    for code, day in sorted(set(zip(of.tolist(), days.tolist(), strict=True))) if several else [(int(of[0]), int(days[0]))]:
        part = rows.filter(pa.array((of == code) & (days == day))) if several else rows
        date = None if day == never // _DAY else (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
        yield clusters.dictionary[code].as_py(), date, part
