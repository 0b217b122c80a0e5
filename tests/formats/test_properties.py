"""Whatever the bytes, nothing is raised, every line is accounted for, and chunk ends leave no trace."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens.formats.event import read_event
from auditlens.formats.registry import SAMPLES
from auditlens.records import Event, Record, Reject

from .helpers import read_all

WHOLE = [sample.source for samples in SAMPLES.values() for sample in samples]
LINES = sorted({line for source in WHOLE for line in source.split(b"\n")})
ODD = [
    b"", b" ", b"\t", b"\r", b"{", b"}", b"[", b"]", b"],", b"---", b"...", b"items:", b"- a", b"  - level: x", b'{"items":[',
    b'{"a":"', b'"kind": "Event",', b"GET / HTTP/1.1", b"Host: x", b"null", b"1,", b"\x00\xff", b"[[[[", b"}{", b'"x"',
    b"2024-05-01T10:00:00Z stdout P {", b"2024-05-01T10:00:00Z stdout F }", b" AUDIT: id=", b'{"logEvents":[',
]  # fmt: skip


@st.composite
def sources(draw: st.DrawFn) -> bytes:
    """Samples, their lines torn and glued, and noise, in any order."""
    line = st.sampled_from(LINES + ODD)
    torn = st.builds(lambda text, at: text[: at % (len(text) + 1)], line, st.integers(0, 400))
    glued = st.builds(lambda a, b: a + b, torn, line)
    piece = st.one_of(line, line, torn, glued, st.binary(max_size=20), st.sampled_from(WHOLE))
    return b"".join(
        part + end for part, end in draw(st.lists(st.tuples(piece, st.sampled_from([b"\n", b"\n", b"\r\n", b""])), max_size=12))
    )


def told(source: bytes, size: int) -> list[object]:
    return [
        (found, read_event(found)) if isinstance(found, Record) and found.format == "audit" else found
        for found in read_all(source, size)[1]
    ]


@settings(max_examples=300, deadline=None)
@given(sources(), st.integers(1, 300))
def test_a_mix_is_accounted_for_and_reads_the_same_in_any_chunks(source: bytes, size: int) -> None:
    whole = told(source, 1 << 26)
    assert told(source, size) == whole


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_accounted_for(source: bytes) -> None:
    read_all(source)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.sampled_from(LINES)), st.booleans())
def test_any_record_is_an_event_or_a_reject(text: bytes, cut: bool) -> None:
    assert isinstance(read_event(Record(text, 1, 0, cut=cut)), (Event, Reject))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LINES), st.integers(0, 2000))
def test_what_a_cut_event_says_the_whole_one_says_too(text: bytes, at: int) -> None:
    whole = read_event(Record(text, 1, 0))
    if not isinstance(whole, Event) or not text.startswith(b"{") or whole.partial:
        return
    cut = read_event(Record(text[: at % len(text)], 1, 0, cut=True))
    if isinstance(cut, Event):
        assert cut.partial
        for name, value in cut.head.items():
            if name == "objectRef" and name not in whole.head:
                continue  # filled from the URI
            expected = whole.head[name]
            assert value == expected or (isinstance(value, dict) and value.items() <= expected.items())
