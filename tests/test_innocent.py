"""What looks as if it might be a secret and is none passes unchanged at every place: data/innocent.txt, a text a line."""

from __future__ import annotations

import json

import canaries
import pytest
from conftest import DATA, text
from test_redact import parsed

from auditlens.redact import Redactor

R = Redactor(b"k" * 32)
INNOCENT = [line for line in (DATA / "innocent.txt").read_text().splitlines() if line and not line.startswith("# ")]


def test_there_are_enough() -> None:
    assert len(INNOCENT) >= 150
    assert len(set(INNOCENT)) == len(INNOCENT)


@pytest.mark.parametrize("place", canaries.PLACES)
def test_it_stays_in_an_event(place: str) -> None:
    changed = []
    for shown in INNOCENT:
        if not ("arguments" in place and canaries.is_whole(shown)):
            before = parsed(text(canaries.placed(1, place, shown)))
            if R.event(before) != before:
                changed.append(shown)
    assert changed == []


def test_it_stays_in_a_log_entry() -> None:
    said = [*INNOCENT, *(f'"Something happened" err={json.dumps(shown)}' for shown in INNOCENT)]
    assert [shown for shown in said if R.line(shown) != shown] == []
