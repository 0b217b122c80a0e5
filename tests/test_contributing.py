"""The examples of CONTRIBUTING apply to the code as it is, all together, and do what the guide says they do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import event, write

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
TOKEN = "gateway-" + "0123456789abcdef" * 2

PROGRAM = """
import json, sys
import auditlens
from auditlens.formats import gateway, registry
assert registry.SAMPLES["gateway"] == gateway.SAMPLES
open("through.log", "wb").write(b"".join(sample.source for sample in gateway.SAMPLES))
auditlens.import_files(["audit.log", "through.log"], "lake")
print(json.dumps({
    "scalings": auditlens.ask("lake", "scalings", "deploy/web").frame.rows(),
    "audit": auditlens.sql("lake", "select audit_id, proxies, request_uri from audit order by 1").rows(),
}))
"""


def apply(to: Path, diff: str) -> None:
    """Each file of a diff without line numbers: its lines are looked for, and must stand together once."""
    for section in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        _, target, *lines = section.splitlines()
        path = to / target.removeprefix("+++ b/")
        if section.startswith("/dev/null"):
            assert not path.exists() and all(line.startswith("+") for line in lines), target
            path.write_text("".join(line[1:] + "\n" for line in lines))
            continue
        for hunk in "\n".join(lines).split("\n@@\n"):
            said = hunk.splitlines()
            before = "\n".join(line[1:] for line in said if line[0] in " -")
            after = "\n".join(line[1:] for line in said if line[0] in " +")
            assert path.read_text().count(before) == 1, f"{target}: {before}"
            path.write_text(path.read_text().replace(before, after))


def test_the_examples_apply_and_work(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "auditlens", tmp_path / "auditlens", ignore=shutil.ignore_patterns("__pycache__"))
    diffs = re.findall(r"```diff\n(.*?)```", GUIDE, re.DOTALL)
    assert len(diffs) == 4, "a question, a column, a format, a redaction rule"
    for diff in diffs:
        apply(tmp_path, diff)
    scale = {
        "resource": "deployments",
        "namespace": "shop",
        "name": "web",
        "apiGroup": "apps",
        "apiVersion": "v1",
        "subresource": "scale",
    }
    uri = f"/apis/apps/v1/namespaces/shop/deployments/web/scale?note={TOKEN}"
    write(tmp_path / "audit.log", [event(1, verb="patch", objectRef=scale, requestURI=uri, sourceIPs=["192.0.2.1", "192.0.2.2"])])
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    told = json.loads(run.stdout)
    assert told["scalings"] == [["alice", "deployments", "shop", "web", 1]]
    (_, proxies, stored), (through, _, _) = told["audit"]
    assert proxies == 1 and through == "a1"
    assert TOKEN not in stored and "redacted:hmac:" in stored


def test_an_example_that_no_longer_fits_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    apply(tmp_path, "--- a/a.py\n+++ b/a.py\n x = 1\n+y = 2\n")
    assert (tmp_path / "a.py").read_text() == "x = 1\ny = 2\n"
    with pytest.raises(AssertionError, match="z = 3"):
        apply(tmp_path, "--- a/a.py\n+++ b/a.py\n z = 3\n+y = 2\n")
