"""The public names: there for help(), mypy and dir(), free until used; their examples run."""

from __future__ import annotations

import doctest
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import auditlens
from auditlens import face
from auditlens.face import asking, logs, objects, policies

ROOT = Path(__file__).resolve().parents[1]


def test_importing_costs_nothing() -> None:
    code = "import sys; before = set(sys.modules); import auditlens; print(sorted(m for m in set(sys.modules) - before if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert not set(eval(loaded)) & {"duckdb", "polars", "pyarrow", "pydantic", "numpy"}, loaded  # noqa: S307


def test_every_name_is_in_dir_and_in_help() -> None:
    assert set(dir(auditlens)) == set(auditlens.__all__)
    shown = pydoc.plain(pydoc.render_doc(auditlens))
    for name in auditlens.__all__:
        assert getattr(auditlens, name) is not None
        if name not in ("policy", "__version__"):
            assert name in shown, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = auditlens.nonsense


@pytest.mark.parametrize("name", sorted(set(auditlens.__all__) & set(vars(face))))
def test_every_function_says_what_it_takes_and_raises_and_has_an_example(name: str) -> None:
    function = getattr(face, name)
    if not callable(function) or isinstance(function, type):
        return
    assert ">>> " in function.__doc__, name
    assert "Raises:" in function.__doc__ or name == "questions", name
    assert "return" in function.__annotations__, name


def test_mypy_knows_the_names(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "import auditlens\n"
        "reveal_type(auditlens.ask('lake', 'who-deleted', 'pod/web-1'))\n"
        "reveal_type(auditlens.import_files('a.log', 'lake'))\n"
        "reveal_type(auditlens.policy.load)\n"
    )
    run = [sys.executable, "-m", "mypy", "--no-incremental", "--strict", "--follow-imports=silent", str(tmp_path / "use.py")]
    said = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False).stdout
    assert "auditlens.answers.answer.Answer" in said and "ImportReport" in said, said
    assert "error" not in said and '"Any"' not in said, said


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample-logs").symlink_to(ROOT / "sample-logs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDITLENS_REDACT_KEY", str(tmp_path / "key"))
    (tmp_path / "key").write_text("the key of the examples")
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    tests = [
        t for module in (asking, logs, objects, policies, auditlens) for t in finder.find(module, module.__name__) if t.examples
    ]
    tests.sort(key=lambda t: (not t.name.endswith("import_files"), t.name))  # the lake is made first
    assert len(tests) >= 14
    for test in tests:
        test.globs = vars(face) | vars(auditlens) | test.globs
        runner.run(test)
    assert runner.failures == 0


def test_one_path_is_one_path(tmp_path: Path) -> None:
    log = tmp_path / "a b.log"
    log.write_bytes((ROOT / "sample-logs" / "legacy" / "audit.log").read_bytes())
    for n, path in enumerate((str(log), log, [log], (str(log),))):
        assert len(auditlens.import_files(path, tmp_path / f"lake{n}").sources) == 1
