"""Commits happen once, at the version they were meant for; readers see finished imports only, of any age of lake."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import assert_same, day, event, imported, rows, tables, write

from auditlens.engine import sql
from auditlens.errors import LakeError
from auditlens.lake import Lake, NewFile
from auditlens.lake.maintenance import compact, verify
from auditlens.tables import PUBLIC, TABLES, AuditObjects, Imports

FORKS = multiprocessing.get_context("forkserver")


def new_file(lake: Lake, date: str = "2026-11-23") -> NewFile:
    """A file of one row in `audit_objects`, in its place and not committed."""
    import duckdb

    with lake.staging() as staging:
        columns = ", ".join(f"null::{c.type} as {c.name}" for c in AuditObjects.stored())
        file = staging.write(
            duckdb.connect(), AuditObjects, f"select {columns}", prefix="x", partition={"cluster": "c", "date": date}
        )
        assert file is not None
        staging._placed.clear()  # so that it stays
    return file


def test_a_transaction_is_committed_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.commit("audit_objects", [new_file(lake)], transactions=[("a", 1)])
    assert not lake.commit("audit_objects", [new_file(lake)], transactions=[("b", 1), ("a", 1)])
    assert not lake.commit("audit_objects", [new_file(lake)], transactions=[("a", 0)])
    assert lake.commit("audit_objects", [new_file(lake)], transactions=[("a", 2)])
    assert len(lake.committed_paths("audit_objects")) == 2
    assert (lake.transaction("audit_objects", "a"), lake.transaction("audit_objects", "b")) == (2, None)


def test_a_commit_meant_for_a_version_is_refused_at_another(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.commit("audit_objects", [new_file(lake)], at=0)
    at = lake.snapshot().versions["audit_objects"]
    assert lake.commit("audit_objects", [new_file(lake)], at=at)
    assert not lake.commit("audit_objects", [new_file(lake)], at=at)
    assert lake.commit("audit_objects", [new_file(lake)])


def test_a_file_that_is_gone_cannot_be_removed_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit("audit_objects", [new_file(lake)])
    (old,) = lake.snapshot().committed["audit_objects"]
    assert lake.commit("audit_objects", [new_file(lake)], remove=[old], rearrange=True)
    assert not lake.commit("audit_objects", [new_file(lake)], remove=[old], rearrange=True)


def _commit(path: Path, number: int, at: int | None) -> None:
    lake = Lake(path)
    transactions = [("same", 1)] if at is None else []
    sys.exit(10 if lake.commit("audit_objects", [new_file(lake)], transactions=transactions, at=at) else 11)


@pytest.mark.parametrize("at", [None, 1], ids=["one transaction", "one version"])
def test_of_processes_that_race_for_a_commit_one_wins(tmp_path: Path, at: int | None) -> None:
    lake = Lake(tmp_path)
    lake.commit("audit_objects", [new_file(lake)])
    processes = [FORKS.Process(target=_commit, args=(tmp_path, i, at)) for i in range(6)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(60)
    assert sorted(p.exitcode or 0 for p in processes) == [10] + [11] * 5
    assert len(lake.committed_paths("audit_objects")) == 2


def test_files_are_named_by_their_content_and_their_columns(tmp_path: Path) -> None:
    from auditlens.lake.files import sha256_of

    imported(tmp_path / "lake", write(tmp_path / "a.log", day(50)))
    snapshot = Lake(tmp_path / "lake").snapshot()
    for name, files in snapshot.committed.items():
        for file in files:
            assert sha256_of(file.file) == (file.sha256, file.size)
            assert file.fingerprint == TABLES[name].fingerprint()


def test_a_window_leaves_out_files_that_cannot_hold_it(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for n in range(3):
        stamp = f"2026-11-2{n}T10:00:00.000000Z"
        imported(lake, write(tmp_path / f"{n}.log", [event(n, requestReceivedTimestamp=stamp, stageTimestamp=stamp)]))
    snapshot = Lake(lake).snapshot()
    files = snapshot.files("audit")
    assert [f.date for f in files] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert [f.date for f in snapshot.files("audit", since=files[1].min_time)] == ["2026-11-21", "2026-11-22"]
    assert [f.date for f in snapshot.files("audit", until=files[1].min_time)] == ["2026-11-20", "2026-11-21"]


def test_an_older_lake_is_read_added_to_and_brought_to_the_newest_columns(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old.log", day(80)), write(tmp_path / "new.log", day(40, first=80))
    script = (
        "import sys; from auditlens.tables import Audit; del Audit.model_fields['replicas']; "
        "from auditlens.importing.files.run import import_files; import_files([sys.argv[1]], sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", script, str(old), str(tmp_path / "lake")], check=True)
    assert rows(tmp_path / "lake", "select count(*), count(replicas) from audit") == [(80, 0)]
    imported(tmp_path / "lake", new)
    imported(tmp_path / "fresh", old)
    imported(tmp_path / "fresh", new)
    assert_same(tables(tmp_path / "lake", without=["replicas"]), tables(tmp_path / "fresh", without=["replicas"]))
    compact(Lake(tmp_path / "lake"))
    assert_same(tables(tmp_path / "lake", without=["replicas"]), tables(tmp_path / "fresh", without=["replicas"]))
    assert {f.fingerprint for f in Lake(tmp_path / "lake").snapshot().files("audit")} == {TABLES["audit"].fingerprint()}


def test_a_lake_that_is_none_and_a_damaged_log_are_told_apart(tmp_path: Path) -> None:
    assert not Lake(tmp_path / "nothing").exists()
    imported(tmp_path / "lake", write(tmp_path / "a.log", day(8)))
    for log in (tmp_path / "lake" / Imports.NAME / "_delta_log").glob("*.json"):
        log.write_text("{not json")
    with pytest.raises(LakeError, match="imports"):
        Lake(tmp_path / "lake").snapshot()


def test_a_path_with_quotes_and_spaces_is_a_lake_too(tmp_path: Path) -> None:
    lake = tmp_path / "it's a 'lake' {x} #1"
    imported(lake, write(tmp_path / "o'clock log.log", day(20)))
    compact(Lake(lake))
    imported(lake, write(tmp_path / "more.log", day(40)))
    assert rows(lake, "select count(*) from audit") == [(40,)]


def test_a_lake_whose_tables_have_their_earlier_names_is_read_added_to_and_compacted(tmp_path: Path) -> None:
    lake, whole = tmp_path / "lake", tmp_path / "whole"
    log = Path(__file__).parent / "logs" / "data" / "httplog.log"
    old = [write(tmp_path / "old.log", day(80)), log]
    new = [
        write(tmp_path / "new.log", day(40, first=80)),
        write(tmp_path / "http.log", log.read_bytes().replace(b"I0102", b"I0103")),
    ]
    old.append(write(tmp_path / "again.log", day(40)))
    imported(lake, *old)
    imported(whole, *old)
    earlier = {name: table.FORMERLY for name, table in TABLES.items() if table.FORMERLY}
    assert earlier == {"audit_objects": "touch", "httplog": "http", "duplicates": "repeats"}
    for now, before in earlier.items():
        (lake / now).rename(lake / before)
    assert_same(tables(lake), tables(whole))
    imported(lake, *new)
    imported(whole, *new)
    assert_same(tables(lake), tables(whole))
    imported(lake, *old, *new)
    compact(Lake(lake))
    assert verify(Lake(lake)).is_empty()
    assert_same(tables(lake), tables(whole))
    assert not any((lake / now).exists() for now in earlier)
    for now, before in earlier.items():  # and SQL may use either name of what it may read
        assert now not in PUBLIC or (
            sql(str(lake), f"select count(*) as n from {before}").rows() == rows(whole, f"select count(*) from {now}") != [(0,)]
        )


def test_a_lake_that_two_versions_wrote_to_under_two_names_is_not_answered_from_half(tmp_path: Path) -> None:
    imported(tmp_path / "a", write(tmp_path / "a.log", day(80)))
    shutil.copytree(tmp_path / "a" / "audit_objects", tmp_path / "a" / "touch")
    with pytest.raises(LakeError, match="an older auditlens wrote to this lake after a newer one"):
        rows(tmp_path / "a", "select count(*) from audit")


@pytest.mark.parametrize("table", ["audit", "imports"])
def test_an_import_into_a_lake_that_lost_a_file_ends_and_names_it(tmp_path: Path, table: str) -> None:
    lake = tmp_path / "lake"
    imported(lake, write(tmp_path / "a.log", [event(0), event(1)]))
    (lost,) = Lake(lake).snapshot().files(table)
    aside = lost.file.rename(tmp_path / "aside")
    log = write(tmp_path / "b.log", [event(1), event(2)])
    with pytest.raises(LakeError, match=f"{lost.file.name}: .* it is not there. Bring it back"):
        imported(lake, log)
    aside.rename(lost.file)
    assert imported(lake, log).total()["duplicates"] == 1
