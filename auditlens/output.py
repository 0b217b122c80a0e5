"""Answers leave here: one frame, any format; text from logs cannot act on the terminal or spreadsheet it ends in.

JSON and Parquet carry the content as it is; tables, CSV and Markdown show what could act (control characters, escape
sequences, direction overrides, formulas) escaped.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from auditlens.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

FORMATS = ("table", "records", "csv", "json", "jsonl", "md", "parquet")

# C0, DEL, C1, line and paragraph separators, and the characters that reorder or hide text
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
# What a spreadsheet takes for a formula (OWASP, "CSV Injection")
_FORMULA = re.compile(r"^\s*[=+\-@\t\r|%]")

# columns that most logs have nothing for
_SELDOM = frozenset(("impersonator", "identity", "wanted"))


def plain(text: str) -> str:
    """The text with every character that acts shown as an escape."""
    return _ACTING.sub(lambda m: _escape(m[0]), text)


def _escape(char: str) -> str:
    code = ord(char)
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def yaml_text(value: Any) -> str:
    """A document as `kubectl get -o yaml` lays it out, texts of several lines as blocks; YAML escapes what would act on a terminal."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    made: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=False, width=10_000)
    return made


def write(
    frame: pl.DataFrame,
    format: str,
    out: BinaryIO | None = None,
    *,
    show: Sequence[str] = (),
    width: int | None = None,
    colour: bool = False,
) -> list[str]:
    """Write a frame as table, records (a field a line), csv, json (an array of flat objects), jsonl, md or parquet.

    Args:
        frame: the answer.
        format: one of FORMATS.
        out: where to; default standard output.
        show: columns of the table format, which has no room for all; empty: every column.
        width: of the terminal, for the table format; None does not cut anything.
        colour: whether a table for a terminal may be coloured.

    Returns:
        What the reader of a table for a terminal must know: what was left out, and what all times share.

    Raises:
        UsageError: the format is not one of FORMATS.
    """
    from auditlens import terminal  # no sooner: what says an error needs no tables

    out = out or sys.stdout.buffer
    if format == "parquet":
        frame.write_parquet(out)
    elif format == "json":
        rows = [json.dumps(row, default=_json, ensure_ascii=False) for row in _rows(frame)]
        out.write(("[" + ",\n ".join(rows) + "]\n").encode())
    elif format == "jsonl":
        for row in _rows(frame):
            out.write((json.dumps(row, default=_json, ensure_ascii=False) + "\n").encode())
    elif format == "csv":
        _texts(frame, formulas=True).write_csv(out)
    elif format == "md":
        out.write(_markdown(_texts(shown(frame, show))).encode())
    elif format == "records":
        out.write(terminal.records(frame, _text).encode())
    elif format == "table" and width is not None:
        made, notes = terminal.table(shown(frame, show), width, _text, colour=colour)
        out.write(made.encode())
        return notes
    elif format == "table":
        out.write(_table(_texts(shown(frame, show))).encode())
    else:
        raise UsageError(f"output {format!r}: use one of {', '.join(FORMATS)}")
    return []


def write_json(value: Any, out: BinaryIO | None = None) -> None:
    """Write nested dicts and lists as one line of JSON, times as everywhere."""
    (out or sys.stdout.buffer).write((json.dumps(value, default=_json, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [{k: maps(v) for k, v in row.items()} for row in frame.to_dicts()]


def maps(value: Any) -> Any:
    """Arrow maps reach Python as lists of key and value: back to objects."""
    if isinstance(value, list) and value and all(isinstance(v, dict) and v.keys() == {"key", "value"} for v in value):
        return {v["key"]: v["value"] for v in value}
    return value


def _json(value: Any) -> str:
    return time_text(value) if isinstance(value, dt.datetime) else str(value)


def time_text(value: dt.datetime) -> str:
    """RFC 3339 in UTC with microseconds, as the apiserver writes it; a time without a zone, which only SQL makes, without one."""
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def shown(frame: pl.DataFrame, show: Sequence[str]) -> pl.DataFrame:
    """The columns to show; `evidence` stands for source:line, `object` for resource, namespace and name.

    Who acts for whom is a column only where somebody does.
    """
    import polars as pl

    if not show:
        return frame
    made = {
        "evidence": pl.format("{}:{}", "source", "line") if "line" in frame.columns else pl.lit(None),
        "object": pl.concat_str(
            [pl.col(c) for c in ("resource", "namespace", "name") if c in frame.columns], separator="/", ignore_nulls=True
        ),
    }
    told = [c for c in show if c not in _SELDOM or c not in frame.columns or frame[c].null_count() < frame.height]
    return frame.select(made[c].alias(c) if c in made and c not in frame.columns else pl.col(c) for c in told)


def _texts(frame: pl.DataFrame, *, formulas: bool = False) -> pl.DataFrame:
    """Every cell as harmless text; numbers stay numbers."""
    import polars as pl

    def text(value: Any) -> str:
        shown = _text(value)
        return "'" + shown if formulas and _FORMULA.match(shown) else shown

    columns = []
    for name in frame.columns:
        column = frame[name]
        if column.dtype.is_numeric():
            columns.append(column)
        else:
            columns.append(pl.Series(name, [None if v is None else text(v) for v in column.to_list()], pl.String))
    return pl.DataFrame(columns)


def _text(value: Any) -> str:
    return plain(value if isinstance(value, str) else _cell(value))


def _cell(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return time_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        value = maps(value)
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return ", ".join(value)
        return json.dumps(value, default=_json, ensure_ascii=False)
    return str(value)


def _markdown(frame: pl.DataFrame) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join("" if c is None else re.sub(r"([|\\`*_<>\[\]])", r"\\\1", str(c)) for c in cells) + " |\n"

    return line(frame.columns) + "|" + " --- |" * len(frame.columns) + "\n" + "".join(line(row) for row in frame.rows())


def _table(frame: pl.DataFrame) -> str:
    """Every column as wide as what it holds, for files and pipes."""
    import io

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="")
    for name in frame.columns:
        table.add_column(Text(name), justify="right" if frame[name].dtype.is_numeric() else "left", no_wrap=True)
    for row in frame.rows():
        table.add_row(*(Text("" if c is None else str(c)) for c in row))
    text = io.StringIO()
    Console(file=text, width=100_000, color_system=None, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip()) + "\n"
