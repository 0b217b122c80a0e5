"""However often, in whatever order and through whatever crash the same events come in, the tables are the same."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import (
    CAPTURES,
    EVIDENCE,
    Tables,
    accounted,
    assert_same,
    auditlens,
    content,
    day,
    event,
    imported,
    needs_captures,
    rows,
    tables,
    text,
    when,
    write,
)

from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact, verify

# What each source added depends on which came first.
SHARES = frozenset({"rows", "derived", "duplicates"})

# Processes that import start from one that has its libraries loaded already.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["auditlens.importing.files.run", "auditlens.importing.webhook.segment", "auditlens.lake.maintenance", "polars"]
)


@pytest.fixture(params=[False, True], ids=["", "compacted"])
def between(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """What happens between two imports: nothing, or `lake compact`."""
    return (lambda lake: compact(Lake(lake)) and None) if request.param else (lambda lake: None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(tmp_path / "logs" / "audit.log", day(400))


def test_a_file_imported_twice_is_there_once(tmp_path: Path, log: Path, between: Callable[[Path], None]) -> None:
    lake = tmp_path / "lake"
    imported(lake, log)
    expected = tables(lake)
    between(lake)
    again = imported(lake, log)
    assert again.total()["duplicates"] == again.total()["records"] == 400
    assert again.total()["rows"]["audit"] == 0
    assert_same(tables(lake), expected)


@pytest.mark.parametrize("compression", ["gz", "zst", "bz2", "xz"])
def test_a_plain_file_after_its_compressed_self_adds_nothing(tmp_path: Path, log: Path, compression: str) -> None:
    import bz2
    import gzip
    import lzma

    import zstandard

    pack = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}[compression]
    packed = write(tmp_path / f"audit.log.{compression}", b"")
    packed.write_bytes(pack(log.read_bytes()))
    one, other = tmp_path / "one", tmp_path / "other"
    imported(one, packed)
    expected = tables(one)
    assert imported(one, log).total()["duplicates"] == 400
    assert_same(tables(one), expected)
    imported(other, log)
    assert imported(other, packed).total()["duplicates"] == 400
    assert_same(tables(other, without=EVIDENCE), tables(one, without=EVIDENCE), only=("audit", "audit_objects"))


def test_the_same_content_under_two_names_in_one_import_is_there_once(tmp_path: Path, log: Path) -> None:
    lake = tmp_path / "lake"
    copy = write(tmp_path / "logs" / "copy.log.gz", log.read_bytes())
    report = imported(lake, log, copy)
    assert (report.total()["rows"]["audit"], report.total()["duplicates"]) == (400, 400)
    assert rows(lake, "select count(*), count(distinct audit_id) from audit") == [(400, 400)]


def test_two_overlapping_files_give_the_same_tables_in_either_order(tmp_path: Path, between: Callable[[Path], None]) -> None:
    events = list(day(300))
    a = write(tmp_path / "a.log", events[:200])
    b = write(tmp_path / "b.log", events[100:])
    for order in ((a, b), (b, a)):
        lake = tmp_path / f"lake-{order[0].stem}"
        for path in order:
            imported(lake, path)
            between(lake)
    one, other = tables(tmp_path / "lake-a"), tables(tmp_path / "lake-b")
    assert len(one["audit"]) == 300
    assert_same(one, other, only=("audit", "audit_objects", "rejects"))
    assert_same(tables(tmp_path / "lake-a", without=SHARES), tables(tmp_path / "lake-b", without=SHARES))


def test_overlapping_files_in_one_batch_are_the_same_as_one_after_the_other(tmp_path: Path) -> None:
    events = list(day(120))
    paths = [write(tmp_path / f"{i}.log", events[i * 20 : i * 20 + 60]) for i in range(4)]
    imported(tmp_path / "together", *paths)
    for path in paths:
        imported(tmp_path / "apart", path)
    assert len(tables(tmp_path / "apart")["audit"]) == 120
    assert_same(tables(tmp_path / "together"), tables(tmp_path / "apart"))


@pytest.mark.parametrize("richer_first", [True, False])
def test_of_copies_of_an_event_the_richest_stays(tmp_path: Path, richer_first: bool, between: Callable[[Path], None]) -> None:
    poor = write(tmp_path / "metadata.log", [event(n, level="Metadata", responseObject=None) for n in range(20)])
    twin = write(tmp_path / "metadata-again.log", [event(n, level="Metadata") for n in range(10, 25)])
    rich = write(tmp_path / "full.log", [event(n, responseObject={"kind": "ConfigMap"}) for n in range(5, 20)])
    lake = tmp_path / "lake"
    for path in (rich, poor, twin) if richer_first else (poor, twin, rich):
        imported(lake, path)
        between(lake)
    levels = "select level, count(*), count(response_object) from audit group by 1 order by 1"
    assert rows(lake, levels) == [("Metadata", 10, 0), ("RequestResponse", 15, 15)]
    assert rows(lake, "select count(*) from audit_objects where via = 'ref'") == [(25,)]


def test_two_users_under_one_audit_id_stay_two(tmp_path: Path, between: Callable[[Path], None]) -> None:
    shared = [event(1, auditID="dup-id", user={"username": u}, stageTimestamp=when(1)) for u in ("alice", "bob")]
    lake = tmp_path / "lake"
    imported(lake, write(tmp_path / "a.log", shared))
    between(lake)
    imported(lake, write(tmp_path / "b.log", [*reversed(shared), event(2)]))
    assert rows(lake, "select username from audit where audit_id = 'dup-id' order by 1") == [("alice",), ("bob",)]


@pytest.mark.parametrize("field", ["stage", "verb", "requestURI", "sourceIPs", "code", "received", "staged"])
def test_events_that_differ_in_what_they_are_stay_two(tmp_path: Path, field: str) -> None:
    other = {
        "stage": {"stage": "Panic"},
        "verb": {"verb": "list"},
        "requestURI": {"requestURI": "/version"},
        "sourceIPs": {"sourceIPs": ["192.0.2.8"]},
        "code": {"responseStatus": {"metadata": {}, "code": 404}},
        "received": {"requestReceivedTimestamp": when(0.5)},
        "staged": {"stageTimestamp": when(3)},
    }[field]
    imported(tmp_path / "lake", write(tmp_path / "a.log", [event(1), event(1, **other)]))
    imported(tmp_path / "lake", write(tmp_path / "b.log", [event(1, **other), event(9)]))
    assert rows(tmp_path / "lake", "select count(*) from audit") == [(3,)]


def test_an_event_that_stands_twice_in_a_file_is_a_duplicate(tmp_path: Path, between: Callable[[Path], None]) -> None:
    lake = tmp_path / "lake"
    report = imported(lake, write(tmp_path / "a.log", [event(1), event(2), event(1), event(1)]))
    assert (report.total()["rows"]["audit"], report.total()["duplicates"]) == (2, 2)
    between(lake)
    assert rows(lake, "select audit_id[-1:], line from audit order by all") == [("1", 1), ("2", 2)]


def test_the_same_events_of_two_clusters_stay_apart(tmp_path: Path, log: Path) -> None:
    lake = tmp_path / "lake"
    imported(lake, log, cluster="east")
    assert imported(lake, log, cluster="west").total()["rows"]["audit"] == 400
    assert rows(lake, "select cluster, count(*) from audit group by 1 order by 1") == [("east", 400), ("west", 400)]


def test_a_file_that_grew_adds_what_is_new(tmp_path: Path, between: Callable[[Path], None]) -> None:
    data, lake = text(*day(90)), tmp_path / "lake"
    live = tmp_path / "audit.log"
    for part in (data[: len(data) // 3], data[: len(data) // 2], data):  # torn in the middle of a line
        write(live, part)
        imported(lake, live)
        between(lake)
    write(tmp_path / "whole" / "audit.log", data)
    imported(tmp_path / "once", tmp_path / "whole" / "audit.log")
    assert_same(tables(lake, without=EVIDENCE), tables(tmp_path / "once", without=EVIDENCE), only=("audit", "audit_objects"))


def test_a_line_torn_anywhere_is_replaced_by_the_whole_line(tmp_path: Path) -> None:
    first, last = text(event(1)), text(event(2, requestObject={"kind": "ConfigMap", "data": {"a": "b"}}))
    lake, live = tmp_path / "lake", tmp_path / "audit.log"
    for cut in range(20, len(last), 97):
        imported(lake, write(live, first + last[:cut]))
    imported(lake, write(live, first + last))
    assert rows(lake, "select audit_id[-1:], partial, request_object is null from audit order by all") == [
        ("1", False, True),
        ("2", False, False),
    ]


def test_the_first_half_before_the_whole_gives_the_tables_of_the_whole(tmp_path: Path, between: Callable[[Path], None]) -> None:
    events, lake = list(day(200)), tmp_path / "lake"
    imported(lake, write(tmp_path / "half.log", events[:100]))
    between(lake)
    imported(lake, write(tmp_path / "logs" / "audit.log", events))
    imported(tmp_path / "once", tmp_path / "logs" / "audit.log")
    assert_same(
        tables(lake, without=EVIDENCE), tables(tmp_path / "once", without=EVIDENCE), only=("audit", "audit_objects", "rejects")
    )


def test_a_webhooks_list_beside_the_log_adds_nothing(tmp_path: Path, between: Callable[[Path], None]) -> None:
    events, lake = list(day(60)), tmp_path / "lake"
    items = [{k: v for k, v in e.items() if k not in ("kind", "apiVersion")} for e in events]
    posted = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}
    imported(lake, write(tmp_path / "audit.log", events))
    expected = tables(lake, without=EVIDENCE)
    between(lake)
    report = imported(lake, write(tmp_path / "posted.json", json.dumps(posted).encode() + b"\n"))
    assert (report.total()["items"], report.total()["duplicates"]) == (60, 60)
    assert_same(tables(lake, without=EVIDENCE), expected, only=("audit", "audit_objects"))


@needs_captures
def test_the_webhooks_requests_and_the_audit_file_of_one_apiserver_give_the_same_tables_in_any_order(tmp_path: Path) -> None:
    folder = CAPTURES / "webhook" / "defaults"
    for name, order in {"posted": ("raw", "audit.log.gz"), "written": ("audit.log.gz", "raw")}.items():
        for part in order:
            imported(tmp_path / name, folder / part)
            if name == "posted":
                compact(Lake(tmp_path / name))
    assert_same(tables(tmp_path / "posted", without=SHARES), tables(tmp_path / "written", without=SHARES))
    imported(tmp_path / "file", folder / "audit.log.gz")
    expected = tables(tmp_path / "file", without=EVIDENCE)
    assert_same(tables(tmp_path / "posted", without=EVIDENCE), expected, only=("audit", "audit_objects"))
    assert len(expected["audit"]) == len(content(folder / "audit.log.gz").splitlines())


@needs_captures
def test_a_capture_in_pieces_and_copies_gives_the_tables_of_the_whole(tmp_path: Path) -> None:
    lines = content(CAPTURES / "v4-omit-received" / "audit.log.gz").splitlines(keepends=True)
    whole = write(tmp_path / "whole.log", b"".join(lines))
    half = write(tmp_path / "half.log.gz", b"".join(lines[: len(lines) // 2]))
    mixed = write(tmp_path / "mixed.log", b"".join(random.Random(7).sample(lines, len(lines) // 2)))
    for name, order in {"a": (half, whole, mixed), "b": (mixed, whole, half)}.items():
        for path in order:
            imported(tmp_path / name, path)
            compact(Lake(tmp_path / name)) if path == whole else None
    imported(tmp_path / "once", whole)
    expected = tables(tmp_path / "once", without=EVIDENCE)
    assert len(expected["audit"]) == len(lines)
    for name in ("a", "b"):
        assert_same(tables(tmp_path / name, without=EVIDENCE), expected, only=("audit", "audit_objects", "rejects"))
    assert_same(tables(tmp_path / "a"), tables(tmp_path / "b"), only=("audit", "audit_objects"))


# Several processes


def run_all(*calls: tuple[Callable[..., object], tuple[object, ...]]) -> None:
    """Run each call in a process of its own, all at once; none may fail."""
    processes = [FORKS.Process(target=target, args=args) for target, args in calls]
    for p in processes:
        p.start()
    for p in processes:
        p.join(120)
    assert [p.exitcode for p in processes] == [0] * len(processes)


def test_processes_that_import_the_same_file_at_once_import_it_once(tmp_path: Path, log: Path) -> None:
    packed = write(tmp_path / "audit.log.gz", log.read_bytes())
    run_all(*[(import_files, ([p], tmp_path / "lake")) for p in (log, packed, log, packed)])
    accounted(tmp_path / "lake")
    imported(tmp_path / "once", log)
    assert_same(
        tables(tmp_path / "lake", without=EVIDENCE), tables(tmp_path / "once", without=EVIDENCE), only=("audit", "audit_objects")
    )
    assert rows(tmp_path / "lake", "select count(*) from imports") == [(1,)]
    assert not verify(Lake(tmp_path / "lake")).height


def test_processes_that_import_overlapping_sets_of_files_at_once_import_each_once(tmp_path: Path) -> None:
    events = list(day(320))
    files = [write(tmp_path / f"{i}.log", events[i * 40 : i * 40 + 80]) for i in range(7)]
    sets = [files[:3], files[2:5], files[4:], files, files[::2]]
    run_all(*[(import_files, (chosen, tmp_path / "lake")) for chosen in sets])
    accounted(tmp_path / "lake")
    imported(tmp_path / "once", *files)
    assert_same(tables(tmp_path / "lake", without=SHARES), tables(tmp_path / "once", without=SHARES))
    compact(Lake(tmp_path / "lake"))
    assert_same(tables(tmp_path / "lake", without=SHARES), tables(tmp_path / "once", without=SHARES))


# Crashes


def _import_until(point: int, after: bool, paths: Sequence[Path], lake: Path) -> None:
    """Import, but die at the `point`-th commit: before it, or when it is done and nobody knows."""
    import os

    count, commit = 0, Lake.commit

    def dying(self: Lake, *args: object, **more: object) -> bool:
        nonlocal count
        count += 1
        if count == point and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = commit(self, *args, **more)  # type: ignore[arg-type]
        if count == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Lake.commit = dying  # type: ignore[method-assign,assignment]
    import_files(paths, lake)


def _killed(target: Callable[..., object], args: tuple[object, ...], *, after: float | None = None) -> bool:
    """Run in a process; killed after some seconds, if that is said. Whether it was killed."""
    process = FORKS.Process(target=target, args=args)
    process.start()
    if after is not None:
        time.sleep(after)
        process.kill()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Tables]:
    """Files that overlap and repeat one another, in several batches; and a lake they were imported to in peace."""
    root = tmp_path_factory.mktemp("sources")
    events = list(day(1500))
    big = [e | {"responseObject": {"kind": "ConfigMap", "data": {"x": random.Random(i).randbytes(3500).hex()}}}
           for i, e in enumerate(events[900:])]  # fmt: skip
    paths = [
        write(root / "a.log", events[:300]),
        write(root / "b.log", [*events[200:400], *events[200:220]]),
        write(root / "c.log", b"not an event\n" + text(*events[380:500]) + text(event(7))[:200] + b"\n"),
        write(root / "large.log", big),
        write(root / "z.log", [*events[900:1100]]),
    ]
    assert paths[3].stat().st_size > 4 << 20  # a batch of its own
    imported(root / "lake", *paths)
    return paths, tables(root / "lake")


def finished_as_if_nothing_had_happened(lake: Path, paths: Sequence[Path], reference: Tables) -> None:
    if Lake(lake).exists():  # readable before, and nothing half there
        accounted(lake)
        assert not set(verify(Lake(lake))["problem"]) & {"missing", "changed"}
    imported(lake, *paths)
    assert_same(tables(lake), reference)


@pytest.mark.parametrize(("point", "after"), [*((n, False) for n in range(1, 9)), (4, True), (5, True), (8, True)])
def test_killed_at_a_commit_the_same_command_finishes_the_job(
    tmp_path: Path, sources: tuple[list[Path], Tables], point: int, after: bool
) -> None:
    paths, reference = sources
    assert _killed(_import_until, (point, after, paths, tmp_path / "lake"))
    if point % 2:  # an attempt that was killed does not disturb a compaction, nor it the next attempt
        compact(Lake(tmp_path / "lake"))
    finished_as_if_nothing_had_happened(tmp_path / "lake", paths, reference)
    if point % 4 == 0:
        compact(Lake(tmp_path / "lake"))
        assert_same(tables(tmp_path / "lake"), reference)


def _kill_at_random_points(times: int, seed: int, folder: Path, paths: list[Path], reference: Tables) -> None:
    started = time.monotonic()
    assert not _killed(import_files, (paths, folder / "whole"))
    takes, dice, killed = time.monotonic() - started, random.Random(seed), 0
    for i in range(times):
        lake = folder / str(i)
        killed += _killed(import_files, (paths, lake), after=dice.uniform(0.1, 1) * takes)
        if dice.random() < 0.3:
            _killed(import_files, (paths, lake), after=dice.uniform(0.1, 1) * takes)
        finished_as_if_nothing_had_happened(lake, paths, reference)
        shutil.rmtree(lake)
    assert killed > times / 3


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_points_the_same_command_finishes_the_job(
    tmp_path: Path, sources: tuple[list[Path], Tables], seed: int
) -> None:
    _kill_at_random_points(10, seed, tmp_path, *sources)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_very_many_random_points_the_same_command_finishes_the_job(
    tmp_path: Path, sources: tuple[list[Path], Tables]
) -> None:
    _kill_at_random_points(150, 4711, tmp_path, *sources)


@pytest.mark.parametrize("point", [2, 3, 4])
def test_killed_and_then_imported_with_other_files_nothing_is_lost(tmp_path: Path, point: int) -> None:
    events = list(day(100))
    a, b = write(tmp_path / "a.log", events[:40]), write(tmp_path / "b.log", events[30:70])
    assert _killed(_import_until, (point, False, [a, b], tmp_path / "lake"))
    c = write(tmp_path / "c.log", events[60:])
    for chosen in ([b], [a, b, c]):
        imported(tmp_path / "lake", *chosen)
    imported(tmp_path / "once", a, b, c)
    assert_same(tables(tmp_path / "lake", without=SHARES), tables(tmp_path / "once", without=SHARES))
    compact(Lake(tmp_path / "lake"))
    assert_same(tables(tmp_path / "lake", without=SHARES), tables(tmp_path / "once", without=SHARES))


def test_killed_and_then_grown_the_file_is_there_once(tmp_path: Path) -> None:
    events, lake = list(day(100)), tmp_path / "lake"
    live = write(tmp_path / "audit.log", events[:60])
    assert _killed(_import_until, (3, False, [live], lake))
    write(live, events)
    imported(lake, live)
    imported(tmp_path / "once", live)
    assert_same(tables(lake), tables(tmp_path / "once"))


def test_a_pipe_whose_import_was_killed_is_there_once(tmp_path: Path) -> None:
    data, lake = text(*day(80)), tmp_path / "lake"
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "from test_exactly_once import _import_until; _import_until(3, False, ['-'], Path(sys.argv[2]))"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent), str(lake)], input=data, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert auditlens("import", "-", "--lake", lake, stdin=data).returncode == 0
    accounted(lake)
    assert rows(lake, "select count(*), count(distinct audit_id) from audit") == [(80, 80)]
    assert json.loads(auditlens("import", "-", "--lake", lake, "-o", "json", stdin=data).stdout)["duplicates"] == 80


def test_interrupted_by_ctrl_c_the_lake_is_readable_and_the_same_command_finishes(
    tmp_path: Path, sources: tuple[list[Path], Tables]
) -> None:
    paths, reference = sources
    for delay in (0, 0.15, 0.4):  # since it began to write
        lake = tmp_path / str(delay)
        process = subprocess.Popen(
            [sys.executable, "-m", "auditlens", "import", *map(str, paths), "--lake", str(lake)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not list(lake.glob("_staging/*/*")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 130)
        assert b"Traceback" not in err
        if process.returncode:
            assert b"interrupted" in err
            assert not list((lake / "_staging").glob("*"))
        finished_as_if_nothing_had_happened(lake, paths, reference)
