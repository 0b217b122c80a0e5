"""A followed file's lines are in the lake once each, whatever is done to the file and to the follower."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlens import engine
from auditlens.importing.files.follow import follow
from auditlens.importing.files.tail import Tail

_PROGRAM = """
import json, sys
from auditlens.importing.files.follow import follow
options = json.loads(sys.argv[1])
follow(options.pop("paths"), options.pop("lake"), redact=False, say=lambda t: print(t, file=sys.stderr, flush=True), **options)
"""


def line(n: int, **more: Any) -> str:
    """An event of the log backend, every one different."""
    event = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": f"id-{n}", "stage": "ResponseComplete",
        "requestURI": "/api/v1/pods", "verb": "list", "user": {"username": "alice"}, "sourceIPs": ["10.0.0.1"],
        "objectRef": {"resource": "pods", "apiVersion": "v1"}, "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z", "stageTimestamp": "2026-11-23T10:00:00.000000Z", **more,
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":")) + "\n"


class Follower:
    """follow() in a process of its own, to be killed."""

    def __init__(self, paths: list[Path], lake: Path) -> None:
        options = {"paths": [str(p) for p in paths], "lake": str(lake), "poll": 0.05, "wait": 0.2}
        self.log = lake.with_suffix(".log")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, json.dumps(options)], stderr=log)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def following(lake: Path) -> Iterator[Callable[..., None]]:
    """Start a follower in a thread; it is stopped, and has read everything, before the next one or the end."""
    running: list[tuple[threading.Thread, threading.Event]] = []

    def stop() -> None:
        while running:
            thread, event = running.pop()
            event.set()
            thread.join(60)
            assert not thread.is_alive()

    def start(*paths: Path, **more: Any) -> Callable[[], None]:
        stop()
        event = threading.Event()
        options = {"redact": False, "poll": 0.05, "wait": 0.1, "stop": event} | more
        thread = threading.Thread(target=follow, args=(paths, lake), kwargs=options)
        thread.start()
        running.append((thread, event))
        return stop

    yield start  # type: ignore[misc]
    stop()


def stored(lake: Path) -> list[str]:
    try:
        return engine.sql(str(lake), "select audit_id from audit order by import_id, line")["audit_id"].to_list()
    except Exception:  # the lake is being made
        return []


def wait_for(lake: Path, count: int, timeout: float = 60) -> list[str]:
    end = time.monotonic() + timeout
    while len(found := stored(lake)) < count:
        assert time.monotonic() < end, f"{len(found)} of {count}"
        time.sleep(0.1)
    return found


def check(lake: Path, count: int) -> None:
    found = stored(lake)
    assert sorted(found) == sorted({f"id-{n}" for n in range(count)})
    sums = "sum(lines), sum(records - items + continuations + blanks), sum(records), sum(rows['audit'] + duplicates + rejects), sum(duplicates)"
    lines, accounted, records, fates, duplicates = engine.sql(str(lake), f"select {sums} from imports").row(0)
    assert (lines, records, duplicates) == (accounted, fates, 0)


@pytest.mark.parametrize(
    ("rotations", "rate", "restarts"),
    [(5, 2_000, 4), pytest.param(20, 10_000, 30, marks=pytest.mark.slow)],
    ids=["short", "long"],
)
def test_every_line_once_across_rotation_and_kills_at_random(
    tmp_path: Path, lake: Path, rotations: int, rate: int, restarts: int
) -> None:
    """Half of the rotated files are compressed a moment later, some are deleted once they are in the lake."""
    logs = tmp_path / "logs"
    logs.mkdir()
    live = logs / "audit.log"
    written = 0
    finished = threading.Event()

    def write() -> None:
        nonlocal written
        late: list[Path] = []
        for k in range(rotations + 1):
            with live.open("a") as out:
                began = time.monotonic()
                for n in range(rate):
                    out.write(line(written))
                    written += 1
                    if n % 100 == 0:
                        out.flush()
                        time.sleep(max(began + n / rate - time.monotonic(), 0))
            if k < rotations:
                rotated = logs / f"audit-2026-11-23T10-00-{k:02}.000.log"
                live.rename(rotated)
                for old in late:
                    draft = logs / f".{old.name}.gz"
                    draft.write_bytes(gzip.compress(old.read_bytes(), 1))
                    draft.rename(logs / f"{old.name}.gz")
                    old.unlink()
                late = [rotated] if k % 2 else []
        finished.set()

    writer = threading.Thread(target=write)
    follower = Follower([live], lake)
    writer.start()
    choice = random.Random(20261123)
    for _ in range(restarts):
        time.sleep(choice.uniform(0.2, 1.5))
        follower.kill()
        follower = Follower([live], lake)
    writer.join()
    try:
        wait_for(lake, written, timeout=240)
        time.sleep(1)
    finally:
        follower.kill()
    check(lake, written)
    assert finished.is_set()


def test_lines_are_numbered_on_across_restarts_and_only_whole_ones_are_read(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    live.write_text(line(0) + line(1) + line(2)[:50])
    following(live)
    wait_for(lake, 2)
    stop = following(live)
    time.sleep(0.5)
    with live.open("a") as f:
        f.write(line(2)[50:] + "\n" + line(3))
    wait_for(lake, 4)
    stop()
    check(lake, 4)
    rows = engine.sql(str(lake), "select source, line from audit order by line").rows()
    assert rows == [(str(live), 1), (str(live), 2), (str(live), 3), (str(live), 5)]
    assert engine.sql(str(lake), "select sum(blanks) as n from imports")["n"][0] == 1


@pytest.mark.parametrize("longer", [False, True], ids=["shorter", "longer than before"])
def test_a_truncated_file_is_read_from_its_start(tmp_path: Path, lake: Path, following: Any, longer: bool) -> None:
    live = tmp_path / "audit.log"
    live.write_text("".join(line(n) for n in range(5)))
    following(live)
    wait_for(lake, 5)
    live.write_text("".join(line(n) for n in range(5, 15 if longer else 7)))
    wait_for(lake, 15 if longer else 7)
    check(lake, 15 if longer else 7)


def test_copy_and_truncate_loses_nothing_that_was_copied(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    live.write_text("".join(line(n) for n in range(5)))
    following(live)
    wait_for(lake, 5)
    with live.open("a") as f:  # written, copied and cut before the follower can look
        f.write("".join(line(n) for n in range(5, 9)))
    (tmp_path / "audit.log.1").write_bytes(live.read_bytes())
    os.truncate(live, 0)
    with live.open("a") as f:
        f.write(line(9))
    wait_for(lake, 10)
    check(lake, 10)


def test_a_deleted_file_is_read_to_its_end_and_its_torn_line_too(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    with live.open("w") as f:
        f.write(line(0))
        f.flush()
        following(live)
        wait_for(lake, 1)
        live.unlink()
        f.write(line(1) + line(2)[:-30])
    wait_for(lake, 3)
    partial = dict(engine.sql(str(lake), "select audit_id, partial from audit").rows())
    assert partial == {"id-0": False, "id-1": False, "id-2": True}
    live.write_text(line(3))
    wait_for(lake, 4)


def test_a_compressed_file_that_comes_late_adds_only_what_was_not_read(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    live.write_text("".join(line(n) for n in range(5)))
    stop = following(live)
    wait_for(lake, 5)
    stop()
    text = "".join(line(n) for n in range(8))
    live.unlink()
    (tmp_path / "audit-2026-11-23T10-00-00.000.log.gz").write_bytes(gzip.compress(text.encode()))
    live.write_text(line(8))
    stop = following(live)
    wait_for(lake, 9)
    stop()
    check(lake, 9)


def test_an_entry_over_several_lines_is_never_cut_in_two(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    pretty = json.dumps(json.loads(line(1)), indent=2).splitlines(keepends=True)
    with live.open("w") as f:
        f.write(line(0) + "".join(pretty[:7]))
        f.flush()
        stop = following(live)
        wait_for(lake, 1)
        time.sleep(0.5)
        f.write("".join(pretty[7:]) + "\n" + line(2))
        f.flush()
        wait_for(lake, 3)
        stop()
    check(lake, 3)
    assert engine.sql(str(lake), "select count(*) as n from rejects")["n"][0] == 0


def test_what_cannot_be_read_is_rejected_and_the_rest_goes_on(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    live.write_text(line(0) + '{"kind":"Event",nonsense}\n' + line(1))
    following(live)
    wait_for(lake, 2)
    assert engine.sql(str(lake), "select line from rejects")["line"].to_list() == [2]


def test_a_directory_and_what_appears_in_it_are_followed(tmp_path: Path, lake: Path, following: Any) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    following(logs, cluster="lab")
    (logs / "a.log").write_text(line(0))
    (logs / "empty.log").write_text("")
    wait_for(lake, 1)
    (logs / "b.log").write_text(line(1))
    wait_for(lake, 2)
    assert set(engine.sql(str(lake), "select cluster from audit")["cluster"]) == {"lab"}


def test_two_followers_of_one_file_store_its_lines_once(tmp_path: Path, lake: Path, following: Any) -> None:
    live = tmp_path / "audit.log"
    live.write_text("".join(line(n) for n in range(200)))
    followers = [Follower([live], lake) for _ in range(2)]
    try:
        wait_for(lake, 200)
        time.sleep(2)
    finally:
        for follower in followers:
            follower.kill()
    found = stored(lake)
    assert len(found) == len(set(found)) == 200


def test_entries_of_a_log_that_never_rests_are_read(tmp_path: Path) -> None:
    """Only the last one of each stream waits: it may go on."""
    entry = "I1123 12:00:00.%06d       1 a.go:1] %d\n\tmore of it\n"
    plain = "".join(entry % (n, n) for n in range(4)).encode()
    wrapped = b"".join(b"2026-11-23T12:00:00.1Z stderr F " + line for line in plain.splitlines(keepends=True))
    for data, ready in ((plain, 6), (wrapped, 6), (plain + wrapped[: len(wrapped) // 4], 8)):
        (tmp_path / "a.log").write_bytes(data)
        with (tmp_path / "a.log").open("rb") as file:
            found = Tail("a.log", file, (0, 0), "").slice(False, "auto")
        assert found is not None
        assert bytes(found[0].data).count(b"\n") == ready


_HEAD = "Log file created at: 2026/11/23 10:00:00\n"


@pytest.mark.parametrize("restarts", [False, True], ids=["at once", "one after the other"])
def test_files_that_begin_alike_are_each_read(tmp_path: Path, lake: Path, following: Any, restarts: bool) -> None:
    """The first line of glog's files names a second only, that of a table its columns."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for k in range(3):
        (logs / f"{k}.log").write_text(_HEAD + "".join(line(n) for n in range(10 * k, 10 * k + 4)))
        if restarts:
            following(logs)()
    following(logs)
    wait_for(lake, 12)
    for k in range(3):
        with (logs / f"{k}.log").open("a") as f:
            f.write("".join(line(n) for n in range(10 * k + 4, 10 * k + 10)))
    wait_for(lake, 30)
    (logs / "0.log").rename(logs / "x.log")
    (logs / "1.log").rename(logs / "0.log")
    with (logs / "x.log").open("a") as f:
        f.write(line(30))
    stop = following(logs)
    wait_for(lake, 31)
    stop()
    check(lake, 31)


def test_a_file_that_was_rewritten_behind_its_first_line_is_read_from_its_start(
    tmp_path: Path, lake: Path, following: Any
) -> None:
    live = tmp_path / "audit.log"
    live.write_text(_HEAD + "".join(line(n) for n in range(5)))
    following(live)()
    live.write_text(_HEAD + "".join(line(n) for n in range(5, 15)))
    following(live)()
    check(lake, 15)
