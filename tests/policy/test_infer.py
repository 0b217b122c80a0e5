"""infer() explains a log by the policy it was written under."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import event, write

from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.policy import infer, load
from auditlens.policy.requirements.presets import load_preset

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


def test_from_nothing_no_policy_is_inferred(tmp_path: Path) -> None:
    """One without rules would be refused by kube-apiserver."""
    with pytest.raises(UsageError, match="nothing to infer"):
        infer(Lake(tmp_path / "lake"))


def test_a_level_that_a_shipper_wrote_is_left_out(tmp_path: Path) -> None:
    foreign = event(1, level="info")
    found = infer(lake_of(write(tmp_path / "a.log", [event(0), foreign]), tmp_path / "lake"))
    assert found.agreement == 1 and any("shipper" in note for note in found.notes)
    with pytest.raises(UsageError, match="nothing to infer"):
        infer(lake_of(write(tmp_path / "b.log", [foreign]), tmp_path / "other"))
