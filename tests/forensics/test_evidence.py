"""Every row leads back to its line, whatever became of the file; and what does not is said to be gone, never another line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import auditlens
from auditlens import engine
from auditlens.forensics.evidence import evidence
from auditlens.importing import commit
from auditlens.importing.files.follow import follow
from auditlens.lake import Lake
from tests.conftest import auditlens as run
from tests.conftest import event, imported, text
from tests.sink.helpers import Sink


def lines(*numbers: int, **fields: Any) -> bytes:
    return text(*(event(n, **fields) for n in numbers))


def followed(lake: Path, *paths: Path) -> None:
    """What is there is read by a follower that ends at once."""
    stop = threading.Event()
    stop.set()
    follow(paths, lake, redact=False, stop=stop)


def told(lake: Path, of: str | None = None, **options: Any) -> list[tuple[int, str, str | None]]:
    """Of each row of the lake, or of what is named: the last digits of its audit id, its state, and today's path:line.

    Every line that is told is the row's own.
    """
    asked: Any = of or engine.sql(str(lake), "select audit_id, source, line, item from audit")
    found, _ = evidence(Lake(lake), asked, raw=True, **options)
    out = []
    for row in found:
        if row.content is not None:
            assert json.loads(row.content)["auditID"] == row.audit_id
        out.append((int((row.audit_id or "0")[-6:]), row.state, row.path and f"{Path(row.path).name}:{row.line}"))
    return sorted(out)


def renamed(log: Path) -> None:
    log.rename(log.with_name("audit-2026-11-23T10-00-00.000.log"))


def compressed(log: Path, pack: Callable[[bytes], bytes] = gzip.compress, suffix: str = ".gz") -> None:
    log.with_name(f"audit-2026-11-23T10-00-00.000.log{suffix}").write_bytes(pack(log.read_bytes()))
    log.unlink()


def renamed_twice(log: Path) -> None:
    log.rename(log.with_name("audit.log.2"))
    log.with_name("audit.log.1").write_bytes(lines(90, 91))


def copied_and_truncated(log: Path) -> None:
    shutil.copy(log, log.with_name("audit.log.1"))
    log.write_bytes(b"")


def kept_elsewhere(log: Path) -> None:
    (log.parent / "old").mkdir()
    log.rename(log.parent / "old" / "whatever.txt")


def replaced(log: Path) -> None:
    log.unlink()


FATES: dict[str, tuple[Callable[[Path], None], str, str | None]] = {
    "left alone": (lambda log: None, "there", "audit.log"),
    "renamed": (renamed, "renamed", "audit-2026-11-23T10-00-00.000.log"),
    "compressed": (compressed, "renamed", "audit-2026-11-23T10-00-00.000.log.gz"),
    "bz2": (lambda log: compressed(log, bz2.compress, ".bz2"), "renamed", "audit-2026-11-23T10-00-00.000.log.bz2"),
    "xz": (lambda log: compressed(log, lzma.compress, ".xz"), "renamed", "audit-2026-11-23T10-00-00.000.log.xz"),
    "renamed twice": (renamed_twice, "renamed", "audit.log.2"),
    "copied and truncated": (copied_and_truncated, "renamed", "audit.log.1"),
    "renamed beyond knowing": (lambda log: (log.rename(log.with_name("x")), None)[1], "renamed", "x"),
    "gone": (replaced, "gone", None),
}


@pytest.mark.parametrize("how", ["imported", "followed", "followed in slices"])
@pytest.mark.parametrize("fate", FATES)
def test_a_line_is_found_whatever_became_of_its_file(tmp_path: Path, fate: str, how: str) -> None:
    log, lake = tmp_path / "logs" / "audit.log", tmp_path / "lake"
    log.parent.mkdir()
    log.write_bytes(lines(0, 1, 2))
    if how == "imported":
        imported(lake, log, redact=False)
    else:
        followed(lake, log)
    count = 3
    if how == "followed in slices":
        with log.open("ab") as f:
            f.write(lines(3, 4))
        followed(lake, log)
        count = 5
    change, state, name = FATES[fate]
    change(log)
    if not log.exists():
        log.write_bytes(lines(50, 51, 52, 53, 54, 55))  # the next file has lines of these numbers, too
    assert told(lake) == [(n, state, name and f"{name}:{n + 1}") for n in range(count)]


def test_a_file_that_grew_holds_what_was_imported_of_it(tmp_path: Path) -> None:
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    log.write_bytes(lines(0, 1))
    imported(lake, log, redact=False)
    with log.open("ab") as f:
        f.write(lines(2))
    assert told(lake) == [(0, "there", "audit.log:1"), (1, "there", "audit.log:2")]


def test_files_with_the_same_first_line_are_told_apart(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for n, name in enumerate("abc"):
        (tmp_path / name).write_bytes(b"# audit\n" + lines(*range(10 * n, 10 * n + 3)))
    imported(lake, *(tmp_path / name for name in "abc"), redact=False)
    (tmp_path / "a").rename(tmp_path / "d")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "d").rename(tmp_path / "b")
    swapped = [(0, "renamed", "b"), (10, "renamed", "a"), (20, "there", "c")]
    assert told(lake) == [(n + i, state, f"{name}:{i + 2}") for n, state, name in swapped for i in range(3)]


def test_a_file_that_was_rewritten_is_not_what_was_imported(tmp_path: Path) -> None:
    """Its first line is the same; a line that still holds the audit id is shown, and told apart."""
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    log.write_bytes(lines(0, 1, 2, 3))
    imported(lake, log, redact=False)
    log.write_bytes(lines(0, 1, 3, 2))
    assert told(lake) == [
        (0, "changed", "audit.log:1"),
        (1, "changed", "audit.log:2"),
        (2, "gone", None),
        (3, "gone", None),
    ]
    _, limits = evidence(Lake(lake), f"{log}:1")
    assert len(limits) == 1 and "changed since" in limits[0]


def test_an_audit_id_that_is_part_of_another_is_no_proof(tmp_path: Path) -> None:
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    log.write_bytes(lines(0, 1, auditID="abc"))
    imported(lake, log, redact=False)
    log.write_bytes(lines(0, auditID="abc") + lines(5, auditID="abc-d") + lines(6, auditID="xabc"))
    assert [r.state for r in evidence(Lake(lake), f"{log}:2")[0]] == ["gone"]


def test_what_moved_elsewhere_is_found_where_the_caller_says(tmp_path: Path) -> None:
    log, lake = tmp_path / "logs" / "audit.log", tmp_path / "lake"
    log.parent.mkdir()
    log.write_bytes(lines(0))
    imported(lake, log, redact=False)
    kept_elsewhere(log)
    assert told(lake) == [(0, "gone", None)]
    assert told(lake, within=[tmp_path]) == [(0, "renamed", "whatever.txt:1")]
    shutil.rmtree(tmp_path / "logs")
    assert told(lake) == [(0, "gone", None)]


def test_a_relative_source_is_found_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "audit.log").write_bytes(lines(0))
    (tmp_path / "audit.log").write_bytes(lines(1))
    monkeypatch.chdir(tmp_path / "here")
    imported(tmp_path / "lake", "audit.log", redact=False)
    followed(tmp_path / "second", Path("audit.log"))
    monkeypatch.chdir(tmp_path)
    for lake in ("lake", "second"):
        assert told(tmp_path / lake) == [(0, "there", "audit.log:1")]
    compressed(tmp_path / "here" / "audit.log")
    assert told(tmp_path / "lake")[0][1] == "renamed"


def test_what_came_through_a_pipe_has_no_file_but_may_be_found_in_one(tmp_path: Path) -> None:
    lake, log = tmp_path / "lake", tmp_path / "audit.log"
    log.write_bytes(lines(0))
    assert run("import", "-", "--lake", lake, "--redact", "none", stdin=log.read_bytes()).returncode == 0
    assert told(lake) == [(0, "no file", None)]
    assert told(lake, within=[log]) == [(0, "renamed", "audit.log:1")]


def test_a_copy_in_a_file_is_kept_rather_than_one_without(tmp_path: Path) -> None:
    lake, log = tmp_path / "lake", tmp_path / "zz.log"
    log.write_bytes(lines(0))
    assert run("import", "-", "--lake", lake, "--redact", "none", stdin=lines(0, 1)).returncode == 0
    imported(lake, log, redact=False)
    assert told(lake) == [(0, "there", "zz.log:1"), (1, "no file", None)]


@pytest.mark.parametrize("how", ["imported", "followed"])
def test_lakes_of_before_lead_as_far_as_they_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Then a whole file is proven by its digest, a slice of a followed one by its lines alone."""
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    log.write_bytes(lines(0, 1))
    row = commit._imports_row
    new = {"file_fingerprint", "byte_offset", "directory"}
    monkeypatch.setattr(commit, "_imports_row", lambda *args: {k: v for k, v in row(*args).items() if k not in new})
    if how == "imported":
        imported(lake, log, redact=False)
    else:
        followed(lake, log)
    compressed(log)
    log.write_bytes(lines(7, 8))
    state = "renamed" if how == "imported" else "changed"
    assert told(lake) == [(n, state, f"audit-2026-11-23T10-00-00.000.log.gz:{n + 1}") for n in range(2)]


def test_rejects_and_log_entries_lead_to_their_lines(tmp_path: Path) -> None:
    log, lake = tmp_path / "apiserver.log", tmp_path / "lake"
    entry = b"I1123 12:00:00.000001       1 a.go:1] started\n"
    log.write_bytes(b'{"kind":"Event",nonsense}\n' + entry + b"E1123 12:00:01.000001       1 a.go:2] failed\n")
    imported(lake, log, redact=False)
    renamed(log)
    for n, table in ((1, "rejects"), (2, "klog"), (3, "klog")):
        answer = auditlens.evidence(str(lake), f"{log}:{n}", raw=True)
        (row,) = answer.frame.to_dicts()
        path = log.with_name("audit-2026-11-23T10-00-00.000.log")
        assert (row["table"], row["state"], row["path"]) == (table, "renamed", str(path))
        assert row["content"].encode() == path.read_bytes().splitlines()[n - 1]


def test_a_damaged_file_leads_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    choice = random.Random(1)
    log.write_bytes(b"".join(lines(n, userAgent=choice.randbytes(3000).hex()) for n in range(60)))
    followed(lake, log)
    with log.open("ab") as f:
        f.write(b"".join(lines(n, userAgent=choice.randbytes(3000).hex()) for n in range(60, 90)))
    followed(lake, log)
    packed = gzip.compress(log.read_bytes())
    log.unlink()
    (tmp_path / "audit.log.1.gz").write_bytes(packed[: len(packed) * 8 // 10])
    states = [state for _, state, _ in told(lake)]
    assert states[:60] == ["renamed"] * 60 and states[80:] == ["gone"] * 10


def test_values_are_shown_only_where_they_are_asked_for(tmp_path: Path) -> None:
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    body = {"kind": "Secret", "apiVersion": "v1", "data": {"k": "aHVudGVyMi1odW50ZXIy"}}
    ref = {"resource": "secrets", "namespace": "shop", "name": "s", "apiVersion": "v1"}
    evil = "\x1b]0;owned\x07\u202e"
    log.write_bytes(lines(0, verb="create", objectRef=ref, requestObject=body, userAgent=evil))
    imported(lake, log)
    (of,) = engine.sql(str(lake), "select audit_id from audit")["audit_id"]
    for output in ("text", "table", "csv", "json", "md"):
        shown = run("evidence", of, "--lake", lake, "-o", output)
        assert shown.returncode == 0, shown.stderr
        assert b"aHVudGVyMi" not in shown.stdout and of.encode() in shown.stdout
        raw = run("evidence", of, "--lake", lake, "-o", output, "--raw")
        assert b"aHVudGVyMi" in raw.stdout
        for said in (shown, raw):
            assert b"\x1b" not in said.stdout and b"\x07" not in said.stdout
            assert output == "json" or "\u202e".encode() not in said.stdout


def test_an_answer_leads_to_all_its_lines(tmp_path: Path) -> None:
    log, lake = tmp_path / "audit.log", tmp_path / "lake"
    log.write_bytes(lines(0, 1, 2, verb="delete"))
    imported(lake, log, redact=False)
    renamed(log)
    answer = auditlens.ask(str(lake), "top", by="verb")
    assert not len(auditlens.ask(str(lake), "who-deleted", "pod/none"))
    history = auditlens.history(str(lake), "configmap/settings-1", namespace="shop")
    found = auditlens.evidence(str(lake), history)
    assert found.frame["state"].to_list() == ["renamed"] * len(history) and len(history) == 1
    with pytest.raises(auditlens.AuditlensError):
        auditlens.evidence(str(lake), answer)  # counts rest on no line
    with pytest.raises(auditlens.AuditlensError, match="no such audit id"):
        auditlens.evidence(str(lake), f"{log}:99")


class Apiserver:
    """Writes its audit log, rotates it as lumberjack does, and posts the same events to a sink."""

    def __init__(self, logs: Path, sink: Sink) -> None:
        logs.mkdir()
        self.live, self.written, self._sink = logs / "audit.log", 0, sink
        self._late: list[Path] = []

    def run(self, events: int, batch: int) -> None:
        for _ in range(0, events, batch):
            made = [event(self.written + i) for i in range(batch)]
            self.written += batch
            with self.live.open("ab") as f:
                f.write(text(*made))
            body = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": made}
            assert self._sink.post(json.dumps(body).encode()) == 200

    def rotate(self, n: int) -> None:
        """All but the last rotated file are compressed."""
        rotated = self.live.with_name(f"audit-2026-11-23T10-{n // 60:02}-{n % 60:02}.000.log")
        self.live.rename(rotated)
        for old in self._late:
            draft = old.with_name(f".{old.name}.gz")
            draft.write_bytes(gzip.compress(old.read_bytes(), 1))
            draft.rename(f"{old}.gz")
            old.unlink()
        self._late = [rotated]


@pytest.mark.parametrize(
    ("rotations", "events", "sampled"),
    [(3, 60, 200), pytest.param(20, 1_000, 1_000, marks=pytest.mark.slow)],
    ids=["short", "long"],
)
def test_a_sink_and_a_follower_into_one_lake_and_every_row_leads_to_its_line(
    tmp_path: Path, rotations: int, events: int, sampled: int
) -> None:
    stop = threading.Event()
    with Sink(tmp_path) as sink:
        apiserver = Apiserver(tmp_path / "logs", sink)
        options = {"redact": False, "cluster": "lab", "poll": 0.05, "wait": 0.2, "stop": stop}
        follower = threading.Thread(target=follow, args=([apiserver.live], sink.lake), kwargs=options)
        follower.start()
        try:
            for n in range(rotations + 1):
                apiserver.run(events, 20)
                if n < rotations:
                    apiserver.rotate(n)
                    time.sleep(0.5)
            sink.wait_empty()
        finally:
            time.sleep(1)
            stop.set()
            follower.join(120)
        sink.stop()
    lake = tmp_path / "lake"
    total, different = engine.sql(str(lake), "select count(*), count(distinct audit_id) from audit").row(0)
    assert total == different == apiserver.written
    assert engine.sql(str(lake), "select count(*) from imports where source like 'webhook:%'").row(0)[0] > 0
    rows: pl.DataFrame = engine.sql(str(lake), "select audit_id, source, line, item from audit order by audit_id")
    sample = rows.sample(min(sampled, rows.height), seed=20261123)
    found, limits = evidence(Lake(lake), sample, raw=True)
    assert len(found) == sample.height and not limits
    for row in found:
        assert row.state in ("there", "renamed") and row.path and row.content
        assert json.loads(row.content)["auditID"] == row.audit_id
    assert {Path(r.path or "").suffix for r in found} == {".log", ".gz"}
