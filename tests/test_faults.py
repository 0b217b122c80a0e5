"""No error of an engine says a value that it failed at: in a log, a reject's reason, a line on stderr or a traceback."""

from __future__ import annotations

import base64
import datetime as dt
import io
import ipaddress
import json
import logging
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.json
import pytest
import yaml
from conftest import event, imported, rows, text, write
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditlens.errors import UsageError
from auditlens.faults import said, trace, words
from auditlens.floods import Floods, Handler

CANARY = "Cnry000001xQ7zKp9Lm3Rt5V"


class _Known(msgspec.Struct, forbid_unknown_fields=True):
    a: int


def _sql(statement: str) -> Callable[[str], Any]:
    return lambda value: duckdb.execute(statement, [value]).fetchall()


def _read_csv(value: str) -> Any:
    return pa.csv.read_csv(io.BytesIO(f"a,b\n{value},hunter,3\n".encode()))


# What fails at a value, and may say so.
ENGINES: dict[str, Callable[[str], Any]] = {
    "DuckDB's cast": _sql("select ?::int"),
    "DuckDB's JSON": _sql("select from_json('{\"a\":' || ? || '}', '{\"a\":\"INT\"}')"),
    "DuckDB's strict JSON": _sql("""select json_transform_strict('{"a":"' || ? || '"}', '{"a":"INT"}')"""),
    "DuckDB's keys of JSON": _sql("select json_keys(? || ' {')"),
    "DuckDB's times": _sql("select ?::timestamptz"),
    "DuckDB's format of times": _sql("select strptime(?, '%Y')"),
    "DuckDB's expression": _sql("select regexp_matches('a', ? || '(')"),
    "DuckDB's error": _sql("select error(?)"),
    "DuckDB's struct": _sql("select ?::struct(a int)"),
    "DuckDB's base64": _sql("select from_base64(? || '*')"),
    "DuckDB's parser": lambda value: duckdb.execute(f"select {value} from"),
    "DuckDB's numbers": lambda value: duckdb.execute(f"select {int(value.encode().hex(), 16) % 10**15 + 10**15}::tinyint").fetchall(),
    "Arrow's array": lambda value: pa.array([1, value], pa.int64()),
    "Arrow's cast": lambda value: pa.array([value]).cast(pa.int32()),
    "Arrow's times": lambda value: pa.array([value]).cast(pa.timestamp("us")),
    "Arrow's CSV": _read_csv,
    "Arrow's JSON": lambda value: pa.json.read_json(io.BytesIO(f'{{"{value}":1}}\n{{"{value}":"x"}}'.encode())),
    "Arrow's expression": lambda value: pa.compute.match_substring_regex(pa.array(["a"]), value + "("),
    "Polars' cast": lambda value: pl.DataFrame({"a": [value]}).cast(pl.Int64),
    "Polars' series": lambda value: pl.Series([1, value], dtype=pl.Int64),
    "Polars' CSV": lambda value: pl.read_csv(io.BytesIO(f"a,b\n1,2\n{value},x\n".encode()), schema={"a": pl.Int64, "b": pl.Int64}),
    "Polars' column": lambda value: pl.DataFrame({"a": [1]})[value],
    "JSON": lambda value: json.loads(f'{{"a": {value}}}'),
    "msgspec's field": lambda value: msgspec.json.decode(json.dumps({value: 1}), type=_Known),
    "msgspec's type": lambda value: msgspec.json.decode(json.dumps({"a": value}), type=_Known),
    "YAML's quote": lambda value: yaml.safe_load(f"a: '{value}"),
    "YAML's alias": lambda value: yaml.safe_load(f"a: *{value}"),
    "YAML's tag": lambda value: yaml.safe_load(f"a: !{value} b"),
    "YAML's values": lambda value: yaml.safe_load(f"a: b: {value}"),
    "zlib": lambda value: zlib.decompress(value.encode()),
    "a number": int,
    "a fraction": float,
    "a key": lambda value: {}[value],
    "a time": dt.datetime.fromisoformat,
    "bytes": lambda value: (value.encode() + b"\xff").decode(),
    "a letter": lambda value: f"{value}\ud800".encode(),
    "base64": lambda value: base64.b64decode(value + "*", validate=True),
    "an address": ipaddress.ip_address,
    "an assertion": lambda value: (_ for _ in ()).throw(AssertionError(value, {"password": value})),
    "an error in words": lambda value: (_ for _ in ()).throw(ValueError(f"cannot parse {value} as password: {value}")),
}  # fmt: skip


def _fails(engine: str, value: str) -> BaseException:
    try:
        ENGINES[engine](value)
    except Exception as e:
        return e
    raise AssertionError(f"{engine} does not fail at {value!r}")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_error_of_an_engine_says_the_value(engine: str) -> None:
    for value in (CANARY, f"{CANARY} and more", f"ab'{CANARY}", f'ab"{CANARY}', f"ab\n{CANARY}", f"a: {CANARY}", f"({CANARY})"):
        try:
            error = _fails(engine, value)
        except AssertionError:
            continue
        assert CANARY not in said(error), str(error)
        assert CANARY not in trace(error), str(error)
    assert _fails(engine, CANARY)


@settings(max_examples=200)
@given(st.sampled_from(sorted(ENGINES)), st.text(max_size=12), st.text(max_size=12))
@example("DuckDB's error", "'", "")
@example("an error in words", "\"'", "'")
def test_no_error_says_a_value_whatever_stands_around_it(engine: str, before: str, after: str) -> None:
    try:
        ENGINES[engine](before + CANARY + after)
    except Exception as error:
        assert CANARY not in said(error) and CANARY not in trace(error)


@given(
    st.lists(st.sampled_from(["password", "hunter", "Tr0ub4dor&3", "1234567890", "'", '"', "cast", "value", ": "])).map(" ".join)
)
def test_of_any_text_only_words_of_engines_are_left(text: str) -> None:
    left = words(text)
    assert not any(value in left for value in ("password", "hunter", "Tr0ub4dor", "1234567890"))
    assert words(left) == left


def test_what_helps_is_left() -> None:
    assert said(_fails("DuckDB's cast", CANARY)) == "Conversion Error: Could not convert string …"
    assert said(_fails("DuckDB's keys of JSON", CANARY)) == (
        "Invalid Input Error: Malformed JSON at byte 0 of input: unexpected character. Input: …"
    )
    assert said(_fails("zlib", CANARY)) == "Error -3 while decompressing data: incorrect header check"
    assert said(_fails("bytes", CANARY)) == "invalid start byte at byte 24"
    assert said(_fails("an address", CANARY)) == "…"
    assert said(UsageError("name one of 'a', 'b'")) == "name one of 'a', 'b'"
    assert said(FileNotFoundError(2, "No such file or directory", "/a/b c")) == "No such file or directory: /a/b c"
    assert said(OSError("x is y")) == "… is …"
    with pytest.raises(duckdb.IOException) as found:
        duckdb.execute("from read_parquet('/none/a.parquet')")
    assert said(found.value) == "IO Error: No files found that match the pattern … (/none/a.parquet)"


def test_a_trace_says_where_and_what_came_before() -> None:
    try:
        try:
            int(CANARY)
        except ValueError as e:
            raise KeyError(CANARY) from e
    except KeyError as e:
        shown = trace(e)
    assert CANARY not in shown
    assert shown.index("ValueError: invalid literal") < shown.index("KeyError: …")
    assert shown.count("test_faults.py") == 2


def test_an_error_nobody_caught_is_written_without_its_values() -> None:
    program = (
        "import threading\nfrom auditlens.faults import hook\nhook()\nvalue = chr(67) + 'nry0001'\n"
        "thread = threading.Thread(target=int, args=(value,))\nthread.start()\nthread.join()\nraise ValueError(value)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Cnry0001" not in done.stderr
    assert done.stderr.count("ValueError: ") == 2


def test_what_libraries_log_loses_the_errors_values() -> None:
    lines: list[str] = []
    Handler(Floods(lines.append), ["auditlens.test-faults"])
    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("auditlens.test-faults").exception("Exception in ASGI application")
    assert lines == ["Exception in ASGI application (ValueError: invalid literal for int() with …)"]


def test_the_reason_of_a_reject_holds_no_value(tmp_path: Path) -> None:
    """A key that is no text where texts are asked for is named, and may itself be a command."""
    log = [
        event(1, annotations={f"x --password {CANARY}": 7}),
        event(2, user={"username": "eve", "extra": {f"token={CANARY}": 7}}),
    ]
    broken = f"---\nkind: Event\nauditID: *{CANARY}\n---\nkind: Event\nlevel: !{CANARY} '\n".encode()
    imported(tmp_path / "lake", write(tmp_path / "a.log", text(*log)), write(tmp_path / "b.yaml", broken))
    reasons = [reason for (reason,) in rows(tmp_path / "lake", "select reason from rejects")]
    assert len(reasons) == 4
    assert not any(CANARY in reason for reason in reasons), reasons
    assert any(reason.startswith("not YAML: ") for reason in reasons)
