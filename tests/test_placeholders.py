"""What a platform writes in place of a body is no body: the event is a row, counts as truncated, and no path takes the text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SHARED, auditlens, event, imported, rows, write

from auditlens.formats.event import read_event
from auditlens.records import Event, Record

BODY = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "settings"}}
INSTEAD = ["skipped-too-big-size-object", "x", 7, 1.5, True, "null", "{no json", "[1"]


@pytest.mark.parametrize("instead", INSTEAD, ids=str)
@pytest.mark.parametrize("path", ["fast", "exact", "spaced"])
def test_a_text_or_number_is_no_body(tmp_path: Path, path: str, instead: object) -> None:
    more = {"annotations": {"note": "Bearer x"}} if path == "exact" else {}
    made = [
        event(1, requestObject=instead, responseObject=BODY, **more),
        event(2, requestObject=BODY, responseObject=instead, **more),
        event(3, requestObject=instead, responseObject=instead, verb="patch", **more),
        event(4, requestObject=BODY, responseObject=BODY, **more),
    ]
    source = write(tmp_path / "a.log", "".join(json.dumps(e) + "\n" for e in made).encode() if path == "spaced" else made)
    imported(tmp_path / "lake", source)
    found = rows(
        tmp_path / "lake",
        "select truncated, json(request_object)->>'kind', json(response_object)->>'kind', extra is not null from audit order by audit_id",
    )
    assert found == [
        (True, None, "ConfigMap", True), (True, "ConfigMap", None, True), (True, None, None, True), (False, "ConfigMap", "ConfigMap", False),
    ]  # fmt: skip


@pytest.mark.parametrize("spaced", [False, True])
def test_a_body_that_was_made_a_text_is_a_body_and_redacted(tmp_path: Path, spaced: bool) -> None:
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"k": "aHVudGVyMi1odW50ZXIy"}}
    made = event(1, requestObject=json.dumps(secret), responseObject=json.dumps(BODY))
    source = write(tmp_path / "a.log", json.dumps(made).encode() + b"\n" if spaced else [made])
    imported(tmp_path / "lake", source)
    ((request, response, truncated),) = rows(tmp_path / "lake", "select request_object, response_object, truncated from audit")
    assert "aHVudGVyMi1odW50ZXIy" not in request
    assert json.loads(request)["kind"] == "Secret"
    assert json.loads(response) == BODY
    assert not truncated


def test_null_and_lists_are_what_they_were() -> None:
    text = (
        b'{"auditID":"a","stage":"Panic","level":"Request","verb":"patch","requestObject":[{"op":"add"}],"responseObject":null}'
    )
    read = read_event(Record(text, 1, 0))
    assert isinstance(read, Event)
    assert (read.request_object, read.response_object, read.extra) == (b'[{"op":"add"}]', None, {})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared field cases are not here")
def test_the_answer_about_rights_with_mallorys_grant(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    imported(lake, SHARED / "field" / "10-aks-4635" / "c" / "a.jsonl")
    assert rows(lake, "select username, truncated from audit order by stage_time") == [("eve", True), ("mallory", False)]
    said = auditlens("ask", "rbac-changes", "--lake", lake)
    assert said.returncode == 0
    assert b"mallory" in said.stdout
    assert b"1 truncated" in said.stderr
