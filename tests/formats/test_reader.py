"""What the formats' own samples cannot show: size, depth, order, and rejects that say why."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from auditlens.formats.reader import Reader
from auditlens.records import Chunk, Record, Reject

from .helpers import physical_lines, read_all

EVENT = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"Panic","verb":"get"}'


def reasons(source: bytes) -> list[str]:
    return [found.reason for found in read_all(source)[1] if isinstance(found, Reject)]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b'{"kind":"Event","apiVersion":"v1","involvedObject":{}}', "core/v1 Event object, not an audit event"),
        (b'{"kind":"Event","apiVersion":"events.k8s.io/v1","regarding":{}}', "core/v1 Event object, not an audit event"),
        (b'{"kind":"List","items":[{"kind":"Event","apiVersion":"v1"}]}', "core/v1 Event object, not an audit event"),
        (b'{"kind":"EventList","apiVersion":"v1","items":[{"involvedObject":{}}]}', "core/v1 Event object, not an audit event"),
        (b'{"kind":"Pod","apiVersion":"v1"}', "JSON object is not an audit event: kind=Pod, apiVersion=v1"),
        (b'{"verb":"get","user":"eve","code":200}', "flattened imitation of an audit event"),
        (b'{"kubernetes.audit.verb":"get"}', "flattened fields (kubernetes.audit.*)"),
        (b'{"a":x}', "not JSON at column 6: invalid character"),
        (b"no log line", "text line of no known format"),
        (b"\x00\x01\xff", "text line of no known format"),
        (b"[1,2]", "JSON value in a list, not an audit event"),
        (b"a: [\n---\n", "text line of no known format"),
        (b"kind: Event\na: [\n", "not YAML"),
        (b'{"items":[1\n', "JSON value in a list"),
    ],
)
def test_a_reject_says_why(source: bytes, reason: str) -> None:
    assert reason in reasons(source)[0]


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
def test_deep_nesting_never_raises(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for source in (
        nested,
        b'{"kind":"EventList","items":[' + nested + b"]}",
        b'{\n"a":' + nested + b"\n}\n" + EVENT,
        b"kind: Event\na: " + nested,
        b"\n".join(b"[" for _ in range(depth)),
    ):
        read_all(source)


def test_a_line_with_many_records_does_not_recurse() -> None:
    _, found = read_all(b"{}x" * 5_000 + b"\n" + EVENT)
    assert isinstance(found[-1], Record)
    assert len(read_all(EVENT * 3_000)[1]) == 3_000


def test_aliases_cannot_make_yaml_grow_without_end() -> None:
    lines = [b"kind: Event", b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    assert "aliases" in reasons(b"\n".join(lines))[0]


def test_a_line_cut_by_the_size_limit_is_a_cut_record() -> None:
    reader = Reader()
    found = list(reader.feed(Chunk(EVENT[:90], 1, 0, cut_from=10_000_000)))
    found += reader.feed(Chunk(EVENT + b"\n", 2, 10_000_000))
    found += reader.close()
    assert [(record.line, record.cut) for record in found if isinstance(record, Record)] == [(1, True), (2, False)]
    assert reader.counts.lines == reader.counts.records == 2


def test_a_cut_list_keeps_its_whole_items() -> None:
    reader = Reader()
    found = list(reader.feed(Chunk(b'{"kind":"EventList","items":[' + EVENT + b"," + EVENT[:90], 1, 0, cut_from=1 << 40)))
    found += reader.close()
    assert [(record.item, record.cut) for record in found if isinstance(record, Record)] == [(1, False), (2, True)]


def test_idle_says_whether_something_is_pending() -> None:
    reader = Reader()
    assert reader.idle
    list(reader.feed(Chunk(b"I0101 00:00:01.000001       1 a.go:1] x\n", 1, 0)))
    assert not reader.idle
    list(reader.feed(Chunk((EVENT + b"\n") * 20, 2, 41)))
    assert reader.idle
    list(reader.feed(Chunk(b"[\n" + EVENT + b",\n", 22, 5000)))
    assert not reader.idle
    list(reader.close())
    assert reader.idle


def test_audit_lines_between_the_lines_of_a_log_entry_do_not_tear_it() -> None:
    head = b"I0101 00:00:01.000001       1 trace.go:1] Trace[7]: x\n"
    found = read_all(head + EVENT + b"\nTrace[7]: END\n")[1]
    assert [found[0].line, found[1].line] == [2, 1]
    assert isinstance(found[1], Record)
    assert found[1].text == head + b"Trace[7]: END"


def test_streams_of_a_container_do_not_mix() -> None:
    piece = b"2024-05-01T10:00:00Z stdout P " + EVENT[:50] + b"\n2024-05-01T10:00:00Z stderr P words\n"
    found = read_all(piece + b"2024-05-01T10:00:00Z stdout F " + EVENT[50:] + b"\n2024-05-01T10:00:01Z stderr F more\n")[1]
    assert isinstance(found[0], Record)
    assert found[0].text == EVENT
    assert found[1].text == b"wordsmore"


def test_a_docker_line_that_lacks_only_its_newline_is_whole() -> None:
    line = b'{"log":"%s","stream":"stdout","time":"2024-05-01T10:00:00Z"}\n' % EVENT.replace(b'"', b'\\"')
    assert [found.line for found in read_all(line * 3)[1]] == [1, 2, 3]


def test_hints_name_what_the_wrapper_does_not() -> None:
    reader = Reader(instance="cp-0", cluster="shop")
    (found,) = reader.feed(Chunk(EVENT + b"\n", 1, 0))
    assert isinstance(found, Record)
    assert (found.instance, found.cluster) == ("cp-0", "shop")


def test_kubectl_output_is_said_to_be() -> None:
    reader = Reader(format="kubectl")
    found = [*reader.feed(Chunk(b"I0101 00:00:01.000001       1 a.go:1] GET x\n", 1, 0)), *reader.close()]
    assert [record.format for record in found if isinstance(record, Record)] == ["kubectl"]


@pytest.mark.parametrize("pretty", [True, False])
def test_a_large_list_is_never_held(pretty: bool) -> None:
    item = EVENT.replace(b",", b",\n    ") if pretty else EVENT
    item = item[:-1] + b',"requestObject":{"a":"' + b"x" * 2_000 + b'"}}'

    def parts() -> Iterator[Chunk]:
        line, offset = 1, 0
        for data in [b'{"kind":"EventList","items":[\n', *[(item + b",\n") * 500] * 30, item + b"\n]}\n"]:
            yield Chunk(data, line, offset)
            line += physical_lines(data)
            offset += len(data)

    reader, records = Reader(), 0
    tracemalloc.start()
    for chunk in parts():
        records += sum(1 for found in reader.feed(chunk) if isinstance(found, Record) and found.item)
    records += sum(1 for _ in reader.close())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records == 15_001
    assert peak < 12_000_000  # of 33 MB
