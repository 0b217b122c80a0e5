"""The drain keeps the lake in few files, and a body that breaks the import costs only itself."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens import engine
from auditlens.errors import LakeError
from auditlens.importing.webhook import segment
from auditlens.importing.webhook.eventlist import Body, split
from auditlens.importing.webhook.segment import Sealed, SegmentImporter
from auditlens.lake import Lake, lake
from auditlens.lake.maintenance import compact, verify
from auditlens.lake.merge_small import FAN, Merger, merge_small
from auditlens.redact import NO_REDACTION
from auditlens.sink.wal import RecordHeader

from .helpers import batch, event

POST = RecordHeader("lab", 1.0, "10.0.0.1")


class Into:
    """Segments of one sink into a lake, without a WAL."""

    def __init__(self, base: Path, sink: str = "sink-1") -> None:
        self.lake = Lake(base / "lake")
        spill = base / f"spill-{sink}"
        spill.mkdir()
        self.importer = SegmentImporter(self.lake, sink, NO_REDACTION, spill)

    def put(self, number: int, *bodies: bytes, **more: Any) -> Any:
        data = b"".join(bodies)
        sha = hashlib.sha256(data + b"%d" % number).hexdigest()
        return self.importer.run([Sealed(number, [Body(POST, memoryview(b)) for b in bodies], sha, len(data))], **more)[0]

    def sql(self, statement: str) -> Any:
        return engine.sql(str(self.lake.path), statement)


def _live(lake: Lake) -> dict[str, int]:
    snapshot = lake.snapshot()
    return {name: len(snapshot.files(name)) for name in snapshot.committed}


def test_small_files_become_few_and_no_row_changes(tmp_path: Path) -> None:
    into = Into(tmp_path)
    fan = 8
    merger = Merger(Lake(tmp_path / "lake"), grace=0, fan=fan)
    count = 2 * fan + 1
    for n in range(1, count + 1):
        into.put(n, batch([event(f"{n}-{k}") for k in range(3)]), b"{broken")
        if n % fan == 0:
            assert merger.run() >= fan
    live = _live(into.lake)
    assert live["audit"] == 3
    assert live["imports"] == 3
    assert live["rejects"] == 3
    rows = into.sql("select source, line, audit_id, import_id from audit order by all").rows()
    assert len(rows) == len(set(rows)) == 3 * count
    assert {r[0] for r in rows} == {f"webhook:sink-1/{n}" for n in range(1, count + 1)}
    joined = into.sql("select count(*) as n from audit join imports using (import_id, source)")["n"][0]
    assert joined == 3 * count
    merger.run()
    assert verify(into.lake).is_empty(), "replaced files are gone, nothing else is"
    assert compact(into.lake).days == 1, "a folded day is still to be compacted"
    assert into.sql("select count(*) as n from audit")["n"][0] == 3 * count


def test_repeats_stay_hidden_when_their_files_are_folded(tmp_path: Path) -> None:
    into = Into(tmp_path)
    for n in range(1, 7):
        into.put(n, batch([event("same"), event(f"own-{n}")]))
    assert len(merge_small(into.lake, fan=2)) > 0
    assert into.sql("select count(*), count(distinct audit_id) from audit").row(0) == (7, 7)


def _fold_process(lake: str, barrier: Any, out: Any) -> None:
    barrier.wait(60)
    out.put(len(merge_small(Lake(lake), fan=4)))


def test_two_that_fold_at_once_do_not_double_a_row(tmp_path: Path) -> None:
    into = Into(tmp_path)
    for n in range(1, 5):
        into.put(n, batch([event(f"{n}")]))
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(2), context.Queue()
    others = [context.Process(target=_fold_process, args=(str(into.lake.path), barrier, out)) for _ in range(2)]
    for other in others:
        other.start()
    assert sum(out.get(timeout=120) for _ in others) == 8  # of `audit` and `imports`
    for other in others:
        other.join()
    out.close()
    assert into.sql("select count(*), count(distinct audit_id) from audit").row(0) == (4, 4)
    assert into.sql("select count(*) as n from imports")["n"][0] == 4


def test_a_fold_that_is_overtaken_between_its_look_and_its_commit_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = Into(tmp_path)
    for n in range(1, 5):
        into.put(n, batch([event(f"{n}")]))
    real, overtaken = lake._add_columns, []

    def overtake(handle: Any, table: Any) -> None:
        if not overtaken:
            overtaken.append(table)
            merge_small(Lake(into.lake.path), fan=4)
        real(handle, table)

    monkeypatch.setattr(lake, "_add_columns", overtake)
    merge_small(into.lake, fan=4)
    assert overtaken
    assert into.sql("select count(*), count(distinct audit_id) from audit").row(0) == (4, 4)
    assert into.sql("select count(*) as n from imports")["n"][0] == 4


def test_a_bound_that_holds_at_any_rate() -> None:
    """Files of the classes as merge_small() leaves them, at most: FAN - 1 in each of those that a day can have."""
    from auditlens.lake.merge_small import _class

    classes = _class(30_000 * 86_400) + 1
    assert classes * (FAN - 1) <= 300


def test_a_body_the_import_chokes_on_is_rejected_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = Into(tmp_path)
    real = segment.Writer.flush

    def choke(self: Any) -> None:
        if any("poison" in t for _, piece in self._pending for t in piece.lines["text"].to_pylist()):
            raise AssertionError("a record must become a row or a reject")
        real(self)

    monkeypatch.setattr(segment.Writer, "flush", choke)
    bodies = batch([event("a")]), batch([event("poison"), event("b")]), batch([event("c")])
    with pytest.raises(AssertionError):
        into.put(1, *bodies)
    report = into.put(1, *bodies, suspect=True)
    assert (report.lines, report.records, report.rows["audit"], report.rejects) == (3, 3, 2, 1)
    assert sorted(into.sql("select audit_id from audit")["audit_id"]) == ["a", "c"]
    assert "the import failed on this body" in into.sql("select reason from rejects")["reason"][0]


def test_a_wal_that_was_copied_or_set_back_is_noticed_before_anything_is_dropped(tmp_path: Path) -> None:
    into = Into(tmp_path)
    into.put(7, batch([event("first")]))
    assert into.put(7, batch([event("first")])).records == 0
    with pytest.raises(LakeError, match="the WAL was copied or set back"):
        into.put(7, batch([event("second")]))
    with pytest.raises(LakeError, match="the WAL was copied or set back"):
        into.put(3, batch([event("third")]))


def test_items_of_several_clusters_in_one_segment_go_where_they_belong(tmp_path: Path) -> None:
    into = Into(tmp_path)
    bodies = [
        Body(RecordHeader(c, 1.0, ip), memoryview(batch([event(f"{c}")])))
        for c, ip in (("a", "1.1.1.1"), ("b", "2.2.2.2"), (None, "3.3.3.3"))
    ]
    bodies.append(Body(RecordHeader("b", 1.0, "2.2.2.2"), memoryview(b"{")))
    (report,) = into.importer.run([Sealed(1, bodies, "0" * 64, 1)])
    rows = into.sql("select cluster, audit_id, instance, line from audit order by line").rows()
    assert rows == [("a", "a", "1.1.1.1", 1), ("b", "b", "2.2.2.2", 2), ("default", "None", "3.3.3.3", 3)]
    assert into.sql("select cluster, line from rejects").rows() == [("b", 4)]
    assert (report.lines, report.records, report.rejects) == (4, 4, 1)


def test_large_events_are_imported_in_little_memory(tmp_path: Path) -> None:
    into = Into(tmp_path)
    body = {"kind": "ConfigMap", "data": {"a": "x" * 1_400_000}}
    into.put(1, batch([event(f"{n}", level="RequestResponse", requestObject=body, responseObject=body) for n in range(10)]))
    assert into.sql("select count(*), min(length(response_object)) from audit").row(0) == (
        10,
        len(json.dumps(body, separators=(",", ":"))),
    )


def test_segments_that_share_a_commit_are_sources_of_their_own(tmp_path: Path) -> None:
    into = Into(tmp_path)
    parts = [Sealed(n, [Body(POST, memoryview(batch([event("same"), event(f"{n}")])))], f"{n}" * 64, n) for n in range(1, 6)]
    into.importer.run(parts[:2])
    reports = into.importer.run(parts[1:])  # the second is done already
    assert [(r.records, r.duplicates) for r in reports] == [(0, 0), (2, 1), (2, 1), (2, 1)]
    assert into.sql("select count(*), count(distinct audit_id), count(distinct source) from audit").row(0) == (6, 6, 5)
    assert into.sql("select count(*), sum(records), sum(duplicates) from imports").row(0) == (5, 10, 4)


@pytest.mark.parametrize("error", [duckdb.IOException("disk full"), OSError(28, "No space left"), MemoryError()])
def test_what_is_not_the_bodys_fault_never_costs_a_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    into = Into(tmp_path)
    real = segment.Writer.flush

    def fail(self: Any) -> None:
        raise error

    monkeypatch.setattr(segment.Writer, "flush", fail)
    with pytest.raises(type(error)):
        into.put(1, batch([event("a")]), suspect=True)
    assert not segment.may_be_a_body(error)
    monkeypatch.setattr(segment.Writer, "flush", real)
    assert into.put(1, batch([event("a")])).rows["audit"] == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3),
    )
)
@settings(max_examples=200)
def test_splitting_gives_the_items_back_as_they_stood(item: Any) -> None:
    text = json.dumps(item).encode()
    assert split(memoryview(b'{"kind":"EventList","items":[ ' + text + b" ,\n" + text + b"]}")) == [text, text]


@pytest.mark.parametrize(
    "body",
    [
        b'{"items":[{"a":1}],"items":[{"a":2}]}', b'{"items":[{"a":1}],"items":null}', b'{"it\\u0065ms":[1],"items":[2]}',
        b'{"Items":[{"a":1}],"items":[{"a":2}]}', b'{"items":[], "metadata":{"x":[1]}}',
    ],
)  # fmt: skip
def test_a_body_with_a_second_list_is_a_reject(body: bytes) -> None:
    """A JSON object may hold a key twice, of which every decoder keeps one: the other list's events would be nowhere."""
    assert split(memoryview(body)) == "the body holds more than one list"


def test_a_body_that_is_no_list_is_one_item() -> None:
    for body in (b"{}", b'{"items":{}}', b'{"items":"[1]"}', b'{"items":7}'):
        assert split(memoryview(body)) == [body]
    assert split(memoryview(b'{"items":null}')) == split(memoryview(b'{"items" : [ ] }')) == []
    for broken in (b"[1]", b"7"):
        assert isinstance(split(memoryview(broken)), str | list)


@given(st.binary(max_size=200))
def test_splitting_never_raises(data: bytes) -> None:
    found = split(memoryview(b"{" + data))
    assert isinstance(found, str | list)


@pytest.mark.parametrize("item", [b"0", b"{}", b'{"a":[1,{"b":"]"}]}'])
def test_a_list_of_very_many_tiny_items_is_not_split(item: bytes) -> None:
    body = b'{"items": [' + b" , ".join([item] * 250_000) + b"]}"
    assert "not a list of audit events" in split(memoryview(body))


def test_a_list_whose_items_are_nested_too_deeply_is_split_without_reading_them() -> None:
    deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
    assert split(memoryview(b'{"kind":"EventList","items":[{"n":1},' + deep + b',{"n":2}]}')) == [b'{"n":1}', deep, b'{"n":2}']
    assert split(memoryview(deep)) == [deep]
    assert "nested too deeply" in split(memoryview(b"[" * 9000))
