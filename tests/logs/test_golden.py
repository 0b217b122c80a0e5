"""File pairs: the rows of each generation of each format. GOLDEN=1 rewrites what is expected; read the diff."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest

from .helpers import exact_path, read

DATA = Path(__file__).parent / "data"
# the same in every row, or of no interest to a format
_LEFT_OUT = {"cluster", "day", "instance", "import_id", "source"}


def shown(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Rows as one JSON object a line, without what is null."""
    lines = []
    for table, found in rows.items():
        for row in found:
            kept = {k: _text(v) for k, v in row.items() if v is not None and k not in _LEFT_OUT}
            lines.append(json.dumps({"table": table} | kept, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _text(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, dt.datetime) else value


@pytest.mark.parametrize("path", sorted(DATA.glob("*.log")), ids=lambda p: p.stem)
def test_golden_rows(path: Path) -> None:
    found = read(path.read_bytes())
    found.accounted()
    assert not found.rejects
    expected = path.with_suffix(".rows.jsonl")
    text = shown(found.rows)
    if os.environ.get("GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("path", sorted(DATA.glob("*.log")), ids=lambda p: p.stem)
def test_both_paths_and_small_chunks_give_the_golden_rows(path: Path) -> None:
    data = path.read_bytes()
    with exact_path():
        assert shown(read(data).rows) == shown(read(data).rows)
        exact = read(data)
    fast = read(data)
    assert shown(fast.rows) == shown(exact.rows)
    assert fast.counts == exact.counts
