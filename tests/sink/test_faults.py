"""Whatever dies, fills up or breaks: no acknowledged event is lost, none is there twice."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from auditlens.sink.wal import RecordHeader, Segment, Wal, WalRecord

from .helpers import Sink, batch, event, post, retried


def _requests(sender: int, number: int, size: int) -> bytes:
    """A batch with both stages of requests; every audit id is used by two users."""
    return batch(
        [
            event(f"{sender}-{number}-{n}", stage, user)
            for n in range(size)
            for user in ("alice", "bob")
            for stage in ("RequestReceived", "ResponseComplete")
        ]
    )


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_killed_at_random_moments_under_load_nothing_is_lost_or_doubled(tmp_path: Path, kills: int) -> None:
    """The sender repeats as the apiserver does; the sink is killed with SIGKILL, its drain with it."""
    sink = Sink(tmp_path, seal_after=0.1)
    current = [sink]
    done = threading.Event()
    sent = [0] * 3

    def send(sender: int) -> None:
        while not done.is_set():
            retried(lambda: current[0].address, _requests(sender, sent[sender], 5))
            sent[sender] += 1
            time.sleep(0.01)

    senders = [threading.Thread(target=send, args=(k,)) for k in range(len(sent))]
    for thread in senders:
        thread.start()
    choice = random.Random(20261123)
    for _ in range(kills):
        time.sleep(choice.uniform(0.05, 1.2))
        current[0].kill()
        current[0] = Sink(tmp_path, seal_after=0.1)
    done.set()
    for thread in senders:
        thread.join()
    with current[0] as last:
        last.wait_empty(300)
        total, different = last.sql("select count(*), count(distinct (audit_id, stage, username)) from audit").row(0)
        assert different == sum(sent) * 20, "acknowledged events are missing"
        assert total == different, "events are there twice"
        assert sum(sent) > kills / 2
        off = "sum(records) - sum(rows['audit']) - sum(duplicates) - sum(rejects)"
        assert last.sql(f"select {off} as off from imports")["off"][0] == 0


@pytest.fixture(scope="session")
def power_cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler for the LD_PRELOAD shim")
    library = tmp_path_factory.mktemp("shim") / "power_cut.so"
    source = Path(__file__).with_name("power_cut.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def _cut_power(wal: Path, log: Path) -> int:
    """Make the directory what a disk would hold that lost everything not synced; returns the bytes lost."""
    sizes: dict[int, int] = {}
    names: dict[int, str] = {}
    inode = wal.stat().st_ino
    for line in log.read_text().splitlines():
        kind, *rest = line.split(" ", 3)
        if kind == "F":
            sizes[int(rest[0])] = int(rest[1])
        elif kind == "D" and int(rest[0]) == inode:
            names = {}
        elif kind == "N" and int(rest[0]) == inode:
            names[int(rest[1])] = rest[2]
    lost = 0
    for path in [p for p in wal.iterdir() if p.is_file() and p.name != "lock"]:
        stat = path.stat()
        if stat.st_ino not in names:
            lost += stat.st_size
            path.unlink()
            continue
        keep = sizes.get(stat.st_ino, 0)
        lost += max(stat.st_size - keep, 0)
        os.truncate(path, min(keep, stat.st_size))
        path.rename(wal / names[stat.st_ino])  # a rename without a sync of the directory may be undone
    return lost


@pytest.mark.parametrize("synced", [True, False], ids=["as it is", "counter-check: without its syncs"])
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path, power_cut: Path, synced: bool) -> None:
    log = tmp_path / "synced"
    env = {"LD_PRELOAD": str(power_cut), "POWER_CUT_LOG": str(log)} | ({} if synced else {"NO_SYNC": "1"})
    sink = Sink(tmp_path, env=env, seal_after=0.2)
    acknowledged: list[str] = []

    def send(sender: int) -> None:
        for n in range(10_000):
            try:
                if post(sink.address, batch([event(f"{sender}-{n}", extra="x" * 2000)]))[0] != 200:
                    return
            except (OSError, http.client.HTTPException):
                return
            acknowledged.append(f"{sender}-{n}")

    threads = [threading.Thread(target=send, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    sink.kill()
    for thread in threads:
        thread.join()
    assert len(acknowledged) > 20
    _cut_power(sink.wal, log)
    if not synced:
        kept = [Segment.of(p) for p in sink.wal.iterdir() if p.suffix in (".open", ".seg")]
        left = [e for s in kept for e in s.records(s.read(), Sink.vault(tmp_path)) if isinstance(e, WalRecord)]
        assert len(left) < len(acknowledged), "the shim did not lose anything"
        return
    with Sink(tmp_path) as again:
        again.wait_empty()
        stored = again.sql("select audit_id from audit")["audit_id"].to_list()
        assert set(acknowledged) <= set(stored)
        assert len(stored) == len(set(stored))


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    """A file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("a small file system can only be mounted by root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_refuses_what_it_cannot_keep_and_recovers_by_itself(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * (6 << 20))
    acknowledged, refused = [], 0
    with Sink(tmp_path, wal_dir=small_disk / "wal", min_free=0, seal_after=30) as sink:
        for n in range(12):
            status, headers, _ = post(sink.address, batch([event(f"a{n}", extra="x" * 400_000)]))
            if status == 200:
                acknowledged.append(f"a{n}")
            else:
                assert (status, headers["retry-after"]) == (503, "10")
                refused += 1
        assert refused
        assert acknowledged
        (small_disk / "filler").unlink()
        retried(lambda: sink.address, batch([event("after")]))
        sink.stop()
        assert "No space left" in sink.log.read_text()
    with Sink(tmp_path, wal_dir=small_disk / "wal", min_free=0) as sink:
        sink.wait_empty()
        stored = sink.sql("select audit_id from audit")["audit_id"].to_list()
        assert sorted(stored) == sorted(set(stored))
        assert {*acknowledged, "after"} <= set(stored)


def test_over_its_limits_it_says_so_before_it_reads_a_body(tmp_path: Path) -> None:
    with Sink(tmp_path, wal_limit=200_000, lake="/proc/nowhere") as sink:  # a lake that cannot be written
        answers = [post(sink.address, batch([event(f"{n}", extra="x" * 50_000)])) for n in range(8)]
        codes = [status for status, _, _ in answers]
        assert codes[0] == 200
        assert codes[-1] == 503
        assert "its limit is 200000" in answers[-1][2]
        deadline = time.monotonic() + 20
        while sink.get("/readyz")[0] != 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert sink.get("/healthz")[0] == 200
        while sink.metric("drain_failures_total") == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    lake = tmp_path / "better"
    with Sink(tmp_path, lake=str(lake)) as sink:
        sink.lake = lake
        sink.wait_empty()
        assert sink.sql("select count(*) as n from audit")["n"][0] == codes.count(200)


def test_a_drain_that_makes_no_progress_closes_the_door(tmp_path: Path) -> None:
    with Sink(tmp_path, lake="/proc/nowhere", stuck_after=1) as sink:
        assert sink.post(batch([event("kept")])) == 200
        deadline = time.monotonic() + 20
        while sink.get("/readyz")[0] == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert sink.post(batch([event("refused")])) == 503
        assert "has not finished anything" in sink.get("/readyz")[1]


@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "in clear"])
def test_a_damaged_or_truncated_segment_costs_only_the_bodies_it_hit(tmp_path: Path, encrypted: bool) -> None:
    wal = Wal(tmp_path / "wal", vault=Sink.vault(tmp_path) if encrypted else None)
    for n in range(6):
        wal.append(RecordHeader("lab", 1.0, "10.0.0.1"), [batch([event(f"{n}")])]).result(10)
    wal.close()
    (path,) = (tmp_path / "wal").glob("*.seg")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[:-10])
    with Sink(tmp_path) as sink:
        sink.wait_empty()
        assert sorted(sink.sql("select audit_id from audit")["audit_id"]) in (["0", "1", "2", "4"], ["0", "1", "3", "4"])
        assert all("damaged" in r for r in sink.sql("select reason from rejects")["reason"])
        assert sink.sql("select lines, records, rows['audit'] as n, rejects from imports").row(0) == (6, 6, 4, 2)


def test_a_segment_that_comes_back_after_its_import_is_not_imported_again(tmp_path: Path) -> None:
    with Sink(tmp_path, seal_after=30) as sink:
        sink.post(batch([event("once")]))
        sink.process.terminate()
        saved = tmp_path / "saved"
        while not list(sink.wal.glob("*.seg")):
            time.sleep(0.001)
        segment = next(sink.wal.glob("*.seg"))
        try:
            shutil.copy(segment, saved)
        except FileNotFoundError:
            pytest.skip("the drain was faster than the copy")
        sink.process.wait(60)
    shutil.copy(saved, segment)
    with Sink(tmp_path) as sink:
        sink.wait_empty()
        assert sink.sql("select count(*) as n from audit")["n"][0] == 1
        assert sink.sql("select count(*) as n from imports")["n"][0] == 1


def test_two_sinks_with_one_wal_are_refused(tmp_path: Path) -> None:
    with Sink(tmp_path) as sink:
        with pytest.raises(RuntimeError, match="another sink is using this WAL"):
            Sink(tmp_path)
        assert sink.post(b"{}") == 200


def test_a_crashed_drain_is_started_again_and_a_clock_that_jumps_does_not_matter(tmp_path: Path) -> None:
    with Sink(tmp_path) as sink:
        for n in range(3):
            sink.post(batch([event(f"{n}", requestReceivedTimestamp=f"20{10 + 30 * n}-01-01T00:00:00.000000Z")]))
            tasks = Path(f"/proc/{sink.process.pid}/task").iterdir()
            for child in [c for t in tasks for c in (t / "children").read_text().split()]:
                os.kill(int(child), 9)
            os.utime(next(sink.wal.glob("sink.json")), (0, 0))
        sink.wait_empty()
        assert sink.sql("select count(*) as n from audit")["n"][0] == 3
        assert "starting it again" in sink.log.read_text()


def test_sigterm_ends_in_bounded_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Sink(tmp_path) as sink:
        for n in range(20):
            sink.post(batch([event(f"{n}")]))
        assert sink.stop() < 25
        assert not list(sink.wal.glob("*.seg")) + list(sink.wal.glob("*.open"))
        assert sink.sql("select count(*) as n from audit")["n"][0] == 20
    with Sink(tmp_path, lake="/proc/nowhere", grace=2) as sink:
        sink.post(batch([event("later")]))
        assert sink.stop() < 15
        assert "1 segments are left for the next start" in sink.log.read_text()
