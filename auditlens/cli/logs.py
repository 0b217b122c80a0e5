"""`curl`, `trace` and `evidence`: a request to repeat, a slow one to look at, and the lines a row rests on."""

from __future__ import annotations

from typing import Annotated

import typer

from auditlens.cli.asking import tell
from auditlens.cli.options import LAKE, LakePath

_Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="text, which is the default; table, records, csv, json, jsonl, md or parquet."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (curl, trace, evidence):
        app.command()(command)


def curl(
    request: Annotated[
        str,
        typer.Argument(metavar="AUDIT_ID|FILE", help="A request of the lake, or a file with the output of kubectl -v=6 and up."),
    ],
    lake: LakePath = LAKE,
    output: _Output = None,
) -> int:
    """Print a request as a complete curl command; $TOKEN, $CACERT and $APISERVER stand for what no log should hold."""
    from auditlens import face

    return tell(face.curl(request, str(lake)), output)


def trace(
    id: Annotated[str, typer.Argument(metavar="AUDIT_ID|TRACE_ID", help="The request, or the number in Trace[...].")],
    lake: LakePath = LAKE,
    output: _Output = None,
) -> int:
    """Show where the apiserver spent a request's time: its trace as a tree with bars."""
    from auditlens import face

    return tell(face.trace(str(lake), id), output)


def evidence(
    of: Annotated[str, typer.Argument(metavar="AUDIT_ID|SOURCE:LINE", help="A request, or a line as answers name it.")],
    within: Annotated[
        list[str] | None, typer.Option("--in", help="A further file or directory to look in, such as an archive. Repeatable.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The lines as they stand, Secrets and tokens included.")] = False,
    lake: LakePath = LAKE,
    output: _Output = None,
) -> int:
    """Show the lines a row rests on, where they stand today: also in a file that was rotated, renamed or compressed since."""
    from auditlens import face

    return tell(face.evidence(str(lake), of, within=within or (), raw=raw), output)
