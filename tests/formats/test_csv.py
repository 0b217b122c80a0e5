"""CSV exports: whatever the columns and the quotes, each row is a record or a reject at its line."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens.formats.reader import Reader
from auditlens.records import Chunk, Record, Reject

from .helpers import facts, physical_lines, read_all


def event(audit_id: str) -> str:
    made = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": "Panic",
        "verb": "get",
    }
    return json.dumps(made)


def table(names: list[str], rows: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerows([names, *rows])
    return out.getvalue().encode()


@settings(max_examples=100, deadline=None)
@given(
    st.permutations(["@message", "@logStream", "note", "@timestamp"]),
    st.lists(st.text("a\"',;\n \t{}[]é", max_size=12), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 200),
)
def test_rows_come_back_whole_in_order_at_their_lines(
    names: list[str], notes: list[str], delimiter: str, end: str, size: int
) -> None:
    at = {"@timestamp": "2024-05-01 10:00:00.123", "@logStream": "s"}
    rows = [[{**at, "@message": event(f"a{n}"), "note": note}[name] for name in names] for n, note in enumerate(notes)]
    source = table(names, rows, delimiter, end)
    found = [facts(record) for record in read_all(source, size)[1]]
    assert [record.get("auditID") for record in found] == [f"a{n}" for n in range(len(notes))]
    first = 2
    for record, row in zip(found, rows, strict=True):
        assert (record["line"], record["instance"], record["time"]) == (first, "s", "2024-05-01T10:00:00.123Z")
        first += table(row, [], delimiter, end).count(b"\n")


def test_a_byte_order_mark_and_columns_in_other_words() -> None:
    for names in (
        ["TimeGenerated [UTC]", "log_s"],
        ["_time", "_raw"],
        ["Time", "Message"],
        ["@timestamp", "_source"],
        ["x", "body"],
    ):
        (found,) = read_all(b"\xef\xbb\xbf" + table(names, [["2024-05-01T10:00:00.123Z", event("a1")]]))[1]
        assert facts(found)["auditID"] == "a1", names


@pytest.mark.parametrize("row", ['x,"no end', '"a"b,c', "one", "a,b,c", 'x,"{""kind"":""Event"'])
def test_a_bad_row_costs_itself_only(row: str) -> None:
    good = table(["_time", "_raw"], [["t", event("a1")]])
    source = good + row.encode() + b"\n" + b"".join(table(["t", event(f"b{n}")], []) for n in range(3))
    found = [facts(record) for record in read_all(source)[1]]
    assert [record.get("auditID", record["line"]) for record in found] == ["a1", 3, "b0", "b1", "b2"]
    assert "reject" in found[1]


def test_several_documents_in_one_file() -> None:
    a, b = table(["_time", "_raw"], [["t", event("a1")]]), table(["@message"], [[event("a2")]])
    klog = b"I0501 10:00:00.000000       1 a.go:1] words\n"
    found = read_all(a + b + event("a3").encode() + b"\n" + klog + a)[1]
    assert [facts(record).get("auditID") for record in found] == ["a1", "a2", "a3", None, "a1"]
    assert isinstance(found[3], Record)
    assert found[3].format == "klog"


def test_a_row_that_is_no_head_of_csv_is_not_taken_for_one() -> None:
    for text in (b"log, message, and so on\n", b"message\n", b"I said: message,log\n"):
        (found,) = read_all(text)[1]
        assert isinstance(found, Reject)


def test_a_large_table_is_never_held() -> None:
    body = event("a")[:-1] + ',"requestObject":{"a":"' + "x" * 2_000 + '"}}'

    def parts() -> Iterator[Chunk]:
        line, offset = 1, 0
        row = table(["t", body, "two\nlines"], [])
        for data in [b"_time,_raw,note\r\n", *[row * 500] * 30, b't,"never ends\n', *[row * 500] * 30]:
            yield Chunk(data, line, offset)
            line += physical_lines(data)
            offset += len(data)

    reader = Reader()
    tracemalloc.start()
    records = sum(1 for chunk in parts() for found in reader.feed(chunk) if isinstance(found, Record))
    records += sum(1 for found in reader.close() if isinstance(found, Record))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records == 30_000
    assert peak < 60_000_000  # of 130 MB: a row may be 16 MiB, and its lines are held until its quote is known to be stray
