"""simulate() counts as the filter does, says what it estimates, and its sizes are those of the log."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from auditlens.engine import connect
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.policy import apply, load, simulate
from auditlens.policy.requirements.presets import load_preset, names, table
from auditlens.policy.simulation.request_counts import survey
from auditlens.policy.simulation.sizes import ENVELOPE, REQUEST, RESPONSE
from auditlens.policy.simulation.volume import volume

from .proof import CAPTURE, SHARED, lake_of, needs_captures
from .test_filter import BODY, HEAD, event


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Twenty updates with bodies, twenty gets at Metadata, a probe, a failed login."""
    folder = tmp_path_factory.mktemp("small")
    lines = []
    for n in range(20):
        ref = {"resource": "pods", "namespace": "shop", "name": f"web-{n}", "apiVersion": "v1"}
        lines.append(event(auditID=f"u{n}", objectRef=ref, requestObject=BODY, responseObject=BODY))
        lines.append(event("Metadata", auditID=f"g{n}", objectRef=ref, verb="get"))
    lines.append(event("Metadata", auditID="p", objectRef=None, verb="get", requestURI="/healthz?x=%26", user={"username": "x"}))
    status = {"metadata": {}, "status": "Failure", "reason": "Unauthorized", "code": 401}
    lines.append(event("Metadata", auditID="f", stage="ResponseStarted", user={}, responseStatus=status))
    log = folder / "audit.log"
    log.write_bytes(b"\n".join(lines) + b"\n")
    import_files([log], folder / "lake", redact=False)
    return Lake(folder / "lake")


def policy(rules: str):  # type: ignore[no-untyped-def]
    return load(HEAD + rules)


def test_per_rule_and_stage(small: Lake) -> None:
    rules = """omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get], userGroups: [system:authenticated]}
- {level: Metadata, users: [nobody]}
- {level: Metadata, verbs: [update]}
"""
    done = simulate(small, policy(rules))
    assert done.rules.select("rule", "level", "stage", "requests", "events", "events_now").rows() == [
        (0, "None", None, 20, 0, 20),
        (1, "Metadata", None, 0, 0, 0),
        (2, "Metadata", "ResponseComplete", 21, 20, 21),
        (2, "Metadata", "ResponseStarted", 21, 1, 21),  # the failed login
        (None, "None", None, 1, 0, 1),  # the probe's user is in no group
    ]
    assert done.dead == (1,)
    assert done.now.events == 42


def test_unmatched_requests_are_told(small: Lake) -> None:
    done = simulate(small, policy("rules: [{level: Metadata, verbs: [update]}]"))
    assert done.unmatched.events == 21
    assert done.rules.filter(pl.col("rule").is_null())["events_now"].to_list() == [21]


def test_bodies_the_log_does_not_have_are_estimated_and_said_so(small: Lake) -> None:
    done = simulate(small, policy("omitStages: [RequestReceived]\nrules: [{level: RequestResponse}]"))
    assert done.then.estimated > 0
    assert any(note.startswith("estimate") and "get pods" in note for note in done.notes)
    exact = simulate(small, policy("omitStages: [RequestReceived]\nrules: [{level: RequestResponse, verbs: [update]}]"))
    assert exact.then.estimated == 0


def test_a_stage_the_log_does_not_have_is_estimated(small: Lake) -> None:
    done = simulate(small, policy("rules: [{level: Metadata}]"))
    received = done.rules.filter(pl.col("stage") == "RequestReceived")
    assert received["events"].sum() == 41  # not of the failed login
    assert received["bytes"].sum() == received["estimated_bytes"].sum() > 0


def test_lost_and_gained(small: Lake) -> None:
    omit = "omitStages: [RequestReceived]\n"
    low, high = policy(omit + "rules: [{level: Metadata, verbs: [update]}]"), policy(omit + "rules: [{level: RequestResponse}]")
    lost = simulate(small, low).changes
    assert set(lost.select("verb", "what").rows()) == {("update", "less"), ("get", "lost")}
    between = simulate(small, high, against=low)
    assert set(between.changes["what"].to_list()) == {"more", "gained"}
    assert between.against is not None and between.against.bytes < between.then.bytes
    assert simulate(small, low, against=low).changes.height == 0


def test_contributors_of_a_rule_that_drops_are_what_it_saves(small: Lake) -> None:
    top = simulate(small, policy("rules: [{level: None}]"), top=1).contributors
    assert top.select("verb", "resource", "events", "written").rows() == [("update", "pods", 20, False)]


def test_names_are_told_apart_where_a_policy_asks(small: Lake) -> None:
    one = policy(
        "omitStages: [RequestReceived]\nrules: [{level: Metadata, resources: [{resources: [pods], resourceNames: [web-3]}]}]"
    )
    assert simulate(small, one).then.events == 2


def test_an_empty_lake_measures_nothing(tmp_path: Path) -> None:
    done = simulate(Lake(tmp_path / "none"), policy("rules: [{level: Metadata}]"))
    assert done.then.bytes == 0
    assert "unmeasured" in done.notes[0]


def test_the_size_of_an_event_is_that_of_its_line(small: Lake) -> None:
    con = connect(small)
    told, source = con.sql(f"select sum({ENVELOPE} + {REQUEST} + {RESPONSE}), any_value(source) from audit").fetchall()[0]
    assert abs(told / Path(source).stat().st_size - 1) < 0.01


@needs_captures
@pytest.mark.parametrize("name", ["full", "v4-omit-received", "v4-json-truncate"])
def test_sizes_of_captures_are_within_a_percent(name: str, tmp_path: Path) -> None:
    log = SHARED / name / "audit.log.gz"
    con = connect(lake_of(log, tmp_path / "lake"))
    told = con.sql(f"select sum({ENVELOPE} + {REQUEST} + {RESPONSE}) from audit").fetchall()[0][0]
    assert abs(told / len(gzip.decompress(log.read_bytes())) - 1) < 0.01


@needs_captures
def test_a_preset_writes_what_the_filter_leaves(tmp_path: Path) -> None:
    lake = lake_of(CAPTURE, tmp_path / "lake")
    traffic = survey(lake)
    for name in ("cost", "forensic"):
        preset = load_preset(name)
        left = apply(preset, [CAPTURE], tmp_path / "left.log")
        told = volume(traffic, preset)
        assert abs(told.bytes / left.bytes_out - 1) < 0.02
        assert abs(told.events - left.kept - left.reduced) <= 5  # stages made up for the request whose arrival is lacking


@needs_captures
def test_a_sampled_survey_is_near_the_exact_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = lake_of(CAPTURE, tmp_path / "lake")
    exact = volume(survey(lake), load_preset("security"))
    monkeypatch.setattr("auditlens.policy.simulation.request_counts.EXACT", 100)
    sampled = survey(lake)
    assert sampled.sampled
    told = volume(sampled, load_preset("security"))
    assert told.events == exact.events
    assert abs(told.bytes / exact.bytes - 1) < 0.02


def test_the_table_of_presets_has_a_row_for_each(small: Lake) -> None:
    lines = table(small).splitlines()
    assert lines[0].startswith("| preset |")
    assert {line.split("`")[1] for line in lines[2:]} == set(names())
