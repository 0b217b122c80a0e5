"""The options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlens.errors import UsageError

if TYPE_CHECKING:
    from auditlens.lake import Lake

LakePath = Annotated[Path, typer.Option("--lake", envvar="AUDITLENS_LAKE", help="Directory of the lake.", show_default=True)]
Output = Annotated[str | None, typer.Option("--output", "-o", help="table, csv, json, jsonl, md or parquet.")]
LAKE = Path("lake")


def existing(path: Path) -> Lake:
    """The lake at a path; raises UsageError when there is none."""
    from auditlens.lake import Lake

    lake = Lake(path)
    if not lake.exists():
        raise UsageError(f"{path}: there is no lake here; `auditlens import` makes one, --lake or $AUDITLENS_LAKE names it")
    return lake
