"""infer() explains a log by the policy it was written under."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditlens.lake import Lake
from auditlens.policy import infer, load
from auditlens.policy.presets import load_preset

from .proof import CAPTURE, SHARED, filtered, lake_of, needs_captures


@needs_captures
@pytest.mark.parametrize("name", ["v4-omit-received", "everything"])
def test_the_policy_of_a_capture_is_found(name: str, tmp_path: Path) -> None:
    found = infer(lake_of(SHARED / name / "audit.log.gz", tmp_path / "lake"))
    assert found.agreement == 1.0
    assert found.policy.omit_stages == ("RequestReceived",)
    assert found.policy.omit_managed_fields is (name != "everything")
    assert load(found.text).rules == found.policy.rules
    if name == "everything":
        assert [rule.level for rule in found.policy.rules] == ["RequestResponse"]
    else:
        assert any("heartbeats" in note for note in found.notes)


@needs_captures
def test_the_policy_of_a_filtered_log_is_found_again(tmp_path: Path) -> None:
    lake, _ = filtered(load_preset("forensic"), CAPTURE, tmp_path, "forensic")
    found = infer(lake, against=load_preset("forensic"))
    assert found.agreement > 0.99
    assert found.differences["events"].sum() == 0
    other = infer(lake, against=load_preset("minimal")).differences
    assert set(other["level_policy"].to_list()) <= {"Metadata", None}
    assert other.height > 0


def test_an_empty_lake_says_nothing(tmp_path: Path) -> None:
    found = infer(Lake(tmp_path / "none"))
    assert found.policy.rules == ()
    assert found.notes[0] == "the log holds no audit events"
