"""Audit events and log entries glued into one line, in any order and by any separator, are each what they were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens.formats import glue

from .helpers import Read, exact_path, read

_KLOG = [
    b"I0306 23:52:32.125600      12 cacher.go:752] cacher (*core.Namespace): 2 objects queued in incoming channel",
    b'I0306 23:52:32.125600      12 httplog.go:134] "HTTP" verb="GET" URI="/healthz" latency="1ms" resp=200',
    b"W0306 23:52:32.125600      12 x.go:1] map[a:b] {c}",
    b"I0306 23:52:32.125600      12 handlers.go:161] GET /api/v1/pods: (1ms) 200 [[a/v1 (linux)] 127.0.0.1:34234]",
    b'E0306 23:52:32.125600      12 x.go:1] user "a" said "b"',
]
_LEGACY = (
    b'2024-03-06T23:52:32.1Z AUDIT: id="%d" stage="ResponseComplete" ip="192.0.2.1" method="delete" user="u" groups="<none>" '
    b'as="<self>" asgroups="<lookup>" user-agent="x y" namespace="d" uri="/api/v1/namespaces/d" response="200"'
)
_DATES = [b"", b"", b"2024-03-06T23:52:32Z ", b"2024-03-06T23:52:32.125600774+01:00 ", b"2024-03-06T23:52:32.1Z stderr F "]


def _event(n: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": str(n), "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/a}b", "verb": "delete", "user": {"username": "u"},
        "requestReceivedTimestamp": "2024-03-06T23:52:32.125600Z", "stageTimestamp": "2024-03-06T23:52:32.125600Z",
    } | more  # fmt: skip


def _written(event: dict[str, Any], *, spaces: bool = False) -> bytes:
    return json.dumps(event, separators=(", ", ": ") if spaces else (",", ":")).encode()


@st.composite
def _lines(draw: st.DrawFn) -> tuple[bytes, list[str], int]:
    """Lines of glued pieces, the audit ids in them, and the number of log entries."""
    out, ids, entries, number = b"", [], 0, 0
    for _ in range(draw(st.integers(1, 4))):
        for place in range(draw(st.integers(1, 5))):
            kind = draw(st.sampled_from(["klog", "event", "event", "item", "list", "legacy", "spaced"]))
            number += 1
            head = _event(number)
            item = {k: v for k, v in head.items() if k not in ("kind", "apiVersion")}
            if place:
                out += draw(st.sampled_from([b"", b" ", b"  ", b"\t", b" \t "]))
                out += draw(st.sampled_from(_DATES)) if kind != "legacy" or out[-1:].isspace() else b" "
            if kind == "klog":
                out += draw(st.sampled_from(_KLOG))
                entries += 1
                continue
            ids += [str(number)] if kind != "list" else [str(number), f"{number}b"]
            out += {
                "event": _written(head), "item": _written(item), "spaced": _written(head, spaces=True), "legacy": _LEGACY % number,
                "list": _written({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {},
                                  "items": [item, item | {"auditID": f"{number}b"}]}),
            }[kind]  # fmt: skip
        out += b"\n"
    return out, ids, entries


@settings(max_examples=100, deadline=None)
@given(_lines(), st.booleans())
def test_whatever_is_glued_is_read(lines: tuple[bytes, list[str], int], alone: bool) -> None:
    data, ids, entries = lines
    if not alone:
        data += (_KLOG[0] + b"\n") * 30  # mostly klog: read in bulk
        entries += 30
    for path in (None, exact_path()):
        if path is None:
            found = read(data)
        else:
            with path:
                found = read(data)
        _holds(found, ids, entries)


def _holds(found: Read, ids: list[str], entries: int) -> None:
    found.accounted()
    assert [r.reason for r in found.rejects] == []
    assert sorted(found.audit_ids) == sorted(ids)
    assert len(found.rows["klog"]) == entries
    assert all("auditID" not in row["message"] and "AUDIT" not in row["message"] for row in found.rows["klog"])


@pytest.mark.parametrize("separator", [b"", b" ", b"\t", b" 2024-03-06T23:52:32Z "])
def test_the_text_stays_and_the_event_is_a_row(separator: bytes) -> None:
    found = read(b"kubernetes/$Format\t" + _KLOG[0] + separator + _written(_event(1)) + b"\n")
    found.accounted()
    assert found.audit_ids == ["1"]
    assert [row["message"] for row in found.rows["klog"]] == ["cacher (*core.Namespace): 2 objects queued in incoming channel"]
    assert (found.rows["klog"][0]["item"], found.counts.items) == (None, 1)


def test_a_trace_goes_on_behind_an_event_glued_into_it() -> None:
    head = b'I0306 23:52:33.125600      12 trace.go:236] Trace[1]: "Get" (06-Mar-2024 23:52:31.608) (total time: 1517ms):'
    step = b'\nTrace[1]: ---"About to write a response" 1517ms (23:52:33.125)\nTrace[1]: [1.517s] [1.517s] END\n'
    found = read(head + _written(_event(1)) + step)
    assert found.audit_ids == ["1"]
    assert [row["step"] for row in found.rows["trace"]] == [None, "About to write a response"]


@pytest.mark.parametrize(
    "line",
    [
        b"I0306 23:52:32.125600      12 handlers.go:161] GET /x?a=%b: (1ms) 404 [[curl/7] 192.0.2.9:3423]",
        b"I0306 23:52:32.125600      12 handlers.go:161] GET /x: (1ms) 200 [[curl %b] 192.0.2.9:3423]",
        b"I0306 23:52:32.125600      12 wrap.go:42] GET /x: (1ms) 200 [%b 192.0.2.9:3423]",
    ],
)
def test_what_a_client_sent_is_no_event(line: bytes) -> None:
    """Up to 1.17 URI and user agent stand in the log as they came."""
    found = read(line % _written(_event(1)) + b"\n")
    assert (found.audit_ids, len(found.rows["klog"]), found.rejects) == ([], 1, [])
    assert len(found.rows["httplog"]) == 1


def test_what_stands_in_a_value_of_several_lines_is_no_event() -> None:
    """An error's body may repeat what the client sent; klog indents such values by a tab."""
    head = b'I0306 23:52:32.125600      12 httplog.go:134] "HTTP" verb="GET" URI="/x" latency="1ms" resp=400 addedInfo=<\n'
    block = b"\tlogging error output: \n\t" + _written(_event(1)) + b"\n\tand " + _written(_event(2)) + b"\n >\n"
    found = read(head + block + _KLOG[0] + b"\n")
    assert (found.audit_ids, len(found.rows["klog"]), found.rejects) == ([], 2, [])
    behind = read(head + b"\tx\n >\n\tat x.go:1" + _written(_event(3)) + b"\n")  # a stack's line is indented too
    assert (behind.audit_ids, len(behind.rows["klog"])) == (["3"], 1)


def test_a_torn_event_ends_where_the_next_record_begins() -> None:
    torn = _written(_event(1))[:150]
    found = read(torn + _KLOG[0] + _written(_event(2)) + b"\n")
    found.accounted()
    assert (len(found.rows["klog"]), found.events, found.rejects) == (1, 2, [])


@pytest.mark.parametrize(
    "behind", [b" " + _KLOG[2], _KLOG[2], b' {"ts":1709769152000.1,"caller":"a/b.go:1","msg":"HTTP","v":3,"a":{}}']
)
def test_a_chunk_of_plain_events_with_one_line_that_goes_on(behind: bytes) -> None:
    events = [_written(_event(n)) for n in range(3)]
    assert not glue.several_documents(b"\n".join(events))
    found = read(events[0] + b"\n" + events[1] + behind + b"\n" + events[2] + b"\n")
    found.accounted()
    assert found.audit_ids == ["0", "1", "2"]
    assert len(found.rows["klog"]) == 1


def test_strings_that_look_like_more_keep_the_fast_path() -> None:
    assert not glue.several_documents(_written(_event(1, requestURI="/{x}y } z}1")) + b"\n")


_WORDS = st.lists(
    st.sampled_from([b"panic:", b"oops", b"line", b"(of", b"text)", b"it's", b"a=b", b"[x]", b"12", b"{}", b"at"]), min_size=3
).filter(lambda words: set(words) - {b"[x]", b"{}"})  # one word and brackets are what a tool puts before a line


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(_WORDS, st.sampled_from([b"", b" ", b"  ", b"\t", b": ", b" - ", b"2024-03-06T23:52:32Z "]), _WORDS, st.booleans()),
             min_size=1, max_size=4),
    st.sampled_from([b"", _KLOG[0] + b"\n", b"kube-apiserver-1 apiserver " + _KLOG[0] + b"\n"]),
)  # fmt: skip
def test_text_before_and_behind_an_event_is_kept(lines: list[tuple[list[bytes], bytes, list[bytes], bool]], above: bytes) -> None:
    """Without a log entry's header it is a reject, below one it goes on with it; what a tool puts before each line is neither."""
    data, texts = above, set()
    for n, (words, separator, behind, goes_on) in enumerate(lines):
        before, after = b"w%d " % n + b" ".join(words), b"v%d " % n + b" ".join(behind) if goes_on else b""
        data += before + separator + _written(_event(n)) + (b" " + after if after else b"") + b"\n"
        texts |= {before.decode(), after.decode()}
    for path in (None, exact_path()):
        if path is None:
            found = read(data)
        else:
            with path:
                found = read(data)
        found.accounted()
        assert sorted(found.audit_ids) == [str(n) for n in range(len(lines))]
        kept = "\n".join([*(r.text.decode() for r in found.rejects), *(row["message"] for row in found.rows["klog"])])
        assert [text for text in texts if text not in kept] == []


def test_text_that_stands_before_every_line_is_kept_once() -> None:
    found = read(b"".join(b"[GIN] my own tool says " + _written(_event(n)) + b"\n" for n in range(5)))
    found.accounted()
    assert found.audit_ids == ["0", "1", "2", "3", "4"]
    assert [r.text for r in found.rejects] == [b"[GIN] my own tool says "]
