"""The options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from auditlens.lake import Lake

LakePath = Annotated[Path, typer.Option("--lake", envvar="AUDITLENS_LAKE", help="Directory of the lake.", show_default=True)]
Output = Annotated[str | None, typer.Option("--output", "-o", help="table, records, csv, json, jsonl, md or parquet.")]
LAKE = Path("lake")
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}  # for asking.run


def existing(path: Path) -> Lake:
    """The lake at a path; raises UsageError when there is none."""
    from auditlens.answers.answer import existing as run

    return run(str(path))
