"""The wheel carries all it needs: built, installed into an environment of its own, and run far from the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from auditlens.importing.core import core

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-deps", "--wheel-dir", str(target), str(ROOT))
    return next(target.glob("auditlens-*.whl"))


def pip(*args: str, python: Path = Path(sys.executable)) -> None:
    done = subprocess.run([python, "-m", "pip", "-q", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def inside(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_what_travels_with_it(wheel: Path) -> None:
    names = inside(wheel)
    for folder in ("dashboards", "policies", "sample-logs"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"auditlens/_share/{path.relative_to(ROOT).as_posix()}" in names
    for path in (ROOT / "auditlens").rglob("*"):
        if path.suffix in (".py", ".sql", ".toml", ".tsv", ".json", ".typed") and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "bench/")) for name in names)
    with zipfile.ZipFile(wheel) as archive:
        scripts = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert re.findall(r"^([\w-]+) = ", scripts, re.MULTILINE) == ["auditlens", "kubectl-audit"]


def test_the_wheel_is_of_a_platform_with_the_core_and_of_all_without(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = core() is not None  # whoever installed this had cargo
    assert ("auditlens/_core.so" in inside(wheel)) == native
    assert wheel.name.endswith("-py3-none-any.whl") != native
    monkeypatch.setenv("AUDITLENS_CORE", "0")
    pip("wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT))
    pure = next(tmp_path.glob("*.whl"))
    assert pure.name.endswith("-py3-none-any.whl") and "auditlens/_core.so" not in inside(pure)


def test_installed_elsewhere_the_demo_answers(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip("install", str(wheel), python=tmp_path / "venv" / "bin" / "python")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AUDITLENS", "VIRTUAL_ENV"))}
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config")}
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "auditlens", "demo"],
        cwd=tmp_path,
        env=env | home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "pods/shop/web-1" in line]
    evidence = "sample-logs/kubeadm/audit-2026-11-23T04-56-34.537.log.gz"
    assert [(row[1], row[2], row[-1]) for row in rows] == [
        ("alice", "direct", f"{evidence}:21"),
        ("system:node:node-1", "kubelet", f"{evidence}:29"),
    ]
