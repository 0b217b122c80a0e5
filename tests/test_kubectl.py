"""`kubectl audit` is auditlens, found by kubectl; krew's manifest has what krew asks, and names the archive that we make."""

from __future__ import annotations

import hashlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer
import yaml
from conftest import event, write

from auditlens import import_files
from auditlens.answers.questions import questions
from auditlens.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
KREW = runpy.run_path(str(ROOT / "deploy" / "krew.py"))
MANIFEST = yaml.safe_load((ROOT / "deploy" / "audit.yaml").read_text())


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("kubectl")
    ref = {"resource": "pods", "namespace": "shop", "name": "web-1", "apiVersion": "v1"}
    uri = "/api/v1/namespaces/shop/pods/web-1"
    import_files([write(base / "audit.log", [event(1, verb="delete", objectRef=ref, requestURI=uri)])], base / "lake")
    return base / "lake"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with the commands of pyproject.toml, as an installation makes them."""
    folder = tmp_path_factory.mktemp("bin")
    for name, target in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items():
        module, _, function = target.partition(":")
        script = folder / name
        script.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
        script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def said(command: list[str], lake: Path, path: str) -> tuple[int, str, str]:
    env = os.environ | {"AUDITLENS_LAKE": str(lake), "PATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_question_is_a_command_of_the_plugin(lake: Path, path: str) -> None:
    asked = ["who-deleted", "pod/web-1", "-n", "shop", "-o", "csv"]
    wanted = said(["auditlens", "ask", *asked], lake, path)
    assert wanted[0] == 0 and "alice" in wanted[1]
    assert said(["kubectl-audit", *asked], lake, path) == wanted
    assert said(["auditlens", "kubectl-plugin", *asked], lake, path) == wanted
    assert said(["kubectl-audit", "sql", "select 1 as one", "-o", "csv"], lake, path)[1] == "one\n1\n"
    assert "Usage: kubectl audit lake" in said(["kubectl-audit", "lake", "--help"], lake, path)[1]
    assert said(["kubectl-audit", "who-deletd"], lake, path)[0] == 2


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl here")
def test_kubectl_finds_it(lake: Path, path: str) -> None:
    code, out, _ = said(["kubectl", "audit", "who-deleted", "pod/web-1", "-n", "shop", "-o", "csv"], lake, path)
    assert code == 0 and "alice" in out


def test_no_command_hides_a_question() -> None:
    commands = set(getattr(typer.main.get_command(app), "commands"))  # noqa: B009
    assert commands & set(questions()) == {"history"}, "which is the question"


def test_the_manifest_has_what_krew_asks() -> None:
    """https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest, and what krew's validation (internal/index/validation) refuses."""
    assert set(MANIFEST) == {"apiVersion", "kind", "metadata", "spec"}
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert MANIFEST["metadata"] == {"name": "audit"}, "the file's name, and the plugin's"
    spec = MANIFEST["spec"]
    assert set(spec) <= {"version", "homepage", "shortDescription", "description", "caveats", "platforms"}
    assert spec["version"] == "v" + tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert spec["shortDescription"] and len(spec["shortDescription"]) <= 50 and "\n" not in spec["shortDescription"]
    assert spec["homepage"].startswith("https://") and spec["description"] and spec["platforms"]
    for platform in spec["platforms"]:
        assert set(platform) == {"selector", "uri", "sha256", "files", "bin"}
        expressions = platform["selector"]["matchExpressions"]
        assert expressions and {e["key"] for e in expressions} <= {"os", "arch"}
        assert platform["uri"].startswith("https://") and platform["uri"].endswith(KREW["name"]())
        assert re.fullmatch(r"[0-9a-f]{64}", platform["sha256"])
        assert platform["files"] and all(f["from"] and f["to"] for f in platform["files"])


def test_the_archive_is_the_one_the_manifest_names(tmp_path: Path, lake: Path, path: str) -> None:
    made = KREW["archive"]()
    assert made == KREW["archive"]()
    (platform,) = MANIFEST["spec"]["platforms"]
    assert hashlib.sha256(made).hexdigest() == platform["sha256"], "python deploy/krew.py"
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert set(archive.namelist()) == {f["from"] for f in platform["files"]} >= {platform["bin"], "LICENSE"}
        assert archive.getinfo(platform["bin"]).external_attr >> 16 & 0o111
        script = tmp_path / platform["bin"]
        script.write_bytes(archive.read(platform["bin"]))
    script.chmod(0o755)
    asked = [str(script), "who-deleted", "pod/web-1", "-n", "shop", "-o", "csv"]
    assert "alice" in said(asked, lake, path)[1]
    code, _, err = said(asked, lake, "/nowhere")
    assert code == 127 and "needs auditlens" in err
