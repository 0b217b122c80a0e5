"""`curl` and `trace`: a request to repeat, and a slow one to look at."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from auditlens.cli.options import LAKE, LakePath, existing
from auditlens.errors import ExitCode


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (curl, trace):
        app.command()(command)


def curl(
    request: Annotated[
        str,
        typer.Argument(metavar="AUDIT_ID|FILE", help="A request of the lake, or a file with the output of kubectl -v=6 and up."),
    ],
    lake: LakePath = LAKE,
) -> int:
    """Print a request as a complete curl command; $TOKEN, $CACERT and $APISERVER stand for what no log should hold."""
    from auditlens.forensics.curl import curl as run

    _write(run(request, lake))
    return ExitCode.OK


def trace(
    id: Annotated[str, typer.Argument(metavar="AUDIT_ID|TRACE_ID", help="The request, or the number in Trace[...].")],
    lake: LakePath = LAKE,
) -> int:
    """Show where the apiserver spent a request's time: its trace as a tree with bars."""
    from auditlens.forensics.tracetree import trace_tree as run

    _write(run(existing(lake), id))
    return ExitCode.OK


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
