"""`auditlens policy …`: stdout is the answer, the exit code says what was found."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from auditlens import face
from auditlens.cli import main
from auditlens.errors import ExitCode, UsageError
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


def test_json_is_the_tree_of_the_answer(lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One answer in the terminal, in Python and on the page: what it comes to stands on stdout, not beside it."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(HEAD + "rules: [{level: Metadata, resource: [{group: x}]}]\n")
    asked = {
        ("lint", str(bad)): face.lint(str(bad)),
        ("simulate", "cost", "--lake", lake): face.simulate(lake, "cost"),
        ("coverage", "minimal", "dry-runs", "denied"): face.coverage("minimal", ["dry-runs", "denied"]),
        ("explain", "minimal", "--verb", "get", "--uri", "GET /healthz"): face.explain(
            "minimal", {"verb": "get", "path": "/healthz"}
        ),
        ("infer", "--lake", lake, "--against", "cost"): face.infer(lake, against="cost"),
        ("recommend", "--lake", lake, "--keep", "denied"): face.recommend(lake, ["denied"]),
    }
    for words, answer in asked.items():
        main(["policy", *words, "-o", "json"])
        out, said = capsys.readouterr()
        assert json.loads(out) == json.loads(json.dumps(answer.tree)), words
        assert all(limit in said for limit in answer.limits), words
    assert json.loads(json.dumps(face.simulate(lake, "cost").tree["now"]))["events"] == 2
    assert face.recommend(None, ["denied"]).limits[-1] == "volumes are unmeasured: the lake holds no audit events"
    with pytest.raises(UsageError, match="not one of rules, contributors, changes"):
        face.simulate(lake, "cost", show="nothing")


def test_a_policy_is_a_file_a_preset_or_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = HEAD + "rules: [{level: Metadata, resource: [{group: x}]}]"
    (tmp_path / "mine.yaml").write_text(text)
    of_file, of_text = face.lint(tmp_path / "mine.yaml").frame, face.lint(text).frame
    assert of_file.drop("file").equals(of_text.drop("file"))
    assert set(of_file["file"]) == {str(tmp_path / "mine.yaml")} and set(of_text["file"]) == {None}
    monkeypatch.setattr("sys.stdin", io.StringIO("rules: []"))  # one line, and yet no name
    assert main(["policy", "lint", "-", "-o", "json"]) == ExitCode.FINDINGS
    assert "AP103" in capsys.readouterr().out
    assert face.lint('{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": []}').frame["file"].to_list() == [None]
    for nothing in ("no-such-policy", "rules: []" * 999, "\0"):
        with pytest.raises(UsageError, match="a policy is a file, - or one of"):
            face.coverage(nothing)
