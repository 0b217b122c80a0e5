"""The options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from auditlens.lake import Lake

LakePath = Annotated[Path, typer.Option("--lake", envvar="AUDITLENS_LAKE", help="Directory of the lake.", show_default=True)]
Output = Annotated[str | None, typer.Option("--output", "-o", help="table, records, csv, json, jsonl, md or parquet.")]
LAKE = Path("lake")
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}  # for asking.run


class Commands(TyperGroup):
    """Commands that are listed with the whole of what each does: half a sentence tells nothing."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list below `Commands:`."""
        with formatter.section("Commands"):
            shown = [(name, self.commands[name]) for name in self.list_commands(ctx) if not self.commands[name].hidden]
            formatter.write_dl([(name, command.get_short_help_str(1000)) for name, command in shown])


def lacking(what: str, extra: str) -> str:
    """The words for a part that is not installed, with the command that installs it into this very Python."""
    import shlex
    import sys

    checkout = Path(__file__).resolve().parents[2]
    wanted = f"-e {shlex.quote(f'{checkout}[{extra}]')}" if (checkout / "pyproject.toml").is_file() else f"'auditlens[{extra}]'"
    return f"{what}: {shlex.quote(sys.executable)} -m pip install {wanted}"


def existing(path: Path) -> Lake:
    """The lake at a path; raises UsageError when there is none."""
    from auditlens.answers.answer import existing as run

    return run(str(path))
