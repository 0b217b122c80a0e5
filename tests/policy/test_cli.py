"""`auditlens policy …`: stdout is the answer, the exit code says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditlens.cli import main
from auditlens.errors import ExitCode
from auditlens.importing.files.run import import_files

from .test_filter import HEAD, event


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cli")
    log = folder / "audit.log"
    log.write_bytes(event() + b"\n" + event("Metadata", verb="get", auditID="b") + b"\n")
    import_files([log], folder / "lake", redact=False)
    return str(folder / "lake")


def test_lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(HEAD + "rules: [{level: Metadata, resource: [{group: x}]}]\n")
    assert main(["policy", "lint", str(bad), "-o", "json"]) == ExitCode.FINDINGS
    assert any(finding["line"] == 3 for finding in json.loads(capsys.readouterr().out))
    assert main(["policy", "lint", "forensic", "minimal"]) == ExitCode.OK
    assert capsys.readouterr().out == ""
    assert main(["policy", "lint", "no-such-file"]) == ExitCode.USAGE


def test_explain(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "minimal", "--user", "x", "--verb", "delete", "--resource", "deployments", "-n", "a"]) == 0
    assert "rules[4]" in capsys.readouterr().out
    assert main(["policy", "explain", "minimal", "--uri", "GET /healthz"]) == 0
    assert "level None" in capsys.readouterr().out
    assert main(["policy", "explain", "minimal", "--audit-id", "a1", "--lake", lake]) == 0
    assert "level Metadata" in capsys.readouterr().out
    assert main(["policy", "explain", "minimal", "--audit-id", "zz", "--lake", lake]) == ExitCode.USAGE
    assert main(["policy", "explain", "minimal"]) == ExitCode.USAGE


def test_the_rest_runs(lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.yaml"
    old.write_text("apiVersion: audit.k8s.io/v1beta1 # old\nkind: Policy\nrules: [{level: Metadata}]\n")
    assert main(["policy", "convert", str(old)]) == 0
    assert capsys.readouterr().out == old.read_text().replace("v1beta1", "v1")
    for show in ("rules", "contributors", "changes"):
        assert main(["policy", "simulate", "cost", "--lake", lake, "--show", show, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)
    assert main(["policy", "coverage", "cost", "who-deleted", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["question"] == "who-deleted"
    assert main(["policy", "coverage", "minimal", "dry-runs"]) == 0
    assert "rules[4] takes create, update" in capsys.readouterr().out
    assert main(["policy", "coverage", "cost", "denied", "evictions"]) == 0
    assert "not logged (rules 0, 1" in capsys.readouterr().out
    assert main(["import", f"{Path(lake).parent}/audit.log", "--lake", f"{lake}-less", "--policy", "cost"]) == 0
    assert " dropped by the policy" in capsys.readouterr().out
    assert main(["policy", "recommend", "--lake", lake, "--keep", "denied"]) == 0
    assert capsys.readouterr().out.startswith("# Keeps answerable: denied;")
    assert main(["policy", "recommend", "--lake", lake, "--keep", "top", "--budget", "1B/day"]) == ExitCode.FINDINGS
    out = tmp_path / "out.jsonl"
    assert main(["policy", "apply", "cost", "--in", f"{Path(lake).parent}/audit.log", "--out", str(out)]) == 0
    assert [json.loads(line)["level"] for line in out.read_text().splitlines()] == ["Metadata"]
    assert main(["policy", "infer", "--lake", lake]) == 0
    assert "rules:" in capsys.readouterr().out
    assert main(["policy", "infer", "--lake", lake, "--against", "cost", "-o", "json"]) == 0
