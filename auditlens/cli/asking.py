"""`auditlens ask`: flags and help come from the question's own declaration."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from auditlens.cli import say
from auditlens.errors import ExitCode, UsageError

if TYPE_CHECKING:
    import polars as pl

    from auditlens.answers.answer import Answer
    from auditlens.answers.questions import Question

GROUPS = ("objects", "access", "traffic", "apiserver log", "lake", "policy")  # as they are listed; others come last
_SHORT = {"namespace": "-n", "output": "-o"}


class Parser(argparse.ArgumentParser):
    """argparse, with our errors and the nearest flag for one that does not exist."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_strictly(self, args: Sequence[str]) -> dict[str, Any]:
        """The values of the flags; raises UsageError for one that does not exist."""
        known, unknown = self.parse_known_args(args)
        if unknown:
            flags = [f for a in self._actions for f in a.option_strings]
            near = difflib.get_close_matches(unknown[0].split("=")[0], flags, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; see `{self.prog} --help`"
            raise UsageError(f"{unknown[0]} is not understood here{hint}")
        return vars(known)


def run(args: Sequence[str]) -> int:
    """Answer, list the questions, or show help."""
    from auditlens import face
    from auditlens.answers.questions import find

    name = next(
        (a for i, a in enumerate(args) if not a.startswith("-") and not (i and args[i - 1] in ("--lake", "-o", "--output"))), None
    )
    if name is None:
        return _list(args)
    asked = find(name)
    rest = list(args)
    rest.remove(name)
    options = parser(asked).parse_strictly(rest)
    lake, output, wide, timeout, every = (options.pop(k, None) for k in ("lake", "output", "wide", "timeout", "all"))
    words = options.pop("object", None) or []
    if len(words) > 2:
        raise UsageError(f"{' '.join(words)}: one object at a time, as {asked.object_form} or with a space between kind and name")
    given = {k: v for k, v in options.items() if v is not None}
    answer = face.ask(str(lake), name, " ".join(words) or None, timeout=timeout, **given)
    said = (
        _shorten(answer, asked.brief) if asked.brief and not every and output in (None, "table") and sys.stdout.isatty() else ""
    )
    return tell(answer, output, said, wide=wide)


def _shorten(answer: Answer, brief: str) -> str:
    """Leave out what the question itself calls noise; returns what that was, in words."""
    module, _, function = brief.partition(":")
    said: str
    answer.frame, said = getattr(import_module(module), function)(answer.frame)
    return said


def parser(question: Question) -> Parser:
    """The flags of a question."""
    made = Parser(
        prog=f"auditlens ask {question.name}",
        description=f"{question.title}.",
        epilog=f"To be complete, the answer needs in the log: {' '.join(question.needs.split())}",
        allow_abbrev=False,
    )
    if form := question.object_form:
        text = "the object, as kubectl takes it: pod/web-1, pod web-1, deploy/web; a uid" if question.takes_object else "a kind"
        made.add_argument("object", nargs="*", metavar=form, help=text)
    for param in question.params:
        flags = [f"--{param.name.replace('_', '-')}"] + ([_SHORT[param.name]] if param.name in _SHORT else [])
        doc = param.doc.replace("%", "%%") + (f" (default {param.default})" if param.default is not None else "")
        if param.type == "boolean":
            made.add_argument(*flags, dest=param.name, action="store_true", default=None, help=doc)
        else:
            made.add_argument(
                *flags, dest=param.name, metavar=param.type.upper(), type=int if param.type == "integer" else str, help=doc
            )
    made.add_argument("--lake", type=Path, default=Path(os.environ.get("AUDITLENS_LAKE", "lake")), help="directory of the lake")
    made.add_argument("--output", "-o", help="table, records, csv, json, jsonl, md or parquet")
    if question.brief:
        made.add_argument("--all", action="store_true", help="also what a terminal's table leaves out, such as writes of status")
    made.add_argument("--wide", action="store_true", help="every column in the table, not only the main ones")
    made.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this time")
    return made


def _list(args: Sequence[str]) -> int:
    import polars as pl

    from auditlens.answers.questions import questions

    options = Parser(prog="auditlens ask", add_help=False)
    options.add_argument("--lake")
    options.add_argument("--output", "-o")
    options.add_argument("--help", "-h", action="store_true")
    given = options.parse_strictly(args)
    if given["help"]:
        say("usage: auditlens ask QUESTION [KIND/NAME] [flags]\nThe flags of a question: auditlens ask QUESTION --help\n")
    asked = questions().values()
    if given["output"] is None:
        print(_by_group(asked), end="")
    else:
        show(pl.DataFrame({"question": [q.name for q in asked], "answers": [q.title for q in asked]}), given["output"])
    return ExitCode.OK


def _by_group(asked: Iterable[Question]) -> str:
    """The questions, those about one thing together, each with the whole of what it answers."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    told: dict[str, list[str]] = {}
    for q in asked:
        title = textwrap.wrap(q.title, max(width - 23, 20)) or [""]
        lines = [f"  {q.name:<20} {title[0]}", *(f"{'':23}{line}" for line in title[1:])]
        told.setdefault(q.group, []).extend(lines)
    order = sorted(told, key=lambda g: (GROUPS.index(g) if g in GROUPS else len(GROUPS), g))
    return "\n".join("\n".join((group, *told[group])) + "\n" for group in order)


def tell(answer: Answer, output: str | None, said: str = "", *, wide: bool = False) -> int:
    """Any answer: its tree as JSON where it has one, its text where it has that, else its rows; then what it cannot know."""
    from auditlens.output import write_json

    if output == "json" and answer.tree is not None:
        write_json(answer.tree)
    elif answer.text and output in (None, "text"):
        sys.stdout.buffer.write(answer.text.encode("utf-8", "replace"))
        return ExitCode.OK  # the text says its limits itself
    else:
        show(answer.frame, output, () if wide else answer.show, wide=wide)
        if said:
            say(said)
    for note in answer.notes:
        say(note)
    return ExitCode.OK


def show(frame: pl.DataFrame, output: str | None, columns: Sequence[str] = (), *, wide: bool = False) -> None:
    """Write an answer to stdout; as a table unless something else is asked for, made for the terminal's width unless `wide`."""
    from auditlens.output import write

    format = output or "table"
    if format == "parquet" and sys.stdout.isatty():
        raise UsageError("Parquet is not for terminals: redirect it to a file")
    if format == "table" and not frame.height:
        return
    person = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if person and not wide else None
    colour = person and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    made = io.BytesIO()
    notes = write(frame, format, made, show=columns, width=width, colour=colour)
    if person and format in ("table", "records"):
        _page(made.getvalue(), wide=wide)
    else:
        sys.stdout.buffer.write(made.getvalue())
        sys.stdout.flush()
    for note in notes:
        say(note)


def _page(text: bytes, *, wide: bool) -> None:
    """What is longer than the screen goes through the pager, $PAGER or less; long lines of `wide` scroll sideways."""
    words = shlex.split(os.environ.get("PAGER", "less"))
    room = shutil.get_terminal_size()
    fits = text.count(b"\n") < room.lines - 2 and not (wide and max(map(len, text.splitlines()), default=0) > room.columns)
    if fits or not sys.stdin.isatty() or not words or not shutil.which(words[0]):
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return
    # secure: no commands of the shell from inside
    own = {"LESS": os.environ.get("LESS", "FRSX" if wide else "FRX"), "LESSSECURE": "1", "LESSCHARSET": "utf-8"}
    subprocess.run(words, input=text, check=False, env={**os.environ, **own})
