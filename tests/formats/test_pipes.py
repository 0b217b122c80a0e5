"""The pipes people have: each file in data/ yields what the .expected file beside it says, in chunks of any size."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from .helpers import facts, matches, read_all

DATA = Path(__file__).with_name("data")
FILES = sorted(path for path in DATA.iterdir() if path.suffix != ".expected")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("size", [1, 1000, 1 << 26])
def test_a_pipe_yields_its_events(path: Path, size: int) -> None:
    expected = json.loads(path.with_name(path.name + ".expected").read_text())
    reader, records = read_all(path.read_bytes(), size)
    found = [facts(record) for record in records]
    assert asdict(reader.counts) == expected["counts"]
    for wanted, got in zip(expected["found"], found, strict=True):
        assert matches(wanted, got), (wanted, got)
