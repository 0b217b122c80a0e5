"""The documentation does what it says: each page's commands are run and compared, its Python too, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from auditlens.answers.questions import questions
from auditlens.cli.app import app
from auditlens.cli.asking import parser

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 9 * 1024  # bytes of README: what somebody reads who does not know yet whether to go on


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generate()
WRITTEN = [p for p in generate.pages() if p.name not in generate.WHOLE]
LINKING = [*generate.pages(), ROOT / "CONTRIBUTING.md", ROOT / "sample-logs" / "README.md"]


def fenced(text: str, *languages: str) -> list[str]:
    return [m[2] for m in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if m[1] in languages]


@pytest.mark.parametrize("path", [p for p in WRITTEN if generate.blocks(p.read_text())], ids=lambda p: p.name)
def test_what_a_page_shows_is_what_comes_out(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = path.read_text()
    if missing := generate.lacking(text):
        pytest.skip(f"there is no {', '.join(missing)} here")
    with generate.place(text) as directory:
        for now, shown in zip(generate.run(text, directory), generate.blocks(text), strict=True):
            assert generate.steady(now) == generate.steady(shown)
        # the Python blocks go on with the lake that the console blocks made
        monkeypatch.chdir(directory)
        for code in fenced(text, "python"):
            exec(compile(code, path.name, "exec"), {})  # noqa: S102  # our own page
            assert capsys.readouterr().out


@pytest.mark.parametrize("path", generate.pages(), ids=lambda p: p.name)
def test_the_generated_parts_are_fresh(path: Path) -> None:
    text = path.read_text()
    made = generate.WHOLE[path.name]() if path.name in generate.WHOLE else generate.parts(text, generate.PARTS)
    assert text == made, "make docs"


def test_a_part_that_nothing_makes_is_refused() -> None:
    assert generate.parts("there are <!-- n -->3<!-- /n -->", {"n": lambda: "4"}) == "there are <!-- n -->4<!-- /n -->"
    assert generate.parts("<!-- t -->\nold\n<!-- /t -->", {"t": lambda: "new"}) == "<!-- t -->\nnew\n<!-- /t -->"
    with pytest.raises(SystemExit, match="nothing makes it"):
        generate.parts("<!-- n -->3<!-- /n -->", {})


def test_readme_is_one_screen_of_reading() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= LIMIT


def test_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert [p.name for p in generate.pages() if p != ROOT / "README.md" and f"](docs/{p.name})" not in text] == []


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", LINKING, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        to = path.parent / target if target else path
        assert to.exists(), target
        assert not anchor or anchor in anchors(to), f"{target}#{anchor}"


def named(text: str) -> list[str]:
    """The commands of auditlens that a page names, in its blocks and in its prose."""
    blocks = (block.replace("\\\n", " ") for block in fenced(text, "sh", "console", ""))
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    prose = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    said = [part for line in (*lines, *prose) for part in re.split(r"\\?\| |&& | > |  +# ", line.strip())]
    said = [re.sub(r"^kubectl audit (\S+)", lambda m: f"auditlens {'ask ' * (m[1] in questions())}{m[1]}", part) for part in said]
    return [part for part in said if re.match(r"auditlens [a-z]", part.strip())]


def unknown(command: str) -> list[str]:
    """Which words of a command the command line does not know."""
    words = shlex.split(command.strip())[1:]
    found: Any = typer.main.get_command(app)
    while words and hasattr(found, "commands"):
        if words[0] not in found.commands:
            return [] if re.fullmatch(r"[A-Z/]+", words[0]) else words[:1]
        name, found = words[0], found.commands[words.pop(0)]
    flags = {o for p in found.params for o in p.opts} | {"--help"}
    if name in ("ask", "history"):
        asked = next((w for w in words if w in questions()), "") if name == "ask" else name
        if not asked:
            return [w for w in words if re.fullmatch(r"[a-z-]+", w) and not w.startswith("-")]
        flags |= {o for a in parser(questions()[asked])._actions for o in a.option_strings}
    return [w for w in words if w.startswith("-") and len(w) > 1 and w.partition("=")[0] not in flags]


@pytest.mark.parametrize("path", [*WRITTEN, ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_every_command_that_a_page_names_is_one(path: Path) -> None:
    assert {c: wrong for c in named(path.read_text()) if (wrong := unknown(c))} == {}


def test_a_command_that_is_none_is_noticed() -> None:
    text = "`auditlens ask who-deletd`\n```sh\nkubectl audit denied --usr eve\nauditlens lake info --what | auditlens why pod/a --evnt x  # no such\n```\n"
    assert {w for c in named(text) for w in unknown(c)} == {"who-deletd", "--usr", "--what", "--evnt"}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: p.name)
def test_yaml_of_a_page_is_yaml(path: Path) -> None:
    for block in fenced(path.read_text(), "yaml"):
        assert isinstance(yaml.safe_load(block), dict), block


def test_alerts_name_metrics_that_the_sink_has() -> None:
    from auditlens.sink.metrics import Metrics

    rules = yaml.safe_load(fenced((ROOT / "docs" / "operations.md").read_text(), "yaml")[0])["groups"][0]["rules"]
    metrics = Metrics()
    metrics.received.labels("200").inc()
    there = set(re.findall(r"^(auditlens_\w+)", metrics.render().decode(), re.MULTILINE))
    used = {name for rule in rules for name in re.findall(r"auditlens_\w+", rule["expr"])}
    assert len(rules) >= 5 and used <= there


def test_what_varies_is_not_compared() -> None:
    assert generate.steady("19 sources, 7 bytes in 12.3 s (1,007 MB/s)") == generate.steady("19 sources, 7 bytes in 0.1 s")
    assert generate.steady("at 2026-12-05T10:00:00.123Z") == generate.steady("at 2026-12-06T11:22:33Z")
    assert generate.steady("2026-11-23T04:56:31.658488Z") == "2026-11-23T04:56:31.658488Z", "what the log says stays"
    assert generate.commands("$ a\nb\n$ c \\\n  d\ne\n") == ["a", "c \\\n  d"]


def test_a_page_that_needs_what_is_not_here_is_known() -> None:
    assert generate.lacking("```console\n$ auditlens ask | nosuchprogram -x\n$ until true; do echo; done\n```\n") == [
        "nosuchprogram"
    ]


def test_a_page_is_typed_into_one_shell(tmp_path: Path) -> None:
    text = "```console\n$ cd /; x=1\n```\n```console\n$ echo $x $(pwd) >&2\n$ sleep 100 &\n$ test -t 1 && echo :9443\n```\n"
    shown = ["$ cd /; x=1\n", "$ echo $x $(pwd) >&2\n1 /\n$ sleep 100 &\n$ test -t 1 && echo :9443\n:9443\n"]
    assert generate.run(text, tmp_path) == shown
