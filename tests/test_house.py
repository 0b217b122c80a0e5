"""The house is in order: what exists is documented, imports go down only, modules stay readable, starting is quick."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from auditlens.answers.questions import questions
from auditlens.tables import TABLES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "auditlens"
MODULES = sorted(PACKAGE.rglob("*.py"))
DECLARATIONS = ("tables.py",)  # a line a column
README = (ROOT / "README.md").read_text()


def cli(*args: str) -> str:
    done = subprocess.run([sys.executable, "-m", "auditlens", *args], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_readme_names_both_commands() -> None:
    assert re.search(r"^make demo\b", README, re.MULTILINE)
    assert re.search(r"^make test\b", README, re.MULTILINE)


def test_the_makefile_explains_its_targets() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", text, re.MULTILINE)
    explained = re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE)
    assert targets == explained
    assert {"demo", "test", "check", "bench", "docs", "golden", "clean", "help"} <= set(targets)


def test_ci_runs_the_command_that_readme_names() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"\bmake -C \S+ test$", text, re.MULTILINE), "as a stranger does, with what the lock file names"
    assert re.search(r"\bmake LOCK= test$", text, re.MULTILINE), "with the newest versions"


def test_every_question_is_documented() -> None:
    page, table = ((ROOT / "docs" / name).read_text() for name in ("questions.md", "ask.md"))
    for question in questions().values():
        assert f"`{question.name}`" in table, question.name
        assert f"## {question.name}\n" in page, question.name
        assert not question.title.endswith(".") or question.title.endswith("..."), question.name


def test_every_column_is_documented() -> None:
    page = (ROOT / "docs" / "tables.md").read_text()
    for table in TABLES.values():
        for column in table.columns():
            assert column.doc.endswith("."), f"{table.NAME}.{column.name}"
            assert f"| `{column.name}` | {column.type.lower()} |" in page, f"{table.NAME}.{column.name}"


def test_every_command_has_help() -> None:
    text = cli("--help")
    commands = re.findall(r"^  ([a-z]+)  +(.*)$", text.split("Commands:")[1], re.MULTILINE)
    assert {"import", "ask", "sql", "history", "why", "demo", "dashboard", "serve", "policy", "lake"} <= {
        name for name, _ in commands
    }
    assert all(about for _, about in commands)


@pytest.mark.parametrize("command", [(), ("lake",), ("policy",), ("sink",)])
def test_no_summary_is_cut(command: tuple[str, ...]) -> None:
    text = cli(*command, "--help").split("Commands:")[1]
    assert "..." not in text and "…" not in text
    assert len(re.findall(r"^  [a-z]+  +\S", text, re.MULTILINE)) > 1


@pytest.mark.parametrize(
    ("command", "mentions"),
    [
        (("import",), ("--lake", "--cluster", "--format", "--redact", "--max-line", "--strict", "standard input")),
        (("sql",), ("--lake", "--timeout", "SELECT")),
        (("demo",), ("--lake",)),
        (("dashboard",), ("--lake", "--port", "--address")),
        (("lake",), ("info", "compact", "retain", "verify")),
        (("lake", "retain"), ("--yes", "older")),
        (("ask", "who-deleted"), ("KIND/NAME", "--namespace", "-n", "--since", "--until", "--output", "--wide", "needs in the log")),
    ],
)  # fmt: skip
def test_help_mentions(command: tuple[str, ...], mentions: tuple[str, ...]) -> None:
    text = cli(*command, "--help")
    for word in mentions:
        assert word in text


def test_auditlens_alone_is_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUDITLENS_LAKE", raising=False)
    text = cli()
    for word in ("import", "ask", "sql", "serve", "history", "completeness", "dashboard", "policy", "demo", "--help"):
        assert f"auditlens {word}" in text
    assert f"the {len(questions())} questions" in text and "no lake at lake yet" in text
    assert max(map(len, text.splitlines())) <= 119
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    cli("import", str(ROOT / "sample-logs" / "kubeadm"))
    assert re.search(r"The lake at lake:\n  log from 2026-11-23 .*\n.*\n  next: auditlens ask ", cli())
    (tmp_path / "lake" / "imports").rename(tmp_path / "gone")
    assert "auditlens import" in cli(), "a lake that cannot be read does not take the map away"


def test_a_part_that_is_not_installed_is_named_with_the_command_that_installs_it_here(tmp_path: Path) -> None:
    code = "import sys; from auditlens.cli import main; sys.exit(main(['dashboard']))"
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'streamlit' else f(n, *a); "
    done = subprocess.run(
        [sys.executable, "-c", hide + code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    words = shlex.split(done.stderr.partition("Streamlit: ")[2])
    assert words == [sys.executable, "-m", "pip", "install", "-e", f"{ROOT}[dashboard]"]


@pytest.mark.parametrize("lake", [True, False], ids=["into a lake", "to look at"])
def test_the_demo_ends_with_a_command_that_works_as_typed(tmp_path: Path, lake: bool) -> None:
    env = {k: v for k, v in os.environ.items() if k != "AUDITLENS_LAKE"} | {
        "XDG_CONFIG_HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    command = [str(Path(sys.executable).parent / "auditlens"), "demo", *(("--lake", "kept") if lake else ())]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.startswith("importing ")
    typed = re.findall(r"^  (\S.*)$", done.stderr, re.MULTILINE)[-1]
    again = subprocess.run(["bash", "-c", typed], cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=120)
    assert "root: bob with kubectl" in again.stderr and "spec.replicas 2 → 100" in again.stdout
    assert lake == (" import " not in typed)


def test_questions_are_listed_whole_and_by_what_they_are_about() -> None:
    text = cli("ask")
    assert {name for group in re.findall(r"^\S.*$", text, re.MULTILINE) for name in [group]} == {
        q.group for q in questions().values()
    }
    assert all(f"  {q.name:<20} {q.title}\n" in text for q in questions().values())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from auditlens.cli import main; main(['--help']); "
        "print(*sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'duckdb', 'polars', 'pyarrow', 'deltalake', 'streamlit', 'numpy', 'yaml'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not done.stderr.strip()


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if text.strip() and path.name != "__main__.py":
        assert ast.get_docstring(ast.parse(text)), "a module begins with a sentence that states its promise"


def test_modules_and_functions_are_short() -> None:
    """400 lines and 60, with signature and docstring; ruff's C901 bounds what a function decides (pyproject.toml)."""
    long = []
    for path in (*MODULES, *sorted((ROOT / "dashboards").rglob("*.py"))):
        text, name = path.read_text(), str(path.relative_to(ROOT))
        if len(text.splitlines()) > 400 and path.name not in DECLARATIONS:
            long.append(name)
        functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))
        long += [f"{name}: {f.name}" for f in functions if (f.end_lineno or 0) - f.lineno >= 60]
    assert long == []


def found(pattern: str, *suffixes: str) -> set[str]:
    """The files of the product with a line that fits, by their path."""
    files = (p for root in (PACKAGE, ROOT / "dashboards") for suffix in suffixes for p in root.rglob(f"*{suffix}"))
    return {str(p.relative_to(ROOT)) for p in files if re.search(pattern, p.read_text(), re.MULTILINE)}


def test_each_word_is_said_in_one_place() -> None:
    """What questions mean by an answer, a window, a literal and an object: two places would come to differ."""
    # which stage says what became of a request; what a policy writes is told stage by stage
    final = found(r"stage (in|not in) \('ResponseComplete'|stage <> 'ResponseStarted'\s+or", ".sql", ".py")
    assert {name for name in final if not name.startswith("auditlens/policy/")} == {"auditlens/words.sql"}
    # what a time that was not given means
    assert found(r"\bsince is null or|\buntil is null or", ".sql", ".py") == {"auditlens/words.sql"}
    # quotes of SQL
    assert found(r"""replace\("'", "''"\)""", ".py") == {"auditlens/quoting.py"}
    assert found(r"""(=|<>|\bin \(|\bdate|\btimestamptz|\bbetween|\band) '\{[a-z]""", ".py") == set()
    assert found(r"""join\(f"'\{[a-z]""", ".py") == set()
    # the words of a person for an object; lint asks what a word in a policy could have meant
    assert found(r"kinds\.parse_object\(", ".py") == {"auditlens/answers/address.py"}
    assert found(r"kinds\.find\(", ".py") == {"auditlens/policy/apiserver/served.py", "auditlens/policy/lint/names.py"}
    # the words of a person for a time
    assert found(r"\bparse_time\(", ".py") == {"auditlens/answers/window.py", "auditlens/times.py"}


SHOWN = [p for p in ROOT.iterdir() if not p.name.startswith(".") or p.name == ".ci"]  # not environments and caches
FILES = {str(p.relative_to(ROOT)) for top in SHOWN for p in (top, *top.rglob("*")) if p.is_file()}
ELSEWHERE = re.compile(r"/etc/|\.streamlit/|.*NAME\.")  # files of a reader's own, and placeholders


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sample-logs/README.md", *sorted(
    f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])  # fmt: skip
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    shown = {name for name in re.findall(r"`([\w./-]+\.(?:py|sql|toml|md|tsv|yaml))`", text) if not ELSEWHERE.match(name)}
    assert {name for name in shown if not any(f"/{there}".endswith(f"/{name}") for there in FILES)} == set()
    # modules as `importing.sources`, by the rooms of the package
    rooms = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if (p / "__init__.py").exists() or p.suffix == ".py"}
    dotted = {name.removeprefix("auditlens.") for name in re.findall(r"`((?:\w+\.)+\w+)`", text) if name not in shown}
    assert {name for name in dotted if name.partition(".")[0] in rooms - set(TABLES) and not exists(name)} == set()


def exists(name: str) -> bool:
    """Whether the package has a module, or a module's name, of that name: `lake.snapshot`, `policy.Request`."""
    module, _, last = name.rpartition(".")
    try:
        return find_spec(f"auditlens.{name}") is not None or hasattr(import_module(f"auditlens.{module}"), last)
    except ModuleNotFoundError:
        return hasattr(import_module(f"auditlens.{module}"), last)


def test_every_package_is_one() -> None:
    """A folder without __init__.py is invisible to the import contract and to mypy's package list."""
    for folder in {p.parent for p in MODULES}:
        assert (folder / "__init__.py").exists(), folder


def test_every_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("dependencies = [")
    for line in lines[start + 1 : lines.index("]", start)]:
        assert re.search(r'",\s+# \S', line), line


def test_the_lock_file_names_every_dependency_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = (project["dependencies"], *project["optional-dependencies"].values())
    locked: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := re.match(r"([a-z0-9.-]+)==([^ ;]+)", line):
            locked.setdefault(match[1], []).append(match[2])
    for wanted in map(Requirement, (d for group in groups for d in group)):
        if wanted.name != project["name"]:
            versions = locked.get(canonicalize_name(wanted.name), [])
            assert versions, f"{wanted.name} is not in requirements.lock; make lock"
            assert all(v in wanted.specifier for v in versions), f"{wanted} is not {versions}; make lock"


def test_licence_and_version_are_stated() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
    assert re.fullmatch(rf"{re.escape(project['version'])} \((native core \S+|no native core: .+)\)", cli("--version").strip())
