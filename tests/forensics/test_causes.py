"""`who-deleted` and `why` name the same root for every deletion: rows explained together, and objects explained one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditlens import engine, question
from auditlens.errors import UsageError
from auditlens.forensics.events import Key
from auditlens.forensics.tracer import Tracer
from auditlens.forensics.why import explain
from auditlens.importing.run import import_files
from auditlens.lake import Lake

from .conftest import CAPTURES, SHARED, needs_captures

BIG = ("full", "everything", "bulk")


def disagreements(lake: Lake) -> tuple[int, list[str]]:
    """How many objects were deleted, and those of which the two say different things."""
    rows = question.ask(lake, "who-deleted", limit=10**7).to_dicts()
    last: dict[Key, dict[str, Any]] = {}
    for row in rows:
        if row["name"] is not None:
            namespace = None if row["resource"] == "namespaces" else row["namespace"]
            last[Key(row["cluster"], row["api_group"] or "", row["resource"], namespace, row["name"])] = row

    def run(con: Any) -> list[str]:
        tracer, found = Tracer(con), []
        for key, row in last.items():
            chain = explain(tracer, tracer.exactly(key), "delete", None)
            told = (chain.root.event.actor, chain.root.event.audit_id) if chain.root else (None, None)
            if told != (row["root_username"], row["root_audit_id"]):
                found.append(
                    f"{key}: who-deleted {row['root_username']} {row['root_audit_id']} {row['root_limit']}, why {told} {chain.limits}"
                )
        return found

    return len(last), engine.with_snapshot(lake, run)


@needs_captures
@pytest.mark.parametrize("capture", ["full", "everything"])
def test_the_two_agree_on_every_deletion_of_a_capture(request: pytest.FixtureRequest, capture: str) -> None:
    count, found = disagreements(request.getfixturevalue(capture))
    assert count > 100 and found == []


def logs() -> list[Path]:
    found = [p for p in sorted(CAPTURES.glob("*/audit*.log*")) if p.parent.name not in BIG]
    return [*found, *sorted((SHARED / "field").glob("*/*.log"))] if SHARED.is_dir() else []


@needs_captures
@pytest.mark.slow
@pytest.mark.parametrize("log", logs(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_the_two_agree_on_every_log(log: Path, tmp_path: Path) -> None:
    try:
        import_files([log], tmp_path / "lake")
    except UsageError:
        pytest.skip("no audit log")
    assert disagreements(Lake(tmp_path / "lake"))[1] == []
