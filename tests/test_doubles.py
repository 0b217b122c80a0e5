"""An apiserver's events reach a lake by its log, its own dumps, a webhook and a follower: each is there once."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CAPTURES, EVIDENCE, assert_same, event, imported, needs_captures, rows, tables, when, write

from auditlens.importing.files.follow import follow
from auditlens.importing.webhook.eventlist import Body
from auditlens.importing.webhook.segment import Sealed, SegmentImporter
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact
from auditlens.redact import NO_REDACTION


def requests() -> Iterator[dict[str, Any]]:
    """Both stages of four requests: one through a proxy, one that took hours, one without a user."""
    for n in range(4):
        more: dict[str, Any] = {}
        if n == 1:
            more["sourceIPs"] = ["192.0.2.9", "10.0.0.1", "10.0.0.2"]
        if n == 2:
            more |= {"verb": "watch", "stageTimestamp": when(20_000)}
        if n == 3:
            more |= {"user": {}, "responseStatus": {"metadata": {}, "code": 401}}
        received = {"stage": "RequestReceived", "responseStatus": None, "annotations": None, "stageTimestamp": when(n)}
        yield event(n, **(more | received))
        yield event(n, **more)


def dumped(events: list[dict[str, Any]], *, nanos: str = "611") -> bytes:
    """What the apiserver's log says of a batch that failed: pkg/audit/metrics.go and format.go, EventString."""
    lines = ["E1123 12:00:20.873774    9505 metrics.go:110] Error in audit plugin 'webhook' affecting 8 audit events: refused",
             "Impacted events:"]  # fmt: skip
    for e in events:
        user = e["user"].get("username", "<none>")
        groups = ",".join(json.dumps(g) for g in e["user"].get("groups", [])) or "<none>"
        code = e.get("responseStatus", {}).get("code", "<deferred>")
        lines.append(
            f'{e["requestReceivedTimestamp"][:-1]}{nanos}Z AUDIT: id={json.dumps(e["auditID"])} stage="{e["stage"]}" '
            f'ip="{e["sourceIPs"][0]}" method="{e["verb"]}" user="{user}" groups={json.dumps(groups)} as="<self>" '
            f'asgroups="<lookup>" user-agent={json.dumps(e["userAgent"])} namespace="shop" uri={json.dumps(e["requestURI"])} '
            f'response="{code}"'
        )
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize("dump_first", [False, True])
@pytest.mark.parametrize("once", [False, True], ids=["one after the other", "in one import"])
@pytest.mark.parametrize("compacted", [False, True])
def test_events_dumped_by_the_apiserver_are_those_of_its_audit_log(
    tmp_path: Path, dump_first: bool, once: bool, compacted: bool
) -> None:
    events, lake = list(requests()), tmp_path / "lake"
    files = [write(tmp_path / "audit.log", events), write(tmp_path / "apiserver.log", dumped(events))]
    files = files[::-1] if dump_first else files
    for some in [files] if once else [[f] for f in files]:
        imported(lake, *some)
        if compacted:
            compact(Lake(lake))
    assert rows(lake, "select count(*), count(distinct (audit_id, stage)), min(level) from audit") == [(8, 8, "RequestResponse")]
    assert rows(lake, "select count(*) from klog") == [(1,)]
    for file in files:
        assert imported(lake, file).total()["rows"] == {"audit": 0, "klog": 0}


def test_what_only_the_dump_holds_stays(tmp_path: Path) -> None:
    events, lake = list(requests()), tmp_path / "lake"
    other = event(9, user={"username": "mallory"})
    same_id = event(0, user={"username": "mallory"})
    imported(lake, write(tmp_path / "apiserver.log", dumped([*events[:3], other, same_id])))
    imported(lake, write(tmp_path / "audit.log", events))
    assert rows(lake, "select count(*), count(*) filter (username = 'mallory') from audit") == [(10, 2)]


def test_events_dumped_twice_and_never_logged_are_there_once(tmp_path: Path) -> None:
    events, lake = list(requests()), tmp_path / "lake"
    imported(lake, write(tmp_path / "apiserver.log", dumped(events) + dumped(events, nanos="612")))
    assert rows(lake, "select count(*) from audit") == [(8,)]


def _followed(lake: Path, *paths: Path) -> None:
    stop = threading.Event()
    stop.set()
    follow(paths, lake, redact=False, stop=stop)


@pytest.mark.parametrize("order", list(itertools.permutations(["sink", "follower", "import"])), ids="-".join)
def test_sink_follower_and_import_of_one_apiserver(tmp_path: Path, order: tuple[str, ...]) -> None:
    events, lake = list(requests()), tmp_path / "lake"
    log = write(tmp_path / "audit.log", events)
    own = write(tmp_path / "apiserver.log", dumped(events[2:]))
    items = [{k: v for k, v in e.items() if k not in ("kind", "apiVersion")} for e in events]
    body = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}).encode()
    for step in order:
        match step:
            case "sink":
                importer = SegmentImporter(Lake(lake), "s", NO_REDACTION, tmp_path / "spill")
                importer.run([Sealed(1, [Body(None, memoryview(body))], "a" * 64, len(body))])
            case "follower":
                _followed(lake, log, own)
            case _:
                imported(lake, log, own, redact=False)
    found = rows(lake, "select audit_id[-1:], stage, count(*) from audit group by all order by all")
    assert found == sorted((str(n), stage, 1) for n in range(4) for stage in ("RequestReceived", "ResponseComplete"))
    assert rows(lake, "select count(*) from audit where request_object is null and level <> 'RequestResponse'") == [(0,)]


@needs_captures
@pytest.mark.slow
def test_both_logs_of_a_capture_in_any_order_twice_and_followed(tmp_path: Path) -> None:
    folder = CAPTURES / "everything"
    logs = [folder / "audit.log.gz", folder / "apiserver.log.gz"]
    for name, order in {"a": logs, "b": logs[::-1]}.items():
        for path in [*order, *order]:
            imported(tmp_path / name, path, redact=False)
    for path in logs:
        _followed(tmp_path / "c", path)
    without = EVIDENCE | {"time_source"}  # the year's: a slice of a file holds fewer dates than the whole
    expected = tables(tmp_path / "a", without=without)
    for name in ("b", "c"):
        assert_same(tables(tmp_path / name, without=without), expected, only=("audit", "klog", "httplog", "trace", "rejects"))
    identity = "cluster, audit_id, stage, received_time, verb, request_uri, username, code"
    assert rows(tmp_path / "a", f"select count(*) from (select {identity} from audit group by all having count(*) > 1)") == [(0,)]


@pytest.mark.parametrize("hours", [-12, 12])
def test_an_event_cut_before_its_times_is_looked_for_a_day_around_what_it_came_with(tmp_path: Path, hours: int) -> None:
    lake, seconds = tmp_path / "lake", 100_000
    there = when(seconds + hours * 3600)
    whole = event(1, requestReceivedTimestamp=there, stageTimestamp=there)
    line = json.dumps(whole, separators=(",", ":"))
    cut = line[: line.index('"sourceIPs"')].encode() + b"\n"
    beside = event(2, requestReceivedTimestamp=when(seconds), stageTimestamp=when(seconds))
    imported(lake, write(tmp_path / "whole.log", [whole]))
    imported(lake, write(tmp_path / "cut.log", cut), write(tmp_path / "beside.log", [beside]))
    assert rows(lake, "select audit_id[-1:], partial from audit order by 1") == [("1", False), ("2", False)]
