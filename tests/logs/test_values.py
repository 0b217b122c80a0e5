"""Structured values come back as klog wrote them, whichever release did."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.formats.durations import duration_ms
from auditlens.formats.entry import parse
from auditlens.formats.values import structured, unquote

_KEYS = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_.-]{0,12}", fullmatch=True)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=40)
_JSON = st.recursive(
    st.integers() | st.booleans() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
).filter(lambda v: isinstance(v, (list, dict, int)))


def quoted(text: str) -> str:
    """strconv.Quote."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    out = []
    for char in text:
        if char in short:
            out.append(short[char])
        elif char.isprintable():
            out.append(char)
        elif ord(char) < 0x80:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'


def block(text: str) -> str:
    """klog's writeStringValue for a string with a newline."""
    return "<\n" + "".join(f"\t{line}\n" for line in text.removesuffix("\n").split("\n")) + " >"


@given(_TEXT)
def test_what_go_quotes_comes_back(text: str) -> None:
    assert unquote(quoted(text)[1:-1]) == text


@given(_TEXT, st.dictionaries(_KEYS, _TEXT, max_size=5))
def test_strings_quoted_whatever_they_hold(message: str, fields: dict[str, str]) -> None:
    text = quoted(message) + "".join(f" {k}={quoted(v)}" for k, v in fields.items())
    assert structured(text) == (message, fields)


@given(st.dictionaries(_KEYS, _TEXT | _JSON, max_size=5))
def test_blocks_and_json_since_klog_2_100(fields: dict[str, object]) -> None:
    expected, text = {}, '"m"'
    for key, value in fields.items():
        if isinstance(value, str):
            plain = "\r" in value or "\n" not in value or any(not line.strip() and line for line in value.split("\n"))
            text += f" {key}=" + (quoted(value) if plain else block(value))
            expected[key] = value if plain else value.removesuffix("\n")
        else:
            shown = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
            text += f" {key}={shown}"
            expected[key] = shown
    assert structured(text) == ("m", expected)


@given(_KEYS, st.from_regex(r"[A-Za-z0-9:.\[\]{}]+( [A-Za-z0-9:.\[\]{}]+){0,3}", fullmatch=True))
def test_unquoted_values_of_old_releases_keep_their_spaces(key: str, value: str) -> None:
    if value[0] in "[{":
        value = "x" + value
    assert structured(f'"m" {key}={value} next="y"') == ("m", {key: value, "next": "y"} if key != "next" else {"next": "y"})


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry(data: bytes) -> None:
    parse(data)


@given(st.text(max_size=200))
def test_any_text_behind_a_header_is_an_entry(text: str) -> None:
    entry = parse(b"I1123 04:36:33.557903   16168 httplog.go:134] " + text.encode("utf-8", "replace"))
    assert (entry.form, entry.severity, entry.pid, entry.file_line) == ("klog", "I", 16168, 134)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1.2ms", 1.2), ("638.762µs", 0.638762), ("638.762μs", 0.638762), ("1m2.5s", 62500.0), ("1h0m0s", 3_600_000.0), ("0s", 0.0),
     ("0", 0.0), ("12ns", 0.000012), ("-1s", -1000.0), (".5s", 500.0), ("5", None), ("", None), ("1.2 ms", None), ("ms", None)],
)  # fmt: skip
def test_go_durations(text: str, ms: float | None) -> None:
    assert duration_ms(text) == (None if ms is None else pytest.approx(ms))
