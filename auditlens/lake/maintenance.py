"""Looking after the lake: what is in it, making it small and quick, letting old days go, and proving it is as written.

Readers, imports and sinks go on meanwhile: every change is one Delta commit, and a reader whose files are gone by the time
it opens them takes a new snapshot.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens.errors import UsageError
from auditlens.lake.files import STAGING, sha256_of
from auditlens.lake.lake import Lake
from auditlens.lake.rewrite import merge, rewrite_day
from auditlens.lake.snapshot import DataFile, Snapshot, unless_gone
from auditlens.tables import TABLES, Duplicates, Imports, Rejects

if TYPE_CHECKING:
    import polars as pl

# A file nobody committed may belong to an import that is still running; after a day it does not.
_ABANDONED = dt.timedelta(days=1)


@dataclass(slots=True)
class Compaction:
    """What `compact` did."""

    days: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    duplicates: int = 0


def info(lake: Lake) -> pl.DataFrame:
    """One row per table: rows, files, bytes, days, clusters, first and last time."""
    import polars as pl

    snapshot = lake.snapshot()
    rows = []
    for name in TABLES:
        files = snapshot.files(name)
        times = [t for f in files for t in (f.min_time, f.max_time) if t]
        rows.append(
            {
                "table": name,
                "rows": sum(f.rows for f in files),
                "files": len(files),
                "bytes": sum(f.size for f in files),
                "days": len({f.date for f in files if f.date}),
                "clusters": ", ".join(sorted({f.cluster for f in files if f.cluster})),
                "first_time": min(times, default=None),
                "last_time": max(times, default=None),
                "version": snapshot.versions.get(name),
            }
        )
    return pl.DataFrame(rows, schema_overrides={"first_time": pl.Datetime("us", "UTC"), "last_time": pl.Datetime("us", "UTC")})


def compact(
    lake: Lake, *, cluster: str | None = None, date: str | None = None, say: Callable[[str], None] = lambda text: None
) -> Compaction:
    """Rewrite every day that has new files, sorted for object look-ups, without duplicates, in the newest schema.

    Also merges the small files of the unpartitioned tables and removes what killed imports and earlier rewrites left behind.
    A day that somebody else rewrites at the same time is left to them.
    """
    report = Compaction()
    snapshot = lake.snapshot()
    for day in _days(snapshot):
        if (cluster and day[0] != cluster) or (date and day[1] != date):
            continue
        before = [f for name in TABLES for f in snapshot.files(name) if (f.cluster, f.date) == day]
        if not any(_stale(f) for f in before):
            continue
        say(f"{day[0]} {day[1] or 'no date'}: {len(before)} files")
        after = unless_gone(partial(rewrite_day, lake, snapshot, day), before)
        if after is None:
            continue
        report.days += 1
        report.files_before += len(before)
        report.bytes_before += sum(f.size for f in before)
        report.duplicates += sum(f.rows for f in before if f.table == Duplicates.NAME)
        report.files_after += len(after)
        report.bytes_after += sum(f.size for f in after)
    for table in (Imports, Rejects):
        files = lake.snapshot().files(table.NAME)
        unless_gone(partial(merge, lake, table, files), files)
    clean(lake)
    return report


def _days(snapshot: Snapshot) -> list[tuple[str | None, str | None]]:
    days = {(f.cluster, f.date) for name in TABLES for f in snapshot.files(name) if TABLES[name].PARTITIONED_BY}
    return sorted(days, key=lambda d: (d[0] or "", d[1] or ""))


def _stale(file: DataFile) -> bool:
    return not file.compacted or file.fingerprint != TABLES[file.table].fingerprint()


def clean(lake: Lake) -> int:
    """Delete files that no commit names: at once what commits have removed, after a day what a killed import left."""
    limit = time.time() - _ABANDONED.total_seconds()
    snapshot = lake.snapshot()
    for name, files in snapshot.committed.items():
        dead = [f for f in files if not f.rewritten and f.prefix not in snapshot.batches and _older(f.file, limit)]
        if dead:
            lake.commit(name, [], remove=dead)
    removed = sum(len(lake.vacuum(name)) for name in TABLES)
    for path, _ in _extra(lake):
        if _older(path, limit):
            path.unlink(missing_ok=True)
            removed += 1
    for directory in (lake.path / STAGING).glob("*"):
        if _older(directory, limit):
            shutil.rmtree(directory, ignore_errors=True)
    return removed


def _older(path: Path, limit: float) -> bool:
    try:
        return path.stat().st_mtime < limit
    except FileNotFoundError:
        return False


def _extra(lake: Lake) -> Iterator[tuple[Path, str]]:
    """Files in the tables' directories that the Delta logs do not name now."""
    for name in TABLES:
        on_disk = list(lake.directory(name).rglob("*.parquet"))  # listed before the log is read: a later commit is no extra
        known = lake.committed_paths(name)
        for path in on_disk:
            if "_delta_log" not in path.parts and path.relative_to(lake.directory(name)).as_posix() not in known:
                yield path, name


def retain(lake: Lake, older_than: str, *, cluster: str | None = None, dry_run: bool = False) -> pl.DataFrame:
    """Delete whole UTC days before a date (`2026-11-01`) or an age (`90d`); returns what went, or would go."""
    import polars as pl

    cutoff = _cutoff(older_than)
    snapshot = lake.snapshot()
    rows: list[dict[str, Any]] = []
    for name in TABLES:
        gone = [
            f
            for f in snapshot.committed.get(name, [])
            if f.date and f.date < cutoff and (cluster is None or f.cluster == cluster)
        ]
        if gone and (dry_run or lake.commit(name, [], remove=gone)):
            rows.append(
                {"table": name, "days": len({f.date for f in gone}), "files": len(gone), "rows": sum(f.rows for f in gone)}
            )
    if not dry_run:
        clean(lake)
    return pl.DataFrame(rows, schema={"table": pl.String, "days": pl.Int64, "files": pl.Int64, "rows": pl.Int64})


def _cutoff(text: str) -> str:
    age = re.fullmatch(r"(\d+)\s*([dw])", text.strip())
    if age:
        days = int(age[1]) * (7 if age[2] == "w" else 1)
        return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)).isoformat()
    try:
        return dt.date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise UsageError(f"{text!r}: use an age such as 90d or 12w, or a date such as 2026-11-01") from None


def verify(lake: Lake) -> pl.DataFrame:
    """Compare files and log: one row per file that is missing, changed or extra; none when all is well."""
    import polars as pl

    rows: list[dict[str, Any]] = []
    extra = list(_extra(lake))
    for name, files in lake.snapshot().committed.items():
        for file in files:
            problem = _problem(file)
            if problem:
                rows.append({"problem": problem[0], "table": name, "file": file.path, "detail": problem[1]})
    for path, name in extra:
        detail = (
            "no commit names it: an import was killed, or a rewrite is not cleaned up yet; `lake compact` removes it after a day"
        )
        rows.append(
            {"problem": "extra", "table": name, "file": path.relative_to(lake.directory(name)).as_posix(), "detail": detail}
        )
    return pl.DataFrame(rows, schema={"problem": pl.String, "table": pl.String, "file": pl.String, "detail": pl.String})


def _problem(file: DataFile) -> tuple[str, str] | None:
    import pyarrow.parquet as pq

    if not file.file.exists():
        return "missing", "the log names it, the disk does not have it"
    digest, size = sha256_of(file.file)
    if digest != file.sha256:
        return "changed", f"SHA-256 is {digest}, size {size:,}; written were {file.size:,} bytes"
    rows = pq.ParquetFile(file.file).metadata.num_rows
    if rows != file.rows:
        return "changed", f"holds {rows:,} rows, the log says {file.rows:,}"
    return None
