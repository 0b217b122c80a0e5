"""The lake is looked after while it is used: nothing that is there gets lost, nothing that is damaged goes unseen."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import EVIDENCE, accounted, assert_same, auditlens, day, event, imported, rows, tables, write

from auditlens import engine
from auditlens.errors import UsageError
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.lake.files import Staging
from auditlens.lake.maintenance import compact, info, retain, verify

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["auditlens.importing.files.run", "auditlens.lake.maintenance", "auditlens.engine", "polars"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of several imports that overlap, over three days."""
    root = tmp_path_factory.mktemp("made")
    for n in range(3):
        stamps = [f"2026-11-2{n}T{10 + i // 60:02}:{i % 60:02}:00.000000Z" for i in range(120)]
        events = [event(n * 1000 + i, requestReceivedTimestamp=t, stageTimestamp=t) for i, t in enumerate(stamps)]
        imported(
            root / "lake", write(root / f"{n}.log", events[:80]), write(root / f"{n}-more.log", [*events[60:], {"no": "event"}])
        )
    return root / "lake"


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "lake"))


def test_compaction_changes_no_row(lake: Path) -> None:
    before = tables(lake)
    report = compact(Lake(lake))
    assert (report.days, report.duplicates) == (3, 60)
    assert report.files_after < report.files_before
    assert_same(tables(lake), before)
    assert not Lake(lake).snapshot().files("duplicates")
    assert not verify(Lake(lake)).height
    on_disk = set((lake / "audit").rglob("*.parquet"))
    assert on_disk == {f.file for f in Lake(lake).snapshot().files("audit")}
    assert len(Lake(lake).snapshot().files("imports")) == 1


def test_what_is_compacted_already_is_left_alone(lake: Path) -> None:
    compact(Lake(lake))
    before = Lake(lake).snapshot().versions
    assert compact(Lake(lake)).days == 0
    assert {t: v for t, v in Lake(lake).snapshot().versions.items() if t in ("audit", "imports")} == {
        t: v for t, v in before.items() if t in ("audit", "imports")
    }


def test_one_day_can_be_compacted_alone(lake: Path) -> None:
    before = tables(lake)
    assert compact(Lake(lake), date="2026-11-21").days == 1
    assert {f.date for f in Lake(lake).snapshot().files("audit") if f.compacted} == {"2026-11-21"}
    assert compact(Lake(lake), cluster="elsewhere").days == 0
    assert_same(tables(lake), before)


def _compact_until(lake: Path, point: int) -> None:
    count, commit = 0, Lake.commit

    def dying(self: Lake, *args: object, **more: object) -> bool:
        nonlocal count
        count += 1
        if count == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return commit(self, *args, **more)  # type: ignore[arg-type]

    Lake.commit = dying  # type: ignore[method-assign,assignment]
    compact(Lake(lake))


@pytest.mark.parametrize("point", [1, 2, 3, 5, 7])
def test_a_compaction_that_is_killed_changes_no_row_and_the_next_one_finishes(lake: Path, point: int) -> None:
    before = tables(lake)
    process = FORKS.Process(target=_compact_until, args=(lake, point))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert_same(tables(lake), before)
    accounted(lake)
    compact(Lake(lake))
    assert_same(tables(lake), before)
    assert not Lake(lake).snapshot().files("duplicates")


def test_what_a_killed_import_left_is_removed_after_a_day_and_the_import_can_still_be_done(tmp_path: Path, lake: Path) -> None:
    from test_exactly_once import _import_until

    before = tables(lake)
    late = write(tmp_path / "late.log", day(50))
    process = FORKS.Process(target=_import_until, args=(3, False, [late], lake))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    compact(Lake(lake))
    left = [f for f in Lake(lake).snapshot().committed["audit"] if not f.rewritten]
    assert left  # it may still be running
    yesterday = time.time() - 90_000
    for path in [*(f.file for f in left), *lake.glob("_staging/*")]:
        os.utime(path, (yesterday, yesterday))
    compact(Lake(lake))
    assert not [f for f in Lake(lake).snapshot().committed["audit"] if not f.rewritten]
    assert not list(lake.glob("_staging/*"))
    assert_same(tables(lake), before)
    assert imported(lake, late).total()["rows"]["audit"] == 50
    assert rows(lake, f"select count(*) from audit where source = '{late}'") == [(50,)]


def test_old_days_go_whole_and_nothing_else(lake: Path) -> None:
    before = rows(lake, "select count(*) from audit where date >= '2026-11-21'")
    assert retain(Lake(lake), "2026-11-21", dry_run=True)["rows"].sum() > 100
    assert rows(lake, "select count(distinct date) from audit") == [(3,)]
    retain(Lake(lake), "2026-11-21")
    assert rows(lake, "select min(date)::varchar, count(distinct date) from audit") == [("2026-11-21", 2)]
    assert rows(lake, "select count(*) from audit") == before
    assert rows(lake, "select min(date)::varchar from audit_objects") == [("2026-11-21",)]
    assert not verify(Lake(lake)).height
    assert not list((lake / "audit").glob("*/date=2026-11-20/*.parquet"))


def test_the_age_of_a_day_can_be_said_in_days_or_weeks(lake: Path) -> None:
    future = (dt.date(2026, 11, 23) - dt.datetime.now(dt.UTC).date()).days
    assert retain(Lake(lake), f"{max(0, -future) + 4000}d", dry_run=True).height == 0
    assert retain(Lake(lake), "900w", dry_run=True).height == 0
    for wrong in ("soon", "-3d", "2026-13-01", ""):
        with pytest.raises(UsageError, match="90d"):
            retain(Lake(lake), wrong)


def test_retention_asks_before_it_deletes(lake: Path) -> None:
    asked = auditlens("lake", "retain", "2026-11-22", "--lake", lake)
    assert (asked.returncode, b"nothing was deleted" in asked.stderr) == (0, True)
    assert rows(lake, "select count(distinct date) from audit") == [(3,)]
    assert auditlens("lake", "retain", "2026-11-22", "--lake", lake, "--yes").returncode == 0
    assert rows(lake, "select count(distinct date) from audit") == [(1,)]


def test_verify_names_a_changed_a_missing_and_an_extra_file(lake: Path) -> None:
    assert auditlens("lake", "verify", "--lake", lake).returncode == 0
    changed, missing, *_ = sorted(f.file for f in Lake(lake).snapshot().files("audit"))
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    missing.unlink()
    extra = lake / "imports" / "stray.parquet"
    extra.write_bytes(data)
    found = {(r["problem"], r["table"], Path(r["file"]).name) for r in verify(Lake(lake)).to_dicts()}
    assert found == {("changed", "audit", changed.name), ("missing", "audit", missing.name), ("extra", "imports", extra.name)}
    done = auditlens("lake", "verify", "--lake", lake)
    assert done.returncode == 4
    for path in (changed, missing, extra):
        assert path.name.encode() in done.stdout


def test_info_counts_rows_files_and_days(lake: Path) -> None:
    found = {r["table"]: r for r in info(Lake(lake)).to_dicts()}
    assert (found["audit"]["days"], found["audit"]["clusters"]) == (3, "default")
    assert found["imports"]["rows"] == 6
    assert found["rejects"]["rows"] == 3
    assert found["audit"]["first_time"] == dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC)
    done = auditlens("lake", "info", "--lake", lake, "-o", "json")
    assert (done.returncode, b'"table": "audit"' in done.stdout) == (0, True)


# All at once


def _import_some(lake: Path, paths: list[Path]) -> None:
    for path in paths:
        import_files([path], lake)


def _compact_again_and_again(lake: Path, until: float) -> None:
    while time.time() < until:
        if Lake(lake).exists():
            compact(Lake(lake))


def _retain_again_and_again(lake: Path, until: float) -> None:
    while time.time() < until:
        if Lake(lake).exists():
            retain(Lake(lake), "2026-11-01")


def _read_again_and_again(lake: Path, until: float) -> None:
    """Every snapshot holds what its finished imports say, no more and no less, and no event twice."""
    statement = (
        "select (select coalesce(sum(rows['audit']), 0)::bigint from imports where source not like '%/old%'), "
        "(select count(*) from audit where date > '2026-11-01'), "
        "(select count(distinct (audit_id, stage)) from audit where date > '2026-11-01'), "
        "(select count(*) from audit_objects where via = 'item')"
    )
    last = 0
    while time.time() < until:
        if not Lake(lake).exists():
            continue
        ((claimed, there, distinct, _),) = engine.sql(Lake(lake), statement).rows()
        assert claimed == there == distinct, (claimed, there, distinct)
        assert there >= last, "an event was there and is gone"
        last = there


def test_readers_imports_compaction_and_retention_at_once_neither_fail_nor_miscount(tmp_path: Path) -> None:
    events = list(day(900))
    parts = [write(tmp_path / f"{i}.log", events[i * 40 : i * 40 + 60]) for i in range(22)]
    stamp = "2026-10-0{}T10:00:00.000000Z"
    old = [
        write(
            tmp_path / f"old-{i}.log",
            [event(n, requestReceivedTimestamp=stamp.format(i), stageTimestamp=stamp.format(i)) for n in range(9)],
        )
        for i in range(1, 6)
    ]
    lake, until = tmp_path / "lake", time.time() + 15
    calls = [
        (_import_some, (lake, parts[::2])), (_import_some, (lake, parts[1::2])), (_import_some, (lake, old)),
        (_compact_again_and_again, (lake, until)), (_compact_again_and_again, (lake, until)),
        (_retain_again_and_again, (lake, until)), (_read_again_and_again, (lake, until)), (_read_again_and_again, (lake, until)),
    ]  # fmt: skip
    processes = [FORKS.Process(target=target, args=args) for target, args in calls]
    for p in processes:
        p.start()
    for p in processes:
        p.join(200)
    assert [p.exitcode for p in processes] == [0] * len(processes)
    compact(Lake(lake))
    retain(Lake(lake), "2026-11-01")
    imported_once = tmp_path / "once"
    import_files(parts, imported_once)
    assert_same(tables(lake, without=EVIDENCE), tables(imported_once, without=EVIDENCE), only=("audit", "audit_objects"))
    assert not set(verify(Lake(lake))["problem"]) & {"changed", "missing"}


def test_compaction_leaves_alone_what_a_long_import_is_about_to_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are days old when it commits its tables, and a compaction comes before it commits `imports`."""
    real_place, real_commit = Staging.place, Lake.commit

    def place(self: Staging, path: Path, *args: Any, **more: Any) -> Any:
        long_ago = time.time() - 3 * 86400
        os.utime(path, (long_ago, long_ago))
        return real_place(self, path, *args, **more)

    def commit(self: Lake, table: str, *args: Any, **more: Any) -> bool:
        if table == "imports":
            monkeypatch.setattr(Lake, "commit", real_commit)
            compact(Lake(self.path))
        return real_commit(self, table, *args, **more)

    monkeypatch.setattr(Staging, "place", place)
    monkeypatch.setattr(Lake, "commit", commit)
    imported(tmp_path / "lake", write(tmp_path / "a.log", day(20)))
    assert rows(tmp_path / "lake", "select count(*) > 0 from audit") == [(True,)]
