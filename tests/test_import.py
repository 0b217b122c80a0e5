"""What goes in is accounted for line by line: real logs, every shape of file, and the worst of bytes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard
from conftest import (
    CAPTURES,
    EVIDENCE,
    SHARED,
    accounted,
    assert_same,
    auditlens,
    content,
    day,
    event,
    imported,
    needs_captures,
    physical_lines,
    rows,
    tables,
    text,
    when,
    write,
)

from auditlens.errors import LakeError, UsageError
from auditlens.importing.batches import Piece
from auditlens.importing.transform import Source, batch_schema
from auditlens.importing.writer import Writer
from auditlens.lake import Lake
from auditlens.lake.maintenance import verify
from auditlens.records import Reject
from auditlens.redact import NO_REDACTION

PACKERS = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}

# Real logs


def _captures() -> list[Path]:
    return sorted({p.parent for p in CAPTURES.rglob("audit*.log*")}) if CAPTURES.is_dir() else []


@pytest.mark.parametrize("folder", _captures(), ids=lambda p: str(p.relative_to(CAPTURES)))
def test_every_line_of_a_capture_is_accounted_for_and_none_is_rejected(tmp_path: Path, folder: Path) -> None:
    if folder.name == "bulk":
        pytest.skip("100,000 events: the slow test below has them")
    paths = [*folder.glob("audit*.log*"), *folder.glob("raw/*.http")]
    report = imported(tmp_path / "lake", *paths)
    assert {s.source: s.lines for s in report.sources} == {str(p): physical_lines(content(p)) for p in paths}
    assert {s.source: s.bytes for s in report.sources} == {str(p): len(content(p)) for p in paths}
    assert report.total()["rejects"] == 0, rows(tmp_path / "lake", "select source, line, reason from rejects")
    written = sum(physical_lines(content(p)) for p in folder.glob("audit*.log*"))
    known = rows(tmp_path / "lake", "select count(*) from audit")[0][0]
    assert known >= written  # the webhook may know of events that the file lost


@needs_captures
@pytest.mark.slow
def test_every_line_of_the_bulk_captures_is_an_event(tmp_path: Path) -> None:
    paths = sorted((CAPTURES / "bulk").glob("*.gz"))
    report = imported(tmp_path / "lake", *paths)
    assert [s.lines for s in report.sources] == [physical_lines(content(p)) for p in paths]
    assert (report.total()["rejects"], report.total()["duplicates"]) == (0, 0)


PEERS = SHARED / "peers"
# Files that hold no audit event, or one that is broken: name, reason, how many.
OTHER_THINGS = {
    "fal_01_003.json": {"JSON object is not an audit event: kind=0, apiVersion=none": 1},
    "deployment-scale-subresource.json": {"not a complete audit event: no level": 1},
    "viaq_audit_host.json": {"JSON object is not an audit event": 1},
    "viaq_audit_ovn.json": {"JSON object is not an audit event": 1},
    "otlp_audit_host.json": {"text line of no known format": 6},
    "otlp_audit_ovn.json": {"text line of no known format": 1},
    "raw_auditd.log": {"text line of no known format": 1},
    "raw_container.log": {"text line of no known format": 1},
    "demo-policy.yaml": {"JSON object is not an audit event: kind=Policy, apiVersion=audit.k8s.io/v1": 1},
}


@pytest.mark.skipif(not PEERS.is_dir(), reason="the shared peers are not here")
def test_every_audit_file_of_other_projects_is_read_or_rejected_for_the_right_reason(tmp_path: Path) -> None:
    audit = [
        *PEERS.glob("falco-trace_files/*/*.json*"), *PEERS.glob("openshift-clo/hack/logsamples/*"),
        *PEERS.glob("openshift-clo/test/**/*.log"), *PEERS.glob("openshift-clo/test/**/log5607_sample.json"),
        *PEERS.glob("gitops-reverser/**/audit-events/*"), *PEERS.glob("gitops-reverser/**/audit.*.yaml"),
        *PEERS.glob("audit2rbac/testdata/*"),
    ]  # fmt: skip
    lake = tmp_path / "lake"
    report = imported(lake, *audit)
    assert {s.source: s.lines for s in report.sources} == {str(p): physical_lines(content(p)) for p in audit}
    assert report.total()["rows"]["audit"] > 200
    found: dict[str, Counter[str]] = {}
    for source, reason in rows(lake, "select source, reason from rejects"):
        expected = OTHER_THINGS.get(Path(source).name, {})
        found.setdefault(Path(source).name, Counter())[next((r for r in expected if reason.startswith(r)), reason)] += 1
    assert found == OTHER_THINGS


def test_rejects_are_listed_with_their_place_reason_and_text(tmp_path: Path) -> None:
    good = text(event(1))
    log = write(tmp_path / "a.log", good + b"hello\n\n" + good.replace(b'"verb":"get"', b'"verb":["get"]') + b'{"a":1}\n')
    report = imported(tmp_path / "lake", log)
    assert (report.total()["records"], report.total()["blanks"], report.total()["rejects"]) == (4, 1, 3)
    found = rows(tmp_path / "lake", "select line, byte_offset, source, text from rejects order by line")
    assert [f[:3] for f in found] == [
        (2, len(good), str(log)),
        (4, len(good) + 7, str(log)),
        (5, len(log.read_bytes()) - 8, str(log)),
    ]
    assert found[0][3] == "hello"
    reasons = [r for (r,) in rows(tmp_path / "lake", "select reason from rejects order by line")]
    assert "verb" in reasons[1]
    assert all(reasons)


# What an event may look like


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("auditID", 7), ("stage", ["a"]), ("verb", {}), ("requestURI", 1), ("level", False), ("user", "alice"),
        ("user", {"groups": "dev"}), ("impersonatedUser", []), ("sourceIPs", "192.0.2.1"),
        ("userAgent", {}), ("objectRef", "pods"), ("responseStatus", 200), ("responseStatus", {"code": "x"}), ("annotations", []),
        ("stageTimestamp", 7), ("requestReceivedTimestamp", 5),
    ],
    ids=lambda v: v if isinstance(v, str) else json.dumps(v),
)  # fmt: skip
def test_a_field_of_a_wrong_type_is_a_reject_that_names_it(tmp_path: Path, field: str, value: Any) -> None:
    lake = tmp_path / "lake"
    imported(lake, write(tmp_path / "a.log", [event(1), event(2, **{field: value}), event(3)]))
    assert rows(lake, "select audit_id[-1:] from audit order by 1") == [("1",), ("3",)]
    ((line, reason),) = rows(lake, "select line, reason from rejects")
    assert line == 2
    assert field in reason


def test_what_this_version_does_not_know_lands_in_extra(tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", [event(1, shinyNew={"a": [1.10, None]}, other="x"), event(2)])
    imported(tmp_path / "lake", log)
    assert rows(tmp_path / "lake", "select extra from audit order by audit_id")[1] == (None,)
    extra = json.loads(rows(tmp_path / "lake", "select extra from audit order by audit_id")[0][0])
    assert extra == {"shinyNew": {"a": [1.1, None]}, "other": "x"}


@pytest.mark.parametrize("number", ["1.10", "1e3", "1E400", "12345678901234567890123", "-0.0", "0.1000", "1.0"])
@pytest.mark.parametrize("verb", ["patch", "update"])
def test_a_number_in_a_body_keeps_its_literal(tmp_path: Path, number: str, verb: str) -> None:
    body = f'{{"spec":{{"weight":{number},"list":[{number},2]}}}}'
    line = text(event(1, verb=verb, requestObject="BODY")).replace(b'"BODY"', body.encode())
    imported(tmp_path / "lake", write(tmp_path / "a.log", line))
    stored = rows(tmp_path / "lake", "select request_object from audit")[0][0]
    if verb == "patch":  # as sent; other bodies are Go's own output
        assert stored == body
    assert json.loads(stored) == json.loads(body)


@pytest.mark.parametrize(
    "time", ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00.1Z", "2026-11-23T12:00:00.123456789Z", "2026-11-23T14:30:00.5+02:30"]
)
def test_times_are_read_whatever_their_precision_and_zone(tmp_path: Path, time: str) -> None:
    import datetime as dt

    exact = event(1, stageTimestamp=time, requestReceivedTimestamp=time, annotations={"to the exact path": "Bearer x"})
    imported(tmp_path / "lake", write(tmp_path / "a.log", [event(2, stageTimestamp=time, requestReceivedTimestamp=time), exact]))
    _, _, rest = time.partition(".")
    expected = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    expected += dt.timedelta(microseconds={"": 0, "1Z": 100_000, "123456789Z": 123_456, "5+02:30": 500_000}[rest])
    found = rows(tmp_path / "lake", "select stage_time, received_time from audit")
    assert len(found) == 2
    assert {t for row in found for t in row} == {expected}


def wrapped(shape: str, events: list[dict[str, Any]]) -> bytes:
    """The same events as another version or wrapper writes them."""
    items = [{k: v for k, v in e.items() if k not in ("kind", "apiVersion")} for e in events]
    lines = text(*events).splitlines()
    stamp = "2026-11-23T12:00:00.000000000Z"
    match shape:
        case "list":
            return text({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items})
        case "pretty list":
            return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items}, indent=2).encode() + b"\n"
        case "array":
            return json.dumps(events, indent=1).encode()
        case "v1beta1" | "v1alpha1":
            return b"".join(ln.replace(b"audit.k8s.io/v1", f"audit.k8s.io/{shape}".encode()) + b"\n" for ln in lines)
        case "CRI":
            return b"".join(f"{stamp} stdout F ".encode() + ln + b"\n" for ln in lines)
        case "CRI in pieces":
            pieces = [[ln[i : i + 200] for i in range(0, len(ln), 200)] for ln in lines]
            return b"".join(
                f"{stamp} stdout {'F' if p is of[-1] else 'P'} ".encode() + p + b"\n" for of in pieces for p in of
            )  # fmt: skip
        case "docker":
            return b"".join(
                json.dumps({"log": ln.decode() + "\n", "stream": "stdout", "time": stamp}).encode() + b"\n" for ln in lines
            )
        case "syslog":
            return b"".join(b"Nov 23 12:00:00 cp-1 kube-apiserver[1234]: " + ln + b"\n" for ln in lines)
        case "string in an object":
            return b"".join(json.dumps({"message": ln.decode()}).encode() + b"\n" for ln in lines)
        case "indented":
            return b"".join(b"  " + ln + b"\r\n" for ln in lines)
    raise AssertionError(shape)


SHAPES = [
    "list", "pretty list", "array", "v1beta1", "v1alpha1", "CRI", "CRI in pieces", "docker", "syslog", "string in an object", "indented",
]  # fmt: skip


# Bodies keep the white space they came with.
LAID_OUT = EVIDENCE | {"request_object", "response_object"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    root = tmp_path_factory.mktemp("plain")
    imported(root / "lake", write(root / "audit.log", day(40)))
    return tables(root / "lake", without=LAID_OUT)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_gives_the_same_row_in_every_shape(tmp_path: Path, plain: dict[str, list[str]], shape: str) -> None:
    report = imported(tmp_path / "lake", write(tmp_path / "audit.log", wrapped(shape, list(day(40)))))
    assert report.total()["records"] == 40
    assert_same(tables(tmp_path / "lake", without=LAID_OUT), plain, only=("audit", "audit_objects", "rejects"))


def test_one_file_may_mix_all_shapes(tmp_path: Path, plain: dict[str, list[str]]) -> None:
    events = list(day(40))
    parts = [wrapped(shape, events[i :: len(SHAPES)]) + b"\n" for i, shape in enumerate(SHAPES)]
    imported(tmp_path / "lake", write(tmp_path / "audit.log", b"".join(parts)))
    assert_same(tables(tmp_path / "lake", without=LAID_OUT), plain, only=("audit", "audit_objects", "rejects"))


def test_a_legacy_line_gives_the_row_of_its_event_apart_from_what_the_format_lacks(tmp_path: Path) -> None:
    line = (
        '2026-11-23T12:00:01Z AUDIT: id="00000000-0000-4000-a000-000000000001" stage="ResponseComplete" ip="192.0.2.7" method="get" '
        'user="alice" groups="\\"dev\\",\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" '
        'user-agent="kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519" namespace="shop" '
        'uri="/api/v1/namespaces/shop/configmaps/settings-1" response="200"\n'
    )
    imported(tmp_path / "legacy", write(tmp_path / "a.log", line.encode()))
    imported(tmp_path / "json", write(tmp_path / "b.log", [event(1)]))
    same = (
        "select cluster, date, audit_id, stage, verb, request_uri, username, user_groups, source_ips, user_agent, client, code, "
        "outcome, namespace, name, resource, api_group, received_time from audit"
    )
    assert rows(tmp_path / "legacy", same) == rows(tmp_path / "json", same)


# What a file may look like


def test_a_folder_of_all_compressions_is_read(tmp_path: Path) -> None:
    events = list(day(100))
    folder = tmp_path / "logs"
    write(folder / "plain.log", events[:20])
    for i, (suffix, pack) in enumerate(PACKERS.items(), 1):
        (folder / "deep" / "er").mkdir(parents=True, exist_ok=True)
        (folder / "deep" / "er" / f"{i}.log.{suffix}").write_bytes(pack(text(*events[i * 20 : i * 20 + 20])))
    write(folder / ".hidden", b"not read\n")
    report = imported(tmp_path / "lake", folder)
    assert (report.total()["sources"], report.total()["rows"]["audit"], report.total()["rejects"]) == (5, 100, 0)


@pytest.mark.parametrize("suffix", sorted(PACKERS))
def test_compressed_files_one_behind_another_are_one(tmp_path: Path, suffix: str) -> None:
    events, pack = list(day(40)), PACKERS[suffix]
    path = tmp_path / f"a.log.{suffix}"
    path.write_bytes(pack(text(*events[:15])) + pack(text(*events[15:])))
    assert imported(tmp_path / "lake", path).total()["rows"]["audit"] == 40


@pytest.mark.parametrize("suffix", sorted(PACKERS))
def test_of_a_damaged_file_what_could_be_read_is_kept_and_the_damage_told(tmp_path: Path, suffix: str) -> None:
    data = b"".join(text(event(n, userAgent=random.Random(n).randbytes(200).hex())) for n in range(600))
    packed = PACKERS[suffix](data)
    path = tmp_path / f"a.log.{suffix}"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    done = auditlens("import", path, "--lake", tmp_path / "lake", "-o", "json")
    counts = json.loads(done.stdout)
    assert done.returncode == 1
    assert b"ends early or is damaged" in done.stderr
    assert auditlens("import", path, "--lake", tmp_path / "lake").returncode == 1  # nor is it whole the second time
    assert str(path).encode() in done.stderr
    if suffix != "bz2":  # its blocks are larger than this file
        assert counts["rows"]["audit"] > 100
    assert counts["records"] == counts["rows"]["audit"] + counts["rejects"]
    assert rows(tmp_path / "lake", "select error is not null from imports") == [(True,)]
    assert auditlens("import", path, "--lake", tmp_path / "strict", "--strict").returncode == 3
    path.write_bytes(packed)
    imported(tmp_path / "lake", path)
    assert rows(tmp_path / "lake", "select count(*), count(distinct audit_id) from audit where not partial") == [(600, 600)]


def test_damage_in_the_middle_of_a_gz_is_told(tmp_path: Path) -> None:
    packed = bytearray(
        gzip.compress(b"".join(text(event(n, userAgent=random.Random(n).randbytes(99).hex())) for n in range(500)))
    )
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "a.log.gz"
    path.write_bytes(packed)
    report = imported(tmp_path / "lake", path)
    assert report.sources[0].error
    assert report.sources[0].rows["audit"] > 50


def test_an_empty_file_is_a_source_without_lines(tmp_path: Path) -> None:
    report = imported(tmp_path / "lake", write(tmp_path / "a.log", b""), write(tmp_path / "b.log.gz", b""))
    assert (report.total()["sources"], report.total()["lines"], report.total()["records"]) == (2, 0, 0)


def test_a_folder_without_files_and_a_path_that_is_not_there_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "holds no log files"), (tmp_path / "nowhere.log", "no such file or directory")):
        with pytest.raises(UsageError, match=message):
            imported(tmp_path / "lake", path)
        done = auditlens("import", path, "--lake", tmp_path / "lake")
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr.decode()
        assert str(path) in done.stderr.decode()
    with pytest.raises(UsageError, match="no such file"):
        imported(tmp_path / "lake", tmp_path / "*.nothing")


def test_standard_input_is_a_source(tmp_path: Path) -> None:
    done = auditlens("import", "-", "--lake", tmp_path / "lake", "-o", "json", stdin=gzip.compress(text(*day(10))))
    assert (done.returncode, json.loads(done.stdout)["rows"]["audit"]) == (0, 10)
    assert rows(tmp_path / "lake", "select distinct source from audit") == [("-",)]


def test_a_named_pipe_is_a_source(tmp_path: Path) -> None:

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write({text(event(1))!r})"]):
        assert imported(tmp_path / "lake", pipe).total()["rows"]["audit"] == 1


def test_a_rotated_set_is_read_in_time_order_the_live_file_last(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    names = [
        "audit-2026-11-23T04-45-54.154.log.gz", "audit-2026-11-23T09-00-00.000.log.gz", "audit-2026-11-23T10-00-00.000.log", "audit.log",
    ]  # fmt: skip
    for i, name in enumerate(reversed(names)):
        write(folder / name, [event(i)])
    write(folder / "audit-2026-11-23T10-00-00.000.log.gz", b"half compr")  # lumberjack is at it
    report = imported(tmp_path / "lake", folder)
    assert [Path(s.source).name for s in report.sources] == names
    assert rows(tmp_path / "lake", "select distinct instance from audit") == [(str(folder / "audit.log"),)]


def test_hundreds_of_small_compressed_files_land_in_few_commits(tmp_path: Path) -> None:
    events = list(day(1500))
    for i in range(500):
        write(tmp_path / "export" / f"{i % 7}" / f"{i:06}.gz", events[i * 3 : i * 3 + 3])
    report = imported(tmp_path / "lake", tmp_path / "export")
    assert (report.total()["sources"], report.total()["rows"]["audit"]) == (500, 1500)
    assert len(list((tmp_path / "lake" / "imports" / "_delta_log").glob("*.json"))) <= 3
    assert len(Lake(tmp_path / "lake").snapshot().files("audit")) <= 4
    assert rows(tmp_path / "lake", "select count(*), count(distinct import_id) from imports") == [(500, 500)]
    again = imported(tmp_path / "lake", tmp_path / "export")
    assert again.total()["duplicates"] == 1500


# The worst of bytes


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xfe\x00rubbish\xc3\x28", b"\x00" * 100, b'{"kind":"Event"' * 50, b"[" * 100_000, b'{"a":' * 100_000, b'"' * 99,
        b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"' + b"\xff" * 40, b"\r", b"\xef\xbb\xbf", b"\x1b[31mred",
    ],
    ids=lambda b: repr(b[:12]),
)  # fmt: skip
def test_whatever_stands_on_a_line_the_lines_around_it_are_read(tmp_path: Path, bad: bytes) -> None:
    report = imported(tmp_path / "lake", write(tmp_path / "a.log", text(event(1)) + bad + b"\n" + text(event(2))))
    assert report.total()["lines"] == 3
    whole = "select audit_id[-1:], line from audit where not partial order by 1"
    assert rows(tmp_path / "lake", whole) == [("1", 1), ("2", 3)]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_body_of_endless_nesting_is_no_reason_to_stop(tmp_path: Path, opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    body = opening * 100_000 + b"1" + closing * 100_000
    deep = text(event(1, responseObject="BODY")).replace(b'"BODY"', body)
    report = imported(tmp_path / "lake", write(tmp_path / "a.log", deep + text(event(2))))
    assert report.total()["records"] == 2
    assert ("2",) in rows(tmp_path / "lake", "select audit_id[-1:] from audit")


@pytest.mark.parametrize("path", ["fast", "exact"])
def test_odd_text_in_a_value_is_kept_or_replaced_never_fatal(tmp_path: Path, path: str) -> None:
    extra = {"annotations": {"note": "Bearer x"}} if path == "exact" else {}
    lines = [
        text(event(n, userAgent="AGENT", **extra)).replace(b"AGENT", agent)
        for n, agent in enumerate(
            (b"caf\xc3\xa9", b"\xff\xfe", b"a\\u0000b", b"lone \\ud800 surrogate", b"\\ud83d\\ude00", b"\\u001b[31m", b"a\x00b")
        )
    ]
    report = imported(tmp_path / "lake", write(tmp_path / "a.log", b"".join(lines)))
    assert report.total()["records"] == len(lines)
    found = {line: agent for agent, line in rows(tmp_path / "lake", "select user_agent, line from audit")}
    assert found[1] == "café"
    assert found[5] == "\U0001f600"
    assert found[6] == "\x1b[31m"
    if 3 in found:
        assert found[3] in ("a\x00b", "a\ufffdb")
    rejected = [line for (line,) in rows(tmp_path / "lake", "select line from rejects")]
    assert sorted([*found, *rejected]) == [1, 2, 3, 4, 5, 6, 7]
    assert not set(rejected) & {1, 2, 5, 6}


def test_windows_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + text(*day(20)).replace(b"\n", b"\r\n")
    report = imported(tmp_path / "lake", write(tmp_path / "a.log", data))
    assert (report.total()["lines"], report.total()["rows"]["audit"], report.total()["rejects"]) == (20, 20, 0)
    imported(tmp_path / "plain", write(tmp_path / "b.log", day(20)))
    assert_same(
        tables(tmp_path / "lake", without=EVIDENCE), tables(tmp_path / "plain", without=EVIDENCE), only=("audit", "audit_objects")
    )


def test_a_line_over_the_limit_keeps_what_stands_before_its_bodies(tmp_path: Path) -> None:
    long = event(2, requestObject={"kind": "ConfigMap", "data": {"a": "x" * 300_000}})
    data = text(event(1), long, event(3))
    report = imported(tmp_path / "lake", write(tmp_path / "a.log", data), max_line=100_000)
    assert report.total()["lines"] == 3
    found = rows(tmp_path / "lake", "select audit_id[-1:], line, partial, username, request_object is null from audit order by 1")
    assert found == [("1", 1, False, "alice", True), ("2", 2, True, "alice", True), ("3", 3, False, "alice", True)]
    imported(tmp_path / "lake", write(tmp_path / "again.log", data + b"\n"))  # whole this time
    assert rows(tmp_path / "lake", "select count(*), bool_or(partial), max(length(request_object)) > 300000 from audit") == [
        (3, False, True)
    ]


_MEASURED = """
import re, sys
from auditlens.cli import main
code = main()
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""


def _peak(lake: Path, path: Path) -> tuple[dict[str, Any], int]:
    """Import in a process; its counts and its highest resident memory in bytes (ru_maxrss would begin at this process's)."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "import", path, "--lake", lake, "-o", "json"], stdout=subprocess.PIPE, check=True
    )
    *counts, peak = done.stdout.decode().splitlines()
    return json.loads("".join(counts)), int(peak) * 1024


def test_a_gigantic_line_of_zeros_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gz"
    with gzip.open(path, "wb", 1) as f:
        f.write(text(event(1)))
        for _ in range(200):
            f.write(bytes(1 << 20))
        f.write(b"\n" + text(event(2)))
    counts, peak = _peak(tmp_path / "lake", path)
    assert (counts["lines"], counts["rows"]["audit"], counts["rejects"]) == (3, 2, 1)
    assert peak < 700 << 20


# The command


def test_the_counts_are_printed_as_two_identities_and_as_one_object(tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", text(event(1), event(1), event(2)) + b"\nrubbish\n")
    done = auditlens("import", log, "--lake", tmp_path / "lake")
    out = done.stdout.decode()
    assert "5 lines = 4 records + 0 continuations + 1 blanks" in out
    assert "4 records = 2 rows + 1 duplicates + 1 rejects" in out
    assert f"log from {when(1)[:10]}" in out
    assert "clusters: default" in out
    assert "next: auditlens ask" in out
    assert b"rejects" in done.stderr
    counts = json.loads(auditlens("import", log, "--lake", tmp_path / "other", "-o", "json").stdout)
    assert set(counts) == {
        "sources", "bytes", "lines", "items", "records", "rows", "derived", "duplicates", "rejects", "dropped", "continuations", "blanks", "seconds",
    }  # fmt: skip
    assert (counts["sources"], counts["bytes"], counts["rows"]["audit"]) == (1, len(log.read_bytes()), 2)
    assert isinstance(counts["derived"]["audit_objects"], int)
    again = json.loads(auditlens("import", log, "--lake", tmp_path / "other", "-o", "json").stdout)
    assert (again["records"], again["duplicates"], again["rows"]["audit"]) == (4, 4, 0)


def test_strict_fails_when_something_was_rejected_and_only_then(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.log", [event(1)]), write(tmp_path / "bad.log", b"rubbish\n")
    assert auditlens("import", good, "--lake", tmp_path / "lake", "--strict").returncode == 0
    assert auditlens("import", bad, "--lake", tmp_path / "lake").returncode == 0
    assert auditlens("import", bad, "--lake", tmp_path / "other", "--strict").returncode == 3


@pytest.mark.parametrize("name", ["../up", "a/b", "", "x" * 64, "-a", "a b"])
def test_a_cluster_is_named_with_letters_that_a_path_may_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cluster"):
        imported(tmp_path / "lake", write(tmp_path / "a.log", [event(1)]), cluster=name)


def test_out_of_space_is_a_clear_error_and_the_lake_stays_whole(tmp_path: Path) -> None:
    lake, small = tmp_path / "lake", write(tmp_path / "small.log", day(10))
    imported(lake, small)
    expected = tables(lake)
    large = write(
        tmp_path / "large.log", (event(n, responseObject={"x": random.Random(n).randbytes(2000).hex()}) for n in range(900))
    )
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)); from auditlens.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "import", str(large), "--lake", str(lake)], capture_output=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(lake).encode() in done.stderr
    assert_same(tables(lake), expected)
    assert not verify(Lake(lake)).height
    assert not list((lake / "_staging").glob("*"))
    assert imported(lake, large).total()["rows"]["audit"] > 800


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "infinity"]
)
def test_a_time_that_cannot_be_is_unknown(tmp_path: Path, time: str) -> None:
    """It would make the file everybody's neighbour, and some end in no date Python has; the text is kept beside the event."""
    good, late = event(1), event(2, stageTimestamp=time)
    never = event(3, stageTimestamp=time, requestReceivedTimestamp=time)
    for events in ([good], [late], [never]):
        imported(tmp_path / "lake", write(tmp_path / f"{len(events)}-{events[0]['auditID'][-1]}.log", events))
    found = rows(
        tmp_path / "lake", "select stage_time is not null, time_source, extra ->> '$.stageTimestamp' from audit order by audit_id"
    )
    assert found == [(True, "event", None), (True, "received", time), (False, None, time)]
    accounted(tmp_path / "lake")


@pytest.mark.parametrize("between", [b"", b",\n", b"\r\n", b" "])
def test_events_that_share_a_line_or_end_oddly_are_read(tmp_path: Path, between: bytes) -> None:
    lines = [json.dumps(event(n), separators=(",", ":")).encode() for n in range(3)]
    (tmp_path / "audit.log").write_bytes(between.join(lines) + b"\n")
    assert imported(tmp_path / "lake", tmp_path / "audit.log").total()["rejects"] == 0
    assert rows(tmp_path / "lake", "select count(*), count(*) filter (partial) from audit") == [(3, 0)]


def test_a_line_that_a_crash_tore_keeps_the_event_behind_it(tmp_path: Path) -> None:
    torn, whole, last = (json.dumps(event(n), separators=(",", ":")).encode() for n in range(3))
    (tmp_path / "audit.log").write_bytes(torn[:300] + whole + b"\n" + last + b"\n")
    imported(tmp_path / "lake", tmp_path / "audit.log")
    assert rows(tmp_path / "lake", "select right(audit_id, 1), partial from audit order by all") == [
        ("0", True),
        ("1", False),
        ("2", False),
    ]


def test_a_lake_below_a_directory_like_a_partition_is_refused(tmp_path: Path) -> None:
    """Its name would stand in every row: read_parquet takes each COLUMN=value of a path for a column."""
    with pytest.raises(LakeError, match="username=x"):
        Lake(tmp_path / "username=x" / "lake")


def test_a_flood_of_short_rejects_is_written_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 million lines of 5 bytes took 1.8 GB when only their text counted."""
    written: list[int] = []

    def flush(writer: Writer) -> None:
        written.append(sum(len(piece.rejects) for _, piece in writer._pending))
        writer._pending, writer._size = [], 0

    monkeypatch.setattr(Writer, "flush", flush)
    with Lake(tmp_path / "lake").staging() as staging:
        writer = Writer(duckdb.connect(), staging, "batch", NO_REDACTION)
        for _ in range(40):
            piece = Piece(batch_schema().empty_table(), [Reject(1, 0, "no known format", b"abcd", None)] * 5_000)
            writer.add(Source("junk.log", "junk", "id"), piece)
    assert len(written) > 2
    assert max(written) <= 60_000


def test_the_name_in_a_refusal_is_the_objects_only_where_it_is_of_its_kind(tmp_path: Path) -> None:
    def answered(n: int, code: int, **details: str) -> dict[str, object]:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": code, "details": details}
        ref = {"resource": "pods", "namespace": "gone", "apiVersion": "v1"}
        return event(n, verb="create", objectRef=ref, responseStatus={"code": code, "metadata": {}}, responseObject=status)

    made = [
        answered(1, 404, name="gone", kind="namespaces"),
        answered(2, 409, name="web", kind="pods"),
        answered(3, 200, name="web", kind="Pod"),
    ]
    imported(tmp_path / "lake", write(tmp_path / "a.log", made))
    assert rows(tmp_path / "lake", "select object_name from audit order by audit_id") == [(None,), ("web",), ("web",)]
    assert rows(tmp_path / "lake", "select count(*) from audit_objects where name = 'gone'") == [(0,)]
