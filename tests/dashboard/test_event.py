"""An event's surroundings: what it brought about, how to repeat it, and what the same hand did around it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from auditlens import ask, curl, impact, sql

from .helpers import frame, texts

Page = Callable[..., AppTest]


@pytest.fixture(scope="module")
def deleted(capture_lake: Path) -> dict[str, Any]:
    """A deletion of a deployment by a person: it brings things about."""
    return sql(
        capture_lake,
        "select audit_id, stage_time, username, user_extra['authentication.kubernetes.io/credential-id'][1] as credential from requests "
        "where verb = 'delete' and resource = 'deployments' and code = 200 and username not like 'system:%' order by stage_time limit 1",
    ).row(0, named=True)


def test_impact_is_that_of_the_command_line(page: Page, capture_lake: Path, deleted: dict[str, Any]) -> None:
    expected = impact(capture_lake, deleted["audit_id"])
    assert expected.total > 0
    app = page(capture_lake, f"event?audit_id={deleted['audit_id']}&tab=Impact")
    assert frame(app)["effect"].tolist() == expected.frame["effect"].to_list()
    app = page(capture_lake, f"event?audit_id={deleted['audit_id']}&tab=Impact&minutes=1")
    assert len(frame(app)) == impact(capture_lake, deleted["audit_id"], minutes=1).total


def test_an_event_is_told_as_a_command(page: Page, capture_lake: Path, deleted: dict[str, Any]) -> None:
    expected = curl(deleted["audit_id"], capture_lake)
    app = page(capture_lake, f"event?audit_id={deleted['audit_id']}&tab=As curl")
    assert [c.value for c in app.code] == [expected.text.rstrip("\n") + "\n"] or app.code[
        0
    ].value.strip() == expected.text.strip()
    assert "-X DELETE" in app.code[0].value and "$TOKEN" in texts(app)
    assert all(note.split()[0] in texts(app) for note in expected.notes)


@pytest.mark.parametrize("by", ["user", "credential"])
def test_neighbours_are_those_of_the_session(page: Page, capture_lake: Path, deleted: dict[str, Any], by: str) -> None:
    who = deleted["username" if by == "user" else "credential"]
    minute = dt.timedelta(minutes=1)
    window = {"since": deleted["stage_time"] - minute, "until": deleted["stage_time"] + minute}
    expected = ask(capture_lake, "session", **{by: who}, **window)
    app = page(capture_lake, f"event?audit_id={deleted['audit_id']}&tab=Neighbours&by={by}&minute=true")
    assert len(frame(app)) == len(expected) > 1
    assert frame(app)["after"].is_monotonic_increasing and 0 in frame(app)["after"].tolist()
    near = frame(page(capture_lake, f"event?audit_id={deleted['audit_id']}&tab=Neighbours&by={by}"))
    assert len(near) <= 41 and 0 in near["after"].tolist()
