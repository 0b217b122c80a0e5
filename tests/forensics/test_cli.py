"""The commands say what the functions say; stdout is the answer and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from auditlens.cli import main
from auditlens.lake import Lake

from .conftest import asked


def run(capsys: pytest.CaptureFixture[str], lake: Lake, *args: str) -> tuple[str, str]:
    assert main([*args, "--lake", str(lake.path)]) == 0
    out = capsys.readouterr()
    return out.out, out.err


def test_why(full: Lake, truth: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, full, "why", "pod/web-1", "-n", "shop", "--event", "delete", "-o", "json")
    answer = json.loads(out)
    assert answer["root"]["username"] == "alice" and answer["root"]["audit_id"] == asked(truth["S01"], "delete pod web-1")
    assert {
        "effect",
        "username",
        "verb",
        "resource",
        "namespace",
        "name",
        "audit_id",
        "source",
        "line",
        "time",
        "rule",
        "sure",
    } <= answer["links"][0].keys()
    out, err = run(capsys, full, "why", "pod/dbg", "-n", "shop", "--event", "delete")
    assert out == "" and "was not deleted" in err


def test_state(full: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, full, "state", "-A", "-o", "json")[0])
    assert len(rows) > 300 and {r["fidelity"] for r in rows} <= {"exact", "derived", "metadata", "exists", "unknown"}
    documents = list(yaml.safe_load_all(run(capsys, full, "state", "deploy/cart", "-n", "shop", "-o", "yaml")[0]))
    assert documents[0]["spec"]["replicas"] == 5
    out, err = run(capsys, full, "state", "pod/never-was")
    assert out == "" and "no such object" in err


def test_history_diff_impact_completeness(full: Lake, truth: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    story = json.loads(run(capsys, full, "history", "cm/conf", "-n", "shop", "-o", "json")[0])
    assert {r["life"] for r in story if r["life"]} == {1, 2} and any(r["changed"] == "data.v 0 → bob" for r in story)
    out, _ = run(
        capsys, full, "diff", "deploy/frontend", "-n", "shop", "--audit-id", asked(truth["S07"], "--replicas=100"), "-o", "json"
    )
    assert [(r["path"], r["old"], r["new"], r["username"]) for r in json.loads(out)] == [("spec.replicas", "2", "100", "bob")]
    blame = json.loads(run(capsys, full, "diff", "deploy/frontend", "-n", "shop", "--blame", "-o", "json")[0])
    replicas = next(r for r in blame if r["path"] == "spec.replicas")
    assert (replicas["username"], replicas["audit_id"]) == ("alice", asked(truth["S07"], "--replicas=3"))
    effects = json.loads(run(capsys, full, "impact", asked(truth["S05"], "delete deployment api"), "-o", "json")[0])["effects"]
    assert len(effects) == 7 and max(e["depth"] for e in effects) == 3
    found = json.loads(run(capsys, full, "completeness", "-o", "json")[0])
    assert {f["kind"] for f in found["findings"]} == {"lost", "restart"}


def test_no_op_writes_are_marked(full: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, full, "history", "cm/slow-2", "-n", "default", "-o", "json")[0])
    assert [r["no_op"] for r in rows if r["verb"] == "update" and r["code"] == 200] == [True]
    assert not [r for r in rows if r["verb"] == "create" and r["no_op"]]
