"""Commits and snapshots: many writers, exactly once, readable at any moment."""

from __future__ import annotations

import datetime as dt
import stat
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from auditlens.errors import LakeError
from auditlens.lake.files import NewFile, Staging, make_private
from auditlens.lake.snapshot import DataFile, Snapshot
from auditlens.tables import TABLES, Duplicates, Imports, Table

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_LOG = "_delta_log"
_ATTEMPTS = 40  # a commit loses a race only to another commit; 40 lost in a row means something is wrong
_STEADY = 3  # a snapshot during which nothing was committed is of one moment; under steady commits one that is safe will do


class Lake:
    """A directory of Delta tables. Nothing is created before the first commit."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if named := next((part for part in self.path.parts if "=" in part), None):
            # read_parquet takes such a directory for a partition, whose value would stand in every row
            raise LakeError(
                f"{self.path}: a lake cannot lie below a directory named like a partition, {named}; move or rename it"
            )
        self._last: tuple[tuple[int, ...], Snapshot] | None = None

    def exists(self) -> bool:
        """Whether anything was ever committed here."""
        return (self.path / Imports.NAME / _LOG).is_dir()

    def readers(self) -> str | None:
        """A sentence about who but its owner can enter its directory, None when nobody can."""
        mode = self.path.stat().st_mode if self.path.is_dir() else 0
        if not mode & (stat.S_IXGRP | stat.S_IXOTH):
            return None
        who = "everybody on this machine" if mode & stat.S_IXOTH else "its group"
        return f"{who} can read this lake (mode {stat.S_IMODE(mode):o}); to close it: chmod 700 {self.path}"

    def directory(self, table: str) -> Path:
        """Where a table lies: in a lake that an older version began, under the table's former name.

        Raises:
            LakeError: there are both, so each version wrote some of the rows.
        """
        here, former = self.path / table, TABLES[table].FORMERLY
        if not former or not (self.path / former / _LOG).is_dir():
            return here
        if (here / _LOG).is_dir():
            raise LakeError(
                f"{self.path}: an older auditlens wrote to this lake after a newer one ({former} and {table} are one table); "
                "import the logs into a new lake with one version"
            )
        return self.path / former

    def staging(self) -> Staging:
        """A place for files that are not committed yet."""
        return Staging(self.path, self.directory, self.committed_paths)

    def committed_paths(self, table: str) -> set[str]:
        """Paths the Delta log of a table names now."""
        handle = self._open(table)
        return set() if handle is None else set(_column(handle, "path"))

    def vacuum(self, table: str) -> list[str]:
        """Delete the files that commits have removed from a table; returns their paths.

        Delta's own vacuum writes two commits, which clash with those of imports going on; so it only names the files.
        """
        handle = self._open(table)
        if handle is None:
            return []
        dead: list[str] = handle.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
        directory = self.directory(table)
        found = [path for path in dead if (directory / path).exists()]
        for path in found:
            (directory / path).unlink(missing_ok=True)
        return found

    def _open(self, table: str) -> DeltaTable | None:
        """The table as of now; a fresh handle each time, for a handle does not see later commits."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        directory = self.directory(table)
        if not (directory / _LOG).is_dir():
            return None
        try:
            return DeltaTable(str(directory))
        except TableNotFoundError:
            return None  # being created right now
        except (DeltaError, OSError) as e:
            raise LakeError(f"{directory}: the Delta log cannot be read: {e}") from e

    def transaction(self, table: str, app_id: str) -> int | None:
        """The version of an application transaction that a table holds, if any."""
        handle = self._open(table)
        return None if handle is None else handle.transaction_version(app_id)

    def commit(
        self,
        table: str,
        add: Iterable[NewFile],
        *,
        remove: Sequence[DataFile] = (),
        transactions: Iterable[tuple[str, int]] = (),
        rearrange: bool = False,
        at: int | None = None,
    ) -> bool:
        """Add and remove files of a table in one commit, at most once per application transaction.

        Returns False when the table holds one of the transactions already, when a file to be removed is gone (somebody
        else rearranged it), or when the table is not at version `at` any more: then nothing was committed. `rearrange` says
        that no row changes.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
        from deltalake.transaction import CommitProperties, Transaction

        add, wanted = list(add), list(transactions)
        # Delta's own retry lets two commits remove the same file: what is removed must be looked at again before each try.
        retries = None if at is None and not remove else 0
        properties = CommitProperties(app_transactions=[Transaction(a, v) for a, v in wanted], max_commit_retries=retries)
        for attempt in range(_ATTEMPTS):
            handle = self._open(table) or self._create(table)
            if any((handle.transaction_version(a) or 0) >= v for a, v in wanted) or at not in (None, handle.version()):
                return False
            if remove and not {f.path for f in remove} <= set(_column(handle, "path")):
                return False
            _add_columns(handle, TABLES[table])
            try:
                handle.create_write_transaction(
                    [_add_action(f, rearrange) for f in add] + [_remove_action(f, rearrange) for f in remove],
                    mode="append",
                    schema=TABLES[table].arrow_schema(),
                    partition_by=list(TABLES[table].PARTITIONED_BY),
                    commit_properties=properties,
                )
                return True
            except (CommitFailedError, TableNotFoundError):
                time.sleep(min(0.01 * 2**attempt, 0.5))
            except (DeltaError, OSError) as e:
                raise LakeError(f"{self.directory(table)}: commit failed: {e}") from e
        raise LakeError(f"{self.directory(table)}: gave up after {_ATTEMPTS} lost races; is another writer stuck?")

    def _create(self, table: str) -> DeltaTable:
        from deltalake import DeltaTable

        kind, directory = TABLES[table], self.directory(table)
        make_private(self.path)
        directory.mkdir(parents=True, exist_ok=True)
        return DeltaTable.create(
            str(directory),
            schema=kind.arrow_schema(),
            mode="ignore",
            partition_by=list(kind.PARTITIONED_BY),
            description=(kind.__doc__ or "").strip(),
            # by default only the first 32 columns have statistics
            configuration={"delta.dataSkippingStatsColumns": kind.TIME} if kind.TIME else None,
        )

    def snapshot(self) -> Snapshot:
        """What is committed now.

        The tables' logs are read one after the other. `imports` is first: whatever it names has its other tables committed
        already. `duplicates` is next: a compaction commits the tables without the duplicates before it forgets their addresses.
        """
        version = self.version()
        if self._last is None or self._last[0] != version:
            for attempt in range(_ATTEMPTS):
                try:
                    self._last = version, self._snapshot()
                except FileNotFoundError as e:  # `imports` was folded between reading its log and its files
                    if attempt == _ATTEMPTS - 1:
                        there = self._files(Imports.NAME, self._open(Imports.NAME))
                        gone = next((f for f in there if not f.file.exists()), None)
                        raise (gone.missing() if gone else e) from e
                    continue
                before, version = version, self.version()
                if version == before or attempt >= _STEADY:
                    break
        assert self._last is not None
        return self._last[1]

    def _snapshot(self) -> Snapshot:
        first = (Imports.NAME, Duplicates.NAME)
        handles = {name: self._open(name) for name in (*first, *(n for n in TABLES if n not in first))}
        committed = {name: self._files(name, handle) for name, handle in handles.items()}
        versions = {name: handle.version() for name, handle in handles.items() if handle is not None}
        written_by = {f.prefix for files in committed.values() for f in files if not f.rewritten}
        return Snapshot(versions, committed, *_finished(committed[Imports.NAME], written_by))

    def version(self) -> tuple[int, ...]:
        """Changes whenever an answer may; cheap enough to ask before each question."""
        return tuple(max((int(p.stem) for p in (self.directory(name) / _LOG).glob("[0-9]*.json")), default=-1) for name in TABLES)

    def _files(self, table: str, handle: DeltaTable | None) -> list[DataFile]:
        if handle is None:
            return []
        actions: dict[str, list[Any]] = _columns(handle)
        column, directory = TABLES[table].TIME, self.directory(table)
        out = []
        for i, path in enumerate(actions["path"]):
            out.append(
                DataFile(
                    table=table,
                    path=path,
                    file=directory / path,
                    size=actions["size_bytes"][i],
                    rows=actions["num_records"][i],
                    cluster=_at(actions, "partition.cluster", i),
                    date=_iso(_at(actions, "partition.date", i)),
                    min_time=_at(actions, f"min.{column}", i),
                    max_time=_at(actions, f"max.{column}", i),
                )
            )
        return out


def _columns(handle: DeltaTable) -> dict[str, list[Any]]:
    actions = handle.get_add_actions(flatten=True)
    columns: dict[str, list[Any]] = {name: actions.column(name).to_pylist() for name in actions.schema.names}
    columns["path"] = [unquote(path) for path in columns["path"]]  # as the log has them, and writing encodes them
    return columns


def _column(handle: DeltaTable, name: str) -> list[Any]:
    return _columns(handle)[name]


def _at(actions: dict[str, list[Any]], name: str, i: int) -> Any:
    return actions[name][i] if name in actions else None


def _iso(value: dt.date | str | None) -> str | None:
    return value.isoformat() if isinstance(value, dt.date) else value


def _finished(files: list[DataFile], among: set[str]) -> tuple[frozenset[str], pa.ChunkedArray]:
    """Which of some batches are finished, and the ids of all finished imports; a sink makes a million of them in weeks.

    Read by what is there already: an import has no other use for polars (0.2 s), nor has a question for pyarrow.parquet.
    """
    import pyarrow as pa

    names = ["batch_id", "import_id"]
    if not files:
        return frozenset(), pa.chunked_array([], pa.string())
    if "pyarrow.parquet" in sys.modules:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        schema = pa.schema([(name, pa.string()) for name in names])  # rewritten files differ in what may be null
        table = pa.concat_tables(pq.read_table(f.file, columns=names, schema=schema) for f in files)
        known = pc.is_in(table["batch_id"], pa.array(list(among), pa.string()))
        return frozenset(table["batch_id"].filter(known).to_pylist()), table["import_id"]
    import polars as pl

    ids = pl.concat(pl.read_parquet(f.file, columns=names, glob=False, hive_partitioning=False) for f in files)
    batches = ids["batch_id"]
    return frozenset(batches.filter(batches.is_in(list(among)))), pa.chunked_array([ids["import_id"].to_arrow()])


def _add_columns(handle: DeltaTable, table: type[Table]) -> None:
    """Bring an older lake's table to the columns this version knows."""
    from deltalake import Schema

    known = {f.name for f in handle.schema().fields}
    missing = [f for f in Schema.from_arrow(table.arrow_schema()).fields if f.name not in known]
    if missing:
        handle.alter.add_columns(missing)


def _add_action(file: NewFile, rearrange: bool) -> Any:
    from deltalake.transaction import AddAction

    return AddAction(
        path=file.path,
        size=file.size,
        partition_values=dict(file.partition),
        modification_time=int(time.time() * 1000),
        data_change=not rearrange,
        stats=file.stats(),
    )


def _remove_action(file: DataFile, rearrange: bool) -> Any:
    from deltalake.transaction import RemoveAction

    return RemoveAction(file.path, not rearrange, int(time.time() * 1000), file.size)
