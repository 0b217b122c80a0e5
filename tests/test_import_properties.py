"""Whatever lines in whatever pieces: every record is a row, a duplicate or a reject, and twice is once."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import EVIDENCE, assert_same, day, event, imported, physical_lines, rows, tables, text, write
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from auditlens.importing.files import run
from auditlens.importing.files.chunks import ChunkReader
from auditlens.importing.sources import SourceFile

EVENTS = list(day(24))
PLAIN = [text(e) for e in EVENTS]
ODD = [
    b"", b" ", b"rubbish", b"{}", b"null", b"[1]", b'{"kind":"Event"}', b"\xff\x00", PLAIN[0][:200], PLAIN[1][:-40], b'"x"',
    b'{"kind":"Event","apiVersion":"v1","metadata":{}}', b"I1123 04:36:33.557903   16168 httplog.go:134] x",
    text(event(99, verb=7)), text(event(98, user="x")), text(event(97, novelty=[1])),
]  # fmt: skip
WRAPPED = [b"2026-11-23T12:00:00Z stdout F " + ln for ln in PLAIN] + [json.dumps({"log": ln.decode()}).encode() for ln in PLAIN]


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    lines = st.one_of(st.sampled_from(PLAIN), st.sampled_from(ODD), st.sampled_from(WRAPPED), st.binary(max_size=30))
    torn = st.builds(lambda ln, at: ln[: at % (len(ln) + 1)], st.sampled_from(PLAIN), st.integers(0, 2000))
    some = draw(st.lists(st.one_of(lines, torn), max_size=14))
    return b"\n".join(ln.rstrip(b"\n") for ln in some) + draw(st.sampled_from([b"", b"\n"]))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs(), chunk=st.integers(1, 3000))
def test_a_mix_in_any_pieces_is_accounted_for_and_twice_is_once(monkeypatch: pytest.MonkeyPatch, log: bytes, chunk: int) -> None:
    root = Path(tempfile.mkdtemp())
    path = write(root / "a.log", log)
    assume(not SourceFile(path, "a.log").compressed)  # four letters make it a damaged archive
    with monkeypatch.context() as patched:
        patched.setattr(run, "ChunkReader", functools.partial(ChunkReader, chunk=chunk))
        report = imported(root / "lake", path)  # both identities are checked there
    assert report.total()["lines"] == physical_lines(log)
    once = tables(root / "lake")
    events = {"audit": tables(root / "lake", without=EVIDENCE)["audit"]}
    again = imported(root / "lake", path)
    assert again.total()["duplicates"] == again.total()["records"]
    assert_same(tables(root / "lake"), once)
    # the same lines in another file: still the same events, and no fewer rejects
    imported(root / "lake", write(root / "b.log", log + b"\n\n"))
    assert_same(tables(root / "lake", without=EVIDENCE), events, only=("audit",))
    count = "select count(*) filter (where not partial) from audit"
    other = root / "other"
    imported(other, path)
    assert rows(root / "lake", count) == rows(other, count)
    shutil.rmtree(root)


def shapes(draw: st.DrawFn) -> dict[str, Any]:
    value = st.one_of(
        st.none(), st.booleans(), st.integers(-5, 10**20), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2),
        st.dictionaries(st.sampled_from(["username", "groups", "name", "code", "a"]), st.text(max_size=3), max_size=2),
    )  # fmt: skip
    field = st.sampled_from(
        ["auditID", "stage", "verb", "requestURI", "level", "user", "impersonatedUser", "sourceIPs", "userAgent", "objectRef",
         "responseStatus", "annotations", "stageTimestamp", "requestReceivedTimestamp", "requestObject", "responseObject", "new"]
    )  # fmt: skip
    return draw(st.dictionaries(field, value, min_size=1, max_size=3))


# What from_json() may make text of: numbers and objects inside of the event's objects and lists.
TEXTS = {"user", "impersonatedUser", "objectRef", "sourceIPs", "responseStatus", "annotations"}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.composite(shapes)(), min_size=6, max_size=12))
def test_the_fast_path_and_the_exact_path_agree(changes: list[dict[str, Any]]) -> None:
    """The same odd events with and without a word that sends a line to the exact path."""
    root = Path(tempfile.mkdtemp())
    made = [{**event(n), **change} for n, change in enumerate(changes)]
    exact = [e | {"x-exact": "Bearer x"} for e in made]  # an unknown field: never fast
    imported(root / "fast", write(root / "fast.log", made))
    imported(root / "exact", write(root / "exact.log", exact))
    without = EVIDENCE | {"extra", "text", "byte_offset"}
    assert_same(tables(root / "fast", without=without), tables(root / "exact", without=without), only=("audit", "rejects"))
    shutil.rmtree(root)


DEEP = b'{"a":' * 2000 + b"1" + b"}" * 2000


@pytest.mark.parametrize("shape", ["lines", "a list", "an array", "a list over lines", "a wrapper", "a wrapper of text"])
def test_an_event_nested_too_deeply_keeps_its_head_and_its_neighbours(tmp_path: Path, shape: str) -> None:
    lines = text(*(event(n, auditID=f"a{n}b0c0d0-0000-4000-8000-000000000001") for n in range(3))).splitlines()
    lines[1] = lines[1].replace(b'"requestReceived', b'"requestObject":' + DEEP + b',"requestReceived')
    match shape:
        case "lines":
            data = b"\n".join(lines) + b"\n"
        case "a list":
            data = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + b",".join(lines) + b"]}\n"
        case "an array":
            data = b"[" + b",".join(lines) + b"]\n"
        case "a list over lines":
            data = b'{"items":[\n' + b",\n".join(lines) + b"\n]}\n"
        case "a wrapper":
            data = b"".join(b'{"log":' + line + b',"stream":"stdout"}\n' for line in lines)
        case _:
            data = b"".join(json.dumps({"log": line.decode()}).encode() + b"\n" for line in lines)
    imported(tmp_path / "lake", write(tmp_path / "a.log", data))
    found = rows(tmp_path / "lake", "select audit_id, verb, partial, request_object from audit order by 1")
    assert found == [(f"a{n}b0c0d0-0000-4000-8000-000000000001", "get", n == 1, None) for n in range(3)]
