"""Small files become larger ones while readers and writers go on: never more than 300 of a table per cluster and day.

Files are merged by size class: a class holds files of 8^n to 8^(n+1) rows, and when 24 have come together they become one
of a higher class. A day of any rate has at most 12 classes (8^12 rows are 68 billion), so at most 276 files and the few
that came in meanwhile, and a row is written again at most five times. Rows keep their import, source and line.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import duckdb

from auditlens.lake.lake import Lake
from auditlens.lake.snapshot import FOLDED, DataFile, file_list, unless_gone
from auditlens.tables import TABLES, Table

FAN = 24  # files of one class that become one
_BASE = 8
_LARGEST = 1 << 30  # bytes: a larger file is the compaction's, which sorts whole days
_MEMORY = "150MB"
_GRACE = 60.0  # seconds a reader may take to open the files of its snapshot


class Merger:
    """Merges the small files of one lake again and again; remembers what it may delete, and when."""

    def __init__(self, lake: Lake, *, grace: float = _GRACE, fan: int = FAN) -> None:
        self.lake = lake
        self._grace, self._fan = grace, fan
        self._gone: list[tuple[float, DataFile]] = []

    def run(self) -> int:
        """Merge once; returns the number of files that became part of larger ones."""
        folded = merge_small(self.lake, fan=self._fan)
        now = time.monotonic()
        self._gone += [(now + self._grace, f) for f in folded]
        while self._gone and self._gone[0][0] <= now:
            self._gone.pop(0)[1].file.unlink(missing_ok=True)
        return len(folded)


def merge_small(lake: Lake, *, fan: int = FAN) -> list[DataFile]:
    """Merge every class of every partition that is full, until none is; returns the files that were replaced.

    The replaced files stay where they are: readers of an older snapshot still need them. Another merger or a compaction
    that takes the same files wins or loses as a whole.

    Raises:
        LakeError: the lake cannot be read or written.
    """
    replaced: list[DataFile] = []
    if not lake.exists():
        return replaced
    with duckdb.connect(config={"memory_limit": _MEMORY, "threads": 1}) as con:
        con.execute("set TimeZone = 'UTC'")
        for table in TABLES.values():
            for _ in range(12):  # a merger can fill the next class
                groups = list(_full(lake.snapshot().files(table.NAME), table, fan))
                done = [f for group in groups if unless_gone(partial(_merge, lake, con, table, group), group) for f in group]
                replaced += done
                if not done:
                    break
    return replaced


def _full(files: list[DataFile], table: type[Table], fan: int) -> Iterator[list[DataFile]]:
    classes: dict[tuple[str | None, str | None, int], list[DataFile]] = defaultdict(list)
    now = table.fingerprint()
    for f in files:
        if f.size < _LARGEST and f.fingerprint == now:
            classes[f.cluster, f.date, _class(f.rows)].append(f)
    for group in classes.values():
        # oldest first, and no more at once than makes one file of the largest size
        group.sort(key=lambda f: (f.min_time is not None, f.min_time, f.path) if f.min_time else (False, None, f.path))
        while len(group) >= fan:
            total, taken = 0, 0
            while taken < len(group) and (taken < 2 or total + group[taken].size <= _LARGEST):
                total += group[taken].size
                taken += 1
            yield group[:taken]
            del group[:taken]


def _class(rows: int) -> int:
    n = 0
    while rows >= _BASE:
        rows //= _BASE
        n += 1
    return n


def _merge(lake: Lake, con: duckdb.DuckDBPyConnection, table: type[Table], files: list[DataFile]) -> bool:
    partition = dict(zip(table.PARTITIONED_BY, (files[0].cluster, files[0].date), strict=False))
    columns = ", ".join(c.name for c in table.stored())
    with lake.staging() as staging:
        select = f"select {columns} from read_parquet({file_list(files)}, hive_partitioning = false)"
        merged = staging.write(con, table, select, prefix=FOLDED, partition=partition)
        assert merged is not None
        assert merged.rows == sum(f.rows for f in files)
        return lake.commit(table.NAME, [merged], remove=files, rearrange=True)


def lower_priority() -> None:
    """Let this thread give way to those that import and acknowledge (Linux: niceness is a thread's own)."""
    os.nice(5)
