"""The native core reads what it reads as the exact path does, row for row, and leaves the rest to it."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import CAPTURES, SHARED, day, event, imported, tables, text, write
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens import redact
from auditlens.formats.event import read_event
from auditlens.formats.reader import Reader
from auditlens.importing import columns, transform
from auditlens.importing.batches import SourceReader, plain_lines
from auditlens.importing.core import core, why_not
from auditlens.importing.transform import PLAIN, Batch, Source
from auditlens.importing.writer import Writer
from auditlens.records import Chunk
from auditlens.redact import NO_REDACTION, Redactor, rules
from auditlens.tables import Audit

ROOT = Path(__file__).resolve().parent.parent
needs_core = pytest.mark.skipif(core() is None, reason=f"no core: {why_not()}")
BODIES = ("request_object", "response_object")
REDACTOR = Redactor(b"0123456789abcdef")


@cache
def connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"threads": 1})
    con.execute("set TimeZone = 'UTC'")
    transform.prepare(con)
    return con


def batch(texts: Iterable[bytes]) -> pa.Table:
    """What the import makes of these records."""
    reader = SourceReader(Source("a.log", "a", "0123"))
    found = [t.decode("utf-8", "replace") for t in texts]
    lines = reader._table(len(found), text=found, line=list(range(1, len(found) + 1)))
    return lines.set_column(0, "n", pa.array(np.arange(len(found))))


def by_number(rows: pa.Table) -> dict[int, dict[str, Any]]:
    found = rows.to_pylist()
    for row in found:
        for name in BODIES:
            row[name] = row[name] and json.loads(row[name], parse_float=str, parse_int=str)
    return {row["n"]: row for row in found}


def touched(rows: pa.Table) -> list[str]:
    return sorted(map(repr, rows.to_pylist()))


def exact(lines: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that the exact path makes of all of these lines, redacted."""
    read, _ = transform.load(Batch(lines, []), np.arange(lines.num_rows), read_event, REDACTOR)
    writer = Writer(connection(), None, "", NO_REDACTION)  # type: ignore[arg-type]  # it writes nothing
    audit, touch, odd = writer._parsed(read)
    assert not len(odd)
    return audit, touch


def assert_reads_alike(texts: Iterable[bytes]) -> int:
    """The core's rows are those of the exact path; returns how many there are."""
    native = core()
    assert native
    every = batch(texts)
    suspect = transform.by_text(Batch(every, []))
    wanted = np.ones(every.num_rows, dtype=bool)
    wanted[suspect] = False
    found = columns.read(native, connection(), every, wanted)
    if found is None:
        return 0
    audit, touch, left = found
    mine = by_number(audit)
    kept = np.setdiff1d(np.flatnonzero(wanted), left)
    assert sorted(mine) == kept.tolist()
    audit, theirs_touch = exact(every.take(pa.array(kept)))
    theirs = by_number(audit)
    for n in kept.tolist():
        assert mine[n] == {name: theirs[n][name] for name in mine[n]}, every["text"][n].as_py()
    assert touched(touch) == [] if not touch.num_rows else touched(touch) == touched(theirs_touch)
    assert touch.num_rows == theirs_touch.num_rows
    return len(kept)


def lines_of(data: bytes) -> list[bytes]:
    """The records of a file, whatever it is wrapped in."""
    reader = Reader()
    found = [*reader.feed(Chunk(data, 1, 0)), *reader.close()]
    return [r.text for r in found if getattr(r, "format", "") == "audit"]


def files() -> Iterator[Path]:
    for folder in (CAPTURES, SHARED / "field", SHARED / "peers", ROOT / "sample-logs"):
        yield from sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size < 64 << 20)


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


@needs_core
def test_the_sample_logs_read_alike() -> None:
    read = total = 0
    for path in sorted((ROOT / "sample-logs").rglob("audit*")):
        found = lines_of(content(path))
        total += len(found)
        read += assert_reads_alike(found) if found else 0
    assert read > total / 2


@needs_core
@pytest.mark.slow
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the shared captures are not here")
@pytest.mark.parametrize("folder", ["captures", "field", "peers"])
def test_every_capture_field_case_and_file_of_peers_reads_alike(folder: str) -> None:
    for path in sorted(p for p in (SHARED / folder).rglob("*") if p.is_file() and p.stat().st_size < 64 << 20):
        try:
            found = lines_of(content(path)[: 16 << 20])[:5000]
        except (OSError, EOFError):
            continue
        if found:
            assert_reads_alike(found)


# What a mutation puts in: what means something to JSON, to a reader, or to one of the checks.
PIECES = st.sampled_from(
    [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"0", b"-1", b"1e999", b"1.10", b'""', b"\\u0026", b"\\u0000",
     b"\\ud800", b"\\n", b"\xff", b"\xc3\xa9", b" ", b"\x00", b"\t", b"\r", b"secrets", b"Secret", b'"name":1,', b'"metadata":null,',
     b'"uid":"x",', b"%62earer=", b"?dryRun=All", b"dryRun=", b'"dryRun":["All"],', b'"replicas":1,', b'"extra":{},', b"2026-02-30"]
)  # fmt: skip
SEEDS = [text(e).rstrip(b"\n") for e in day(16)]


@cache
def real() -> list[bytes]:
    """One short line of each shape in sample-logs/, which are a real apiserver's, and some that no sample has."""
    shapes: dict[str, bytes] = {}
    for path in sorted(p for p in (ROOT / "sample-logs").rglob("*") if p.is_file()):
        for line in lines_of(content(path)):
            if len(line) < 6000 and line[:1] == b"{":  # not those of the legacy format
                shapes.setdefault(re.sub(rb'"(?:[^"\\]|\\.)*"(?!:)|\d+', b"", line).decode("utf-8", "replace"), line)
    made = [
        event(1, user={}), event(2, impersonatedUser={"username": "m", "uid": "u", "groups": ["x"], "extra": {"k": ["v", "w"]}}),
        event(3, authenticationMetadata={"impersonationConstraint": "c"}), event(4, user={"username": "n"}),
        event(5, objectRef=None, requestURI="/healthz?timeout=1s"), event(6, requestURI="/apis/apps/v1/x?dryRun=All&a=b", verb="patch"),
    ]  # fmt: skip
    return [*shapes.values(), *(text(e).rstrip(b"\n") for e in made)]


# What an altered event has in the place of a value.
VALUES = [json.dumps(value) for value in (
    None, True, False, 0, 1, -1, 403, 1.5, 10**17, 10**19, "", " ", "x", "1", "true", "null", "{}", "[]", '{"a":1}', "é", "a\tb", "<&>",
    "2026-11-23T12:00:00Z", "2026-11-23T12:00:00.1234567Z", "0001-01-01T00:00:00Z", "2026-11-23T12:00:00+01:00", "All", "Event",
    "audit.k8s.io/v1", "v1", "apps/v1", "/", "/api/v1/pods/x", "list", "patch", "create", "Metadata", "None", "Panic", "RequestReceived",
    [], {}, [None], [1], [[]], [{}], ["x"], ["x", None], ["x", "x"], {"a": None}, {"": ""}, {"metadata": {"name": "x"}},
    {"kind": "Table", "rows": [{"object": {"metadata": {"name": "r"}}}]}, {"kind": "PodList", "items": [{"metadata": {"name": "i"}}, {}]},
    {"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": "1", "controller": True}]}},
    {"spec": {"replicas": 3}}, {"dryRun": ["All"]}, {"deleteOptions": {"dryRun": []}},
)]  # fmt: skip
KEYS = ["kind", "apiVersion", "metadata", "name", "uid", "namespace", "items", "rows", "spec", "replicas", "dryRun", "details",
        "ownerReferences", "controller", "code", "username", "groups", "extra", "x", "Verb", "userAgent", "annotations",
        "responseObject", "requestObject", "impersonatedUser", "k8s.io/a"]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A real event with other values, with fewer members or with more."""
    parsed: dict[str, Any] = json.loads(draw(st.sampled_from(real())))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(parsed))
        if not found:
            break
        inside, key = found[draw(st.integers(0, len(found) - 1))]
        other_value = json.loads(draw(st.sampled_from(VALUES)))
        match draw(st.integers(0, 3)):
            case 0 if isinstance(inside, dict):
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[draw(st.sampled_from(KEYS))] = other_value
            case 2:
                other = json.loads(draw(st.sampled_from(real())))
                parsed.update({k: other[k] for k in [draw(st.sampled_from(sorted(other)))]})
            case _:
                inside[key] = other_value
    return text(parsed).rstrip(b"\n")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    line = draw(st.sampled_from(SEEDS) | st.sampled_from(real()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        match draw(st.integers(0, 3)):
            case 0:
                line = line[:at] + draw(PIECES) + line[at:]
            case 1:
                line = line[:at] + line[at + draw(st.integers(1, 30)) :]
            case 2:
                line = line[:at] + draw(st.binary(min_size=1, max_size=2)) + line[at + 1 :]
            case _:  # behind a mark, where a value, a key or a comma stands
                marks = [i for i, b in enumerate(line) if b in b'":,{[']
                at = draw(st.sampled_from(marks)) + 1 if marks else 0
                line = line[:at] + draw(PIECES) + line[at:]
    return line


@needs_core
@settings(max_examples=40, deadline=None)
@given(st.lists(mutated() | altered(), min_size=20, max_size=60))
def test_mutated_lines_read_alike_or_are_left(lines: list[bytes]) -> None:
    assert_reads_alike(lines)


@needs_core
@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(st.lists(mutated() | altered(), min_size=20, max_size=60))
@pytest.mark.timeout(1800)
def test_many_mutated_lines_read_alike_or_are_left(lines: list[bytes]) -> None:
    assert_reads_alike(lines)


HOSTILE = [
    b"", b"{}", b"[" * 1000, b'{"a":' * 1000, b"[" * 1_000_000, SEEDS[0][:-1] + b',"x":' + b"[" * 1000 + b"]" * 1000 + b"}",
    SEEDS[0].replace(b'"verb":', b'"verb":"x","verb":'), SEEDS[0] + b"\x00", b"\x00" * 5000, b"\xff\xfe" * 100,
    SEEDS[1].replace(b'"metadata":{}', b'"metadata":{"x":' + b"9" * 100_000 + b"}"), SEEDS[0].replace(b"alice", b"\\ud83d"),
    SEEDS[0].replace(b"alice", b"\xed\xa0\x80"), SEEDS[0].replace(b"alice", b"\\ud83d\\ude00"),
    SEEDS[6].replace(b'"kind":"Pod"', b'"kind":"Pod","spec":{"replicas":1e999}'), SEEDS[6].replace(b"web", b"w" * (32 << 20)),
    SEEDS[6].replace(b'"metadata":{', b'"metadata":{"name":"a","name":"b",'), b'{"kind":"Event","apiVersion":"audit.k8s.io/v1"}',
    SEEDS[0].replace(b'"sourceIPs":[', b'"sourceIPs":[' + b'"1",' * 100_000),
    SEEDS[0][:-1] + b",}", SEEDS[0].replace(b'"sourceIPs":["', b'"sourceIPs":["1",],"x":["'),
    *(SEEDS[6].replace(b'"metadata":{', b'"metadata":{"x":' + word) for word in (b"NaN", b"-Infinity", b" inf ")),
    SEEDS[6].replace(b'"metadata":{', b'"metadata":{"name":"a","name":"b"'),
    SEEDS[0].replace(b'"annotations":{', b'"annotations":{' + b"".join(b'"k%d":"",' % i for i in range(100_000))),
]  # fmt: skip


@needs_core
@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_line_is_read_alike_or_left_and_its_neighbours_are_read(line: bytes) -> None:
    assert assert_reads_alike([SEEDS[1], line, SEEDS[2]]) >= 2


def assert_suspects_alike(texts: list[bytes], pattern: str = redact.SUSPECT) -> int:
    """The core finds an expression where RE2 does; returns in how many texts."""
    native = core()
    assert native
    every = pa.chunked_array([pa.array(texts, pa.large_binary())])
    theirs = pc.match_substring_regex(every, pattern).to_numpy().astype(np.uint8)
    mine = native.find(every, pattern)
    assert mine is not None
    assert mine.tolist() == theirs.tolist(), [text for text, a, b in zip(texts, mine, theirs, strict=True) if a != b][:3]
    return int(mine.sum())


@needs_core
def test_secrets_are_suspected_where_re2_would() -> None:
    forms = [wrapped(key, value) for wrapped in FORMS for key, value in WORDS]
    assert 0 < assert_suspects_alike(forms) < len(forms)
    for path in files():
        lines = content(path).splitlines(keepends=True) if path.suffix in (".log", ".gz", ".json", ".jsonl") else []
        assert_suspects_alike([line[:20_000] for line in lines[:3000]])


# What stands around a word, and words; those of the rules among them.
FORMS: tuple[Callable[[bytes, bytes], bytes], ...] = (
    lambda k, v: b'{"' + k + b'":"' + v + b'"}', lambda k, v: b"--" + k + b"=" + v, lambda k, v: b" -" + k + b" " + v,
    lambda k, v: b'\\"' + k + b'\\": \\"' + v, lambda k, v: b"?" + k + b"%3d" + v, lambda k, v: v + b"{" + k + b"}" + v,
    lambda k, v: b'"name":"' + k + b'","value":"' + v + b'"', lambda k, v: b"<" + k + b">" + v, lambda k, v: k + v, lambda k, v: v + b"\n" + k,
    lambda k, v: k.upper() + b'","' + v, lambda k, v: b"x" + k + b"\\u0026" + v, lambda k, v: b"curl '" + k + b"' -u" + v, lambda k, v: b'"' + v,
)  # fmt: skip
_RULED = [n.encode() for rule in rules.RULES for n in rules.listed(rule["needle"])] + [n.encode() for n in rules.NAME_NEEDLES]
_TEXTS = [
    b"", b"x", b"hunter2", b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.abcdefgh", b"AKIA" + b"A" * 16, b"a" * 40, b"\xff\xfe", b"\x00", b"}" * 32,
    b"%61%62", b"\\u0041", b"H4sI", b"ghp_" + b"a" * 20, b"s." + b"a" * 24, b"secrets", b"Secret", b"\xc3\xa9", b"sk-" + b"a1" * 12, b"postgres://u:p@h/",
]  # fmt: skip
WORDS = [(key, value) for key in [*_RULED, *_TEXTS] for value in _TEXTS]


@needs_core
@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([*_RULED, *_TEXTS]) | PIECES | st.binary(max_size=3), max_size=6).map(b"".join), max_size=40
    )
)
def test_any_text_is_suspected_where_re2_would(texts: list[bytes]) -> None:
    assert_suspects_alike([*texts, b" ".join(texts)])


@needs_core
def test_every_rule_of_redaction_is_known_to_the_core() -> None:
    """An expression written in a way that the core does not know would cost every import seven times as much, without a word."""
    native = core()
    assert native
    assert native.find(pa.chunked_array([["x"]], pa.large_string()), redact.SUSPECT) is not None
    assert native.find(pa.chunked_array([["x"]], pa.large_string()), "(?<!a)b") is None


@needs_core
@pytest.mark.parametrize("hidden", [b"hunter2-in-a-token"])
def test_what_is_left_leaves_nothing_in_a_dictionary(hidden: bytes) -> None:
    """Fragments of a record that must be redacted are nowhere in what is written, not even unused."""
    ref = {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"}
    odd = event(1, objectRef=ref, user={"username": hidden.decode(), "groups": []}, annotations={"of.others/x": hidden.decode()})
    lines = [SEEDS[1], text(odd), SEEDS[2]]
    native = core()
    assert native
    found = columns.read(native, connection(), batch(lines), np.ones(3, dtype=bool))
    assert found is not None
    audit, objects, left = found
    assert left.tolist() == [1]
    for table in (audit, objects):
        assert not any(hidden in bytes(b) for c in table.columns for chunk in c.chunks for b in all_buffers(chunk))


def all_buffers(array: pa.Array) -> Iterator[pa.Buffer]:
    yield from (b for b in array.buffers() if b is not None)
    if pa.types.is_dictionary(array.type):
        yield from all_buffers(array.dictionary)


NAMES = ("text", "line", "item", "byte_offset", "partial", "time", "instance", "cluster")
BARE: dict[str, Any] = dict.fromkeys(("annotations", "userAgent", "sourceIPs", "objectRef", "responseStatus"))
SHORT = [text(event(n, **BARE)).rstrip(b"\n") for n in range(5)]


def pieces(data: bytes, size: int) -> tuple[list[tuple[Any, ...]], Any]:
    """The records of a log, read in chunks of a size, and the counts."""
    from auditlens.importing.files.chunks import ChunkReader

    reader = SourceReader(Source("a.log", "a", "0123"))
    found = [p.lines for p in reader.pieces(ChunkReader(Bytes(data), chunk=size))]
    rows = [row for table in found for row in zip(*(table[n].to_pylist() for n in NAMES), strict=True)]
    return [(text.rstrip("\n"), *rest) for text, *rest in rows], (reader.counts, reader.clusters)


def in_cri(line: bytes, *cuts: int, stream: bytes = b"stdout", time: bytes = b"2026-11-23T12:00:00.000000001Z") -> bytes:
    """A line as containerd keeps it, cut into pieces."""
    ends = [*sorted(cuts), len(line)]
    parts = zip([0, *ends], ends, strict=False)
    return b"".join(time + b" " + stream + (b" F " if end == len(line) else b" P ") + line[at:end] + b"\n" for at, end in parts)


def in_docker(line: bytes, *cuts: int, stream: bytes = b"stdout", time: bytes = b"2026-11-23T12:00:00.000000001Z") -> bytes:
    """A line as dockerd keeps it, cut into pieces."""
    ends = [*sorted(cuts), len(line)]
    parts = zip([0, *ends], ends, strict=False)
    logs = [(line[at:end] + (b"\n" if end == len(line) else b"")).decode() for at, end in parts]
    made = (json.dumps({"log": log, "stream": stream.decode(), "time": time.decode()}, separators=(",", ":")) for log in logs)
    return "".join(f"{one}\n" for one in made).encode()


def test_a_chunk_may_end_at_any_byte() -> None:
    data = b"\n".join([SHORT[0], SHORT[1][:90] + SHORT[2], SHORT[3] + SHORT[4], b"", SHORT[0]]) + b"\n"
    whole = pieces(data, len(data) + 1)
    assert len(whole[0]) == 6
    for size in range(150, len(data) + 1):
        assert pieces(data, size) == whole, size


@pytest.mark.parametrize("wrap", [in_cri, in_docker])
def test_a_chunk_of_container_lines_may_end_at_any_byte(wrap: Callable[..., bytes]) -> None:
    data = wrap(SHORT[0]) + wrap(SHORT[1], 80, 200, stream=b"stderr") + wrap(SHORT[2]) + wrap(SHORT[3], 300)
    whole = pieces(data, len(data) + 1)
    assert len(whole[0]) == 4 and whole[1][0].continuations == 3
    for size in range(1, len(data) + 1, 3):
        assert pieces(data, size) == whole, size


@needs_core
@pytest.mark.parametrize("wrap", [in_cri, in_docker])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_container_lines_are_unwrapped_as_without_the_core(wrap: Callable[..., bytes], data: st.DataObject) -> None:
    whole, cut = st.sampled_from(SHORT), st.integers(0, 400)
    odd = st.sampled_from(
        [b"", b"I1123 12:00:00.000000 1 a.go:1] x", SHORT[0][:99], SHORT[0] + SHORT[1], SHORT[0] + b"\r", b"{}"]
    )
    times = st.sampled_from([b"2026-11-23T12:00:00+01:00", b"2026-11-23 12:00:00.1Z", b""])
    line = st.one_of(
        st.builds(wrap, whole),
        st.builds(wrap, whole, cut, cut, stream=st.sampled_from([b"stdout", b"stderr"])),
        st.builds(wrap, odd),
        st.builds(wrap, whole, time=times),
        st.sampled_from(
            [b"\n", SHORT[0] + b"\n", wrap(SHORT[0], 50).splitlines(keepends=True)[0], in_cri(SHORT[0]), in_docker(SHORT[0])]
        ),
    )
    log = b"".join(data.draw(st.lists(line, min_size=1, max_size=6)))
    size = data.draw(st.sampled_from([300, 1000, 1 << 20]))
    mine = pieces(log, size)
    with pytest.MonkeyPatch.context() as without:
        without.setattr("auditlens.importing.batches.core", lambda: None)
        assert mine == pieces(log, size)


@needs_core
@pytest.mark.parametrize("wrap", [in_cri, in_docker])
def test_container_lines_take_the_fast_road(wrap: Callable[..., bytes]) -> None:
    native = core()
    assert native
    found = native.container(wrap(SHORT[0]) + wrap(SHORT[1], 100), PLAIN.encode())
    assert found is not None and found.text.to_pylist() == [s.decode() + "\n" for s in SHORT[:2]]


class Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def readinto(self, buffer: memoryview, /) -> int:
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


@needs_core
@pytest.mark.parametrize(
    "odd", [b"", SEEDS[0][:50] + b"\n", SEEDS[0] + SEEDS[1] + b"\n", b"x\n", SEEDS[0] + b" {}\n", SEEDS[0] + b"\r\n", b"\n", b"{}\n",
            SEEDS[0].replace(b"alice", b"\xff") + b"\n", SEEDS[0].replace(b"alice", b"}I{") + b"\n"],
)  # fmt: skip
def test_lines_are_split_as_without_the_core(odd: bytes) -> None:
    native = core()
    assert native
    data = b"".join(s + b"\n" for s in SEEDS[:3]) + odd + b"".join(s + b"\n" for s in SEEDS[3:])
    mine, theirs = native.lines(data, PLAIN.encode()), plain_lines(data)
    assert (mine is None) == (theirs is None)
    assert mine is None or mine.tolist() == theirs.tolist()  # type: ignore[union-attr]


def assert_lakes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Every table of a lake, cell by cell, with the core and without."""
    with_core = imported(tmp_path / "with", *paths).total()
    with monkeypatch.context() as without:
        for module in ("batches", "transform", "writer"):
            without.setattr(f"auditlens.importing.{module}.core", lambda: None)
        bare = imported(tmp_path / "without", *paths).total()
    assert with_core | {"seconds": 0} == bare | {"seconds": 0}
    assert tables(tmp_path / "with") == tables(tmp_path / "without")


@needs_core
def test_a_lake_is_the_same_without_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = b"".join(b"2026-11-23T12:00:00Z stdout F " + s + b"\n" for s in SEEDS[:8])
    listed = event(3, annotations={"a": "b"}, user={}, impersonatedUser={"username": "m", "groups": ["x"]}, verb="patch")
    escaped = SEEDS[6].replace(b'"metadata":{', b'"metadata":{"labels":{"a":"\\u003cb\\u003e \\u2028"},')
    assert escaped != SEEDS[6]
    log = write(tmp_path / "a.log", text(*day(400), listed) + escaped + b"\n" + wrapped + b"rubbish\n")
    assert_lakes_are_the_same(tmp_path, monkeypatch, log)


@needs_core
def test_a_lake_of_hostile_lines_is_the_same_without_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for hostile in HOSTILE if len(hostile) < 2 << 20 for line in (SEEDS[1], hostile, SEEDS[2])]
    alone = write(tmp_path / "alone.log", b"".join(line + b"\n" for line in lines))
    plain = write(
        tmp_path / "plain.log",
        b"".join(line + b"\n" for line in lines if line.startswith(PLAIN.encode()) and line.endswith(b"}")),
    )
    assert_lakes_are_the_same(tmp_path, monkeypatch, alone, plain)


def _folders() -> list[Path]:
    captured = sorted({p.parent for p in CAPTURES.rglob("audit*.log*")}) if CAPTURES.is_dir() else []
    field = [SHARED / "field"] if (SHARED / "field").is_dir() else []
    return [*(folder for folder in captured if folder.name != "bulk"), *field, *sorted((ROOT / "sample-logs").iterdir())]


@needs_core
@pytest.mark.parametrize("folder", _folders(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_the_lake_of_every_capture_and_field_case_is_the_same_without_the_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md" and p.name.startswith(("audit", "sample")))
    paths = paths or sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".log", ".json", ".jsonl", ".gz"))
    if not paths:
        pytest.skip("no logs of audit events")
    assert_lakes_are_the_same(tmp_path, monkeypatch, *paths)


@needs_core
def test_every_column_of_audit_is_made() -> None:
    made = {
        *columns._SAME,
        *columns._OF_RECORD,
        *columns._MADE,
        *(name for group in columns._groups().values() for name, *_ in group),
    }
    assert made - {columns._UID_OF_DETAILS} == {c.name for c in Audit.stored()}


def run(code: str, **env: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | env)
    return done.stdout.strip()


def test_the_core_can_be_turned_off() -> None:
    code = "from auditlens.importing import core; print(core.core(), core.why_not())"
    assert run(code, AUDITLENS_CORE="0") == "None turned off by AUDITLENS_CORE=0"


REFUSED = {
    "not 9": "core.VERSION = '9'",
    "built from other sources": "core._SOURCES = Path({tmp!r})",
    "fails its self-test": "core.ctypes.CDLL = Failing",
    "cannot be used": "core.LIBRARY = Path({tmp!r}, 'src', 'lib.rs')",  # no library
    "undefined symbol": "core.LIBRARY = Path(_ctypes.__file__)",  # a library of something else
}
FAILING = """
class Failing(core.ctypes.CDLL):
    class auditlens_core_self_test:
        def __new__(cls): return -1
"""


@pytest.mark.parametrize("why", REFUSED)
def test_a_core_that_is_not_fit_is_refused_with_a_word(why: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text("")
    (tmp_path / "src" / "lib.rs").write_text("// other sources")
    if core() is None and why not in ("cannot be used", "undefined symbol"):
        pytest.skip("no core")
    fault = REFUSED[why].format(tmp=str(tmp_path))
    code = f"import _ctypes; from pathlib import Path; from auditlens.importing import core\n{FAILING}\n{fault}\nprint(core.core(), core.refused())"
    told = run(code, AUDITLENS_CORE="")
    assert told.startswith("None ") and why in told and "\n" not in told


@needs_core
def test_calls_give_back_what_they_took() -> None:
    """Columns are freed when nobody looks at them any more, also one by one."""
    native = core()
    assert native
    texts = pa.chunked_array([[s.decode() for s in SEEDS] * 200], pa.large_string())
    every = np.ones(len(texts), dtype=bool)

    def peak() -> int:
        return next(
            int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
        )

    def some() -> None:
        for _ in range(60):
            found = native.audit(texts, every, ())
            assert found
            column = found[0]["user"]
            del found
            assert len(column) == len(texts)

    some()
    before = peak()
    some()
    some()
    assert peak() - before < 50_000  # KiB; 120 calls hold 400 MB
