"""README does what it says: its console blocks are run and compared, its Python too, and its generated parts are fresh."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generate()


def test_what_readme_shows_is_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "sample-logs", tmp_path / "sample-logs")
    blocks = [match[1] for match in generate.blocks(README)]
    assert blocks
    for block in blocks:
        assert generate.steady(generate.run(block, tmp_path)) == generate.steady(block)
    # the Python blocks go on with the lake that the console blocks made
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102  # our own README
    assert "alice" in capsys.readouterr().out


def test_the_generated_parts_are_fresh() -> None:
    assert (ROOT / "docs" / "tables.md").read_text() == generate.tables(), "make docs"
    assert (ROOT / "docs" / "questions.md").read_text() == generate.questions(), "make docs"
    assert generate.question_table() in README, "make docs"
    assert generate.presets() in README, "make docs"
    assert generate.speed() in README, "make docs"


def test_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / "sample-logs" / "README.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_blocks_are_compared_without_what_varies() -> None:
    assert generate.steady("19 sources, 7 bytes in 12.3 s (1,007 MB/s)") == generate.steady("19 sources, 7 bytes in 0.1 s")
    assert generate.commands("$ a\nb\n$ c\n") == ["a", "c"]
