"""Answers in every format: text from logs cannot act on a terminal or a spreadsheet, and JSON and Parquet keep it as it is."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.errors import UsageError
from auditlens.output import FORMATS, plain, write

NASTY = [
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\r\noverwritten", "a\x00b", "\x9b2J", "left\u202egnp.exe", "zero\u200bwidth", "\u2028",
    "=HYPERLINK(\"http://x\")", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "| table |", "<script>alert(1)</script>", "[a](javascript:x)", "`x`", "",
]  # fmt: skip
ACTING = {chr(c) for c in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), 0x200B)} - {"\n"}


def written(frame: pl.DataFrame, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    write(frame, format, out, **options)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("format", ["table", "csv", "md"])
@pytest.mark.parametrize("text", NASTY)
def test_what_acts_is_shown_and_does_not_act(format: str, text: str) -> None:
    shown = written(pl.DataFrame({"user": [text], "n": [1]}), format).decode()
    assert not ACTING & set(shown)
    assert len(shown.splitlines()) <= 3  # a heading, a rule and one row


@given(st.text())
def test_plain_text_has_nothing_that_acts_and_is_plain_already(text: str) -> None:
    assert not (ACTING | {"\n"}) & set(plain(text))
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize("text", [t for t in NASTY if t.strip()[:1] in ("=", "+", "-", "@")])
def test_a_cell_of_csv_is_no_formula(text: str) -> None:
    (_, row) = csv.reader(io.StringIO(written(pl.DataFrame({"user": [text]}), "csv").decode()))
    assert row[0].lstrip()[:1] not in ("=", "+", "-", "@")


def test_negative_numbers_stay_numbers_in_csv() -> None:
    assert written(pl.DataFrame({"n": [-5], "x": [-1.5]}), "csv").decode().splitlines()[1] == "-5,-1.5"


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_json_keeps_the_content(format: str) -> None:
    shown = written(pl.DataFrame({"user": NASTY}), format).decode()
    rows = json.loads(shown) if format == "json" else [json.loads(line) for line in shown.split("\n") if line]
    assert [r["user"] for r in rows] == NASTY


def test_json_is_an_array_of_flat_objects_with_times_and_maps() -> None:
    when = dt.datetime(2026, 11, 23, 4, 5, 6, 789, tzinfo=dt.UTC)
    frame = pl.DataFrame({"time": [when], "n": [None], "list": [["a"]]}, schema_overrides={"n": pl.Int64})
    assert json.loads(written(frame, "json")) == [{"time": "2026-11-23T04:05:06.000789Z", "n": None, "list": ["a"]}]
    assert json.loads(written(frame.clear(), "json")) == []


def test_parquet_keeps_the_content() -> None:
    assert pl.read_parquet(io.BytesIO(written(pl.DataFrame({"user": NASTY}), "parquet")))["user"].to_list() == NASTY


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="parquet"):
        written(pl.DataFrame({"a": [1]}), "xml")
    assert set(FORMATS) == {"table", "records", "csv", "json", "jsonl", "md", "parquet"}
