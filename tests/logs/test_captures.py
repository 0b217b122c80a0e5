"""Logs of a real control plane, against counts made independently of the parsers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import CAPTURES, SHARED, ask, imported, needs_captures, rows

from .helpers import content, read

pytestmark = needs_captures

LOGS = (
    sorted(p for p in CAPTURES.rglob("*.log.gz") if p.name.startswith(("apiserver", "kcm", "scheduler")))
    if CAPTURES.is_dir()
    else []
)

HEADER = re.compile(rb"^[IWEF][01]\d[0-3]\d [0-2]\d:[0-5]\d:[0-5]\d\.\d{6} +\d+ \S+:\d+\] ", re.MULTILINE)
JSON = re.compile(rb'^\{"(?:ts|level)":', re.MULTILINE)  # --logging-format=json, and etcd's client
GO_LOG = re.compile(rb"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", re.MULTILINE)
DUMPED = re.compile(rb'^\S+Z AUDIT: id="', re.MULTILINE)


@pytest.mark.parametrize("path", LOGS, ids=lambda p: str(p.relative_to(CAPTURES)))
def test_every_line_of_a_capture(path: Path) -> None:
    data = content(path)
    found = read(data)
    found.accounted()
    assert not found.rejects
    assert found.counts.lines == data.count(b"\n")
    kinds = {"klog": len(HEADER.findall(data)), "json": len(JSON.findall(data)), "go": len(GO_LOG.findall(data))}
    assert len(found.rows["klog"]) == sum(kinds.values()), kinds
    if b"AUDIT: id=" in data and kinds["json"] < 100:
        assert found.events == len(DUMPED.findall(data))
    assert {f"{row['time']:%Y-%m-%d}" for row in found.rows["klog"]} == {"2026-11-23"}


@pytest.mark.parametrize("path", LOGS, ids=lambda p: str(p.relative_to(CAPTURES)))
def test_every_trace_of_a_capture(path: Path) -> None:
    data = content(path)
    plain = data.replace(b"\\n", b"\n").replace(b'\\"', b'"') if JSON.search(data) else data
    heads = re.findall(rb'Trace\[(\d+)\]: "[^"]*".*\(total time: (\d+)ms\):', plain)
    steps = Counter(re.findall(rb'^Trace\[(\d+)\]: +(?:---|\[)"', plain, re.MULTILINE))
    ends = dict(re.findall(rb"^Trace\[(\d+)\]: \[([^\]]+)\] \[[^\]]+\] END", plain, re.MULTILINE))
    found = read(data).rows["trace"]
    blocks = {row["trace_id"]: row for row in found if row["seq"] == 0}
    assert set(blocks) == {n.decode() for n, _ in heads}
    assert Counter(row["trace_id"] for row in found if row["seq"]) == {n.decode(): count for n, count in steps.items()}
    for number, total in heads:
        block = blocks[number.decode()]
        assert int(block["total_ms"]) == int(total)
        assert block["ended"] == (number in ends)
        if number in ends:  # the END says it to the nanosecond
            assert block["total_ms"] == pytest.approx(_ms(ends[number].decode()), rel=1e-12)
    told = re.findall(rb'^Trace\[(\d+)\]: +(?:---|\[)"([^"]*)".* (\d+)ms \(\d\d:\d\d:\d\d\.\d{3}\)\]*$', plain, re.MULTILINE)
    assert sorted((r["trace_id"], r["step"], r["step_ms"]) for r in found if r["seq"]) == sorted(
        (number.decode(), step.decode(), float(ms)) for number, step, ms in told
    )


def _ms(duration: str) -> float:
    """A Go duration, read apart from the product's reader."""
    units = {"h": 3.6e6, "m": 6e4, "s": 1e3, "ms": 1.0, "µs": 1e-3, "ns": 1e-6}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|µs|ns|m|s)", duration))


@pytest.mark.parametrize("name", ["everything", "v4-omit-received", "v4-json-truncate"])
def test_httplog_and_audit_agree(name: str, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    imported(lake, *(CAPTURES / name / f"{part}.log.gz" for part in ("apiserver", "audit")))
    # a client may choose an id, and the same for several requests
    unclear = rows(
        lake,
        """
        with requests as (select distinct audit_id, request_uri, received_time from audit),
        found as (
            select h.audit_id, h.line, (select count(*) from requests r where r.audit_id = h.audit_id and r.request_uri = h.uri) as n
            from httplog h where h.audit_id in (select audit_id from audit))
        select audit_id, n from found where n <> 1
        """,
    )
    assert all(n > 1 and not re.fullmatch(r"[0-9a-f-]{36}", audit_id) for audit_id, n in unclear)
    joined = rows(
        lake,
        """
        with ended as (
            select audit_id, request_uri as uri, code, latency_ms, stage from audit
            where stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401)
        )
        select h.audit_id, h.line, h.code, a.code, h.latency_ms, a.latency_ms, h.hijacked, a.stage
        from httplog h join ended a on a.audit_id = h.audit_id and a.uri = h.uri and a.latency_ms is not null
        """,
    )
    assert len(joined) > 500
    lines = Counter(row[1] for row in joined)
    client_chosen = {row[0] for row in joined if not re.fullmatch(r"[0-9a-f-]{36}", row[0])}
    assert {line for line, count in lines.items() if count > 1} <= {row[1] for row in joined if row[0] in client_chosen}
    for row in joined:
        _, _, code, audit_code, latency, audit_latency, hijacked, stage = row
        # a hijacked connection has no code here, 101 there; of what panicked httplog has the code sent before, audit 500; when
        # the time is up the timeout filter answers 504, and audit has what the handler said a moment later
        fits = code == audit_code or (hijacked and (code, audit_code) == (None, 101))
        assert fits or (stage == "Panic" and audit_code == 500) or ((code, audit_code) == (504, 500) and latency > 1000), row
        # audit stamps the end before the last bytes are written: below 20 ms a tick of the scheduler is more than 5 %
        assert abs(latency - audit_latency) <= max(0.05 * max(latency, audit_latency), 20), row
    close = sum(abs(row[4] - row[5]) <= max(0.05 * max(row[4], row[5]), 1) for row in joined)
    assert close > 0.97 * len(joined)
    slow = [row for row in joined if row[5] > 500]
    assert slow and all(abs(row[4] - row[5]) <= 0.05 * max(row[4], row[5]) for row in slow)


@pytest.mark.parametrize(("name", "sides"), [("full", {"audit", "trace"}), ("everything", {"audit", "trace", "httplog"})])
def test_a_slow_request_from_all_sides(name: str, sides: set[str], tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    imported(lake, *(CAPTURES / name / f"{part}.log.gz" for part in ("apiserver", "audit")))
    slow = rows(lake, "select audit_id, total_ms from trace where seq = 0 and audit_id is not null order by total_ms desc")
    assert len(slow) > 20
    explained = 0
    for audit_id, total in slow:
        told = ask(str(lake), "where-time-goes", audit_id=audit_id).filter(told_by="trace")
        known = told.filter(told["part"] != "not told")["ms"].sum()
        explained += known >= 0.9 * total
        assert known <= total * 1.02 + 5
    # one of them has no step at all at -v=2
    assert explained >= len(slow) - 1
    line = ask(str(lake), "request", audit_id=slow[0][0])
    assert {side.split()[0] for side in line["side"]} >= sides
    assert line["since_ms"].is_sorted()


@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_kubectl_captures(version: str, tmp_path: Path) -> None:
    paths = sorted((CAPTURES / "kubectl").glob(f"{version}-v[689]*.stderr"))[:40] + sorted(
        (CAPTURES / "kubectl").glob(f"{version}-v10-*.stderr")
    )
    requests = 0
    for path in paths:
        data = path.read_bytes()
        found = read(data, format="kubectl")
        found.accounted()
        assert not found.rejects
        assert len(found.rows["klog"]) == len(HEADER.findall(data))
        ids = set(re.findall(rb"Audit-Id: (\S+)", data))
        assert {row["audit_id"] for row in found.rows["kubectl"]} - {None} == {i.decode() for i in ids}
        requests += len(found.rows["kubectl"])
        everything = repr(found.rows)
        assert not any(secret in everything for secret in ("hunter2", "aHVudGVyMg", "eyJ"))
    assert requests > 50


def test_samples() -> None:
    found = read((SHARED / "samples" / "klog-mixed.txt").read_bytes())
    found.accounted()
    assert (len(found.rows["klog"]), len(found.rows["httplog"]), found.events, found.rejects) == (16, 6, 1, [])
    assert {row["trace_id"] for row in found.rows["trace"]} == {"1449222206", "395976000", "777"}
