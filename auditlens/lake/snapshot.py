"""What the lake holds at one moment: the committed files of finished imports, per table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from auditlens.errors import LakeError
from auditlens.quoting import quoted
from auditlens.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

T = TypeVar("T")

# File-name prefixes of what was rewritten, all of it rows of finished imports; other files carry their batch's id.
COMPACTED = "compact"  # a day, sorted, without duplicates
FOLDED = "fold"  # small files merged as they were: compaction still has its work to do


@dataclass(frozen=True, slots=True)
class DataFile:
    """One committed file of a table."""

    table: str
    path: str  # relative to the table's directory, as the Delta log has it
    file: Path
    size: int
    rows: int
    cluster: str | None
    date: str | None  # YYYY-MM-DD
    min_time: dt.datetime | None
    max_time: dt.datetime | None

    @property
    def prefix(self) -> str:
        """The id of the batch that wrote it, `compact` or `fold`."""
        return self.file.name.split("-", 1)[0]

    @property
    def compacted(self) -> bool:
        """Whether compaction wrote it."""
        return self.prefix == COMPACTED

    @property
    def rewritten(self) -> bool:
        """Whether it was made of other files: its rows are of finished imports."""
        return self.prefix in (COMPACTED, FOLDED)

    def missing(self) -> LakeError:
        """What to say when the log names it, it is not there, and no compaction took it away."""
        return LakeError(
            f"{self.file}: the lake's log names this file, and it is not there. Bring it back from "
            "a copy of the lake, or import into a new lake; `auditlens lake verify` lists every file that is missing or changed"
        )

    @property
    def fingerprint(self) -> str:
        """The columns it was written with: Table.fingerprint() of that day."""
        return self.file.stem.rsplit("-", 2)[-2]

    @property
    def sha256(self) -> str:
        """The digest its name promises."""
        return self.file.stem.rsplit("-", 1)[-1]

    def overlaps(self, since: dt.datetime | None, until: dt.datetime | None) -> bool:
        """Whether it may hold rows of a window; a file without times always may."""
        if self.min_time is None or self.max_time is None:
            return True
        # Delta keeps milliseconds of some writers: one of slack on either side
        slack = dt.timedelta(milliseconds=1)
        return (since is None or self.max_time + slack >= since) and (until is None or self.min_time - slack <= until)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The lake at one moment; `versions` are the Delta versions it was taken at."""

    versions: dict[str, int]
    committed: dict[str, list[DataFile]]  # all files the Delta logs name
    batches: frozenset[str]  # the finished batches among those that wrote files: only these may be read
    imports: pa.ChunkedArray = field(repr=False)  # ids of finished imports

    def files(self, table: str, *, since: dt.datetime | None = None, until: dt.datetime | None = None) -> list[DataFile]:
        """The files of a table that readers may see, oldest first, narrowed to a window."""
        found = [
            f for f in self.committed.get(table, []) if (f.rewritten or f.prefix in self.batches) and f.overlaps(since, until)
        ]
        return sorted(found, key=lambda f: (f.date or "", f.min_time is not None, f.min_time or dt.datetime.min, f.path))

    def finished(self, import_id: str) -> bool:
        """Whether an import is done."""
        return bool(self.imports.index(import_id).as_py() >= 0)

    def intact(self) -> bool:
        """Whether all its files are still there; compaction and retention take away what their commits replaced."""
        return self.gone() is None

    def gone(self) -> DataFile | None:
        """The first of its files that is not there any more."""
        return next((f for files in self.committed.values() for f in files if not f.file.exists()), None)


def unless_gone(work: Callable[[], T], files: list[DataFile]) -> T | None:
    """What `work` on some files returns; None when it failed because another compaction or retention took one away."""
    import duckdb

    try:
        return work()
    except duckdb.Error:
        if all(f.file.exists() for f in files):
            raise
        return None


def hide(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, duplicates: list[DataFile]) -> None:
    """Make table `hidden` for `unhidden`: addresses of stored rows that repeat those of finished imports."""
    import pyarrow as pa

    con.register("done", pa.table({"import_id": snapshot.imports}))
    con.execute(
        "create or replace table hidden as select distinct import_id, source, line, coalesce(item, 0) as item "
        f"from read_parquet({file_list(duplicates)}) where kept_import_id in (select import_id from done)"
    )
    con.unregister("done")


def unhidden(select: str) -> str:
    """The rows of a select that are not in table `hidden`."""
    return (
        f"select * from ({select}) as a where not exists (select 1 from hidden as h where h.import_id = a.import_id "
        "and h.source = a.source and h.line = a.line and h.item = coalesce(a.item, 0))"
    )


def scan(table: type[Table], files: list[DataFile], *, union_by_name: bool = False) -> str:
    """The table function that reads some files of a table, partitions included."""
    if not table.PARTITIONED_BY:
        return f"read_parquet({file_list(files)}, union_by_name = {union_by_name})"
    return (
        f"read_parquet({file_list(files)}, union_by_name = {union_by_name}, hive_partitioning = true, "
        "hive_types = {'cluster': varchar, 'date': date})"
    )


def file_list(files: Iterable[DataFile]) -> str:
    """Paths as a SQL list literal."""
    return f"[{', '.join(quoted(f.file) for f in files)}]"
