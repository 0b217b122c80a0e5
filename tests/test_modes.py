"""What auditlens writes can be read by its owner alone, whatever the umask, unless the owner opens the lake."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import auditlens, day, write

from auditlens import engine
from auditlens.lake import Lake
from auditlens.sink.wal import RecordHeader, Wal


@pytest.fixture(params=[0, 0o022, 0o077], ids=oct, autouse=True)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _open(base: Path) -> list[str]:
    """Files below a directory that somebody else could read: no directory on the way to them is closed."""
    found = []
    for path in (p for p in base.rglob("*") if p.is_file()):
        way = [path, *(p for p in path.parents if base in p.parents)]
        if all(p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) for p in way):
            found.append(str(path.relative_to(base)))
    return found


def test_nobody_else_can_read_what_is_written(tmp_path: Path) -> None:
    """Import with its key and spill, compaction, retention, a WAL and its drain."""
    base, env = (
        tmp_path / "base",
        {"XDG_CONFIG_HOME": str(tmp_path / "base" / "config"), "TMPDIR": str(tmp_path / "base" / "tmp")},
    )
    (base / "tmp").mkdir(parents=True)
    log = write(tmp_path / "a.log", day(60))
    for command in (["import", log, "--lake", base / "deep" / "lake"], ["lake", "compact", "--lake", base / "deep" / "lake"]):
        done = auditlens(*command, env=env)
        assert done.returncode == 0, done.stderr
    wal = Wal(base / "wal")
    wal.append(RecordHeader("lab", 1.0, "10.0.0.1"), [b"{}"]).result(10)
    wal.close()
    drain = [
        sys.executable,
        "-m",
        "auditlens.sink.drain",
        "--wal",
        base / "wal",
        "--lake",
        base / "lake",
        "--once",
        "--parent",
        str(os.getpid()),
    ]
    assert subprocess.run(drain, env=os.environ | env).returncode == 0
    files = [p for p in base.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} >= {".parquet", ".json"}
    assert _open(base) == []
    for lake in (base / "lake", base / "deep" / "lake"):
        assert stat.S_IMODE(lake.stat().st_mode) == 0o700
        assert Lake(lake).readers() is None


def test_what_questions_spill_is_private() -> None:
    spill = Path(engine._spill())
    assert stat.S_IMODE(spill.stat().st_mode) == 0o700


def test_a_lake_that_was_opened_to_a_group_stays_open_and_that_is_said(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    lake.chmod(0o750)
    assert auditlens("import", write(tmp_path / "a.log", day(10)), "--lake", lake).returncode == 0
    assert stat.S_IMODE(lake.stat().st_mode) == 0o750
    assert b"its group can read this lake (mode 750)" in auditlens("lake", "info", "--lake", lake).stderr
    lake.chmod(0o755)
    assert b"everybody on this machine can read this lake" in auditlens("lake", "verify", "--lake", lake).stderr
    lake.chmod(0o700)
    assert b"can read this lake" not in auditlens("lake", "info", "--lake", lake).stderr
