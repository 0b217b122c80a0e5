"""`auditlens curl` and `auditlens trace`: a request to repeat, and a trace to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

LakePath = Annotated[Path, typer.Option("--lake", envvar="AUDITLENS_LAKE", help="Directory of the lake.", show_default=True)]
LAKE = Path("lake")


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def curl(
        request: Annotated[str, typer.Argument(help="Audit id, or a file with the output of kubectl -v=6 and up.")],
        lake: LakePath = LAKE,
    ) -> int:
        """Print a client's request as a complete curl command; credentials are placeholders."""
        from auditlens.forensics.curl import curl as run

        typer.echo(run(request, lake), nl=False)
        return 0

    @app.command()
    def trace(
        id: Annotated[str, typer.Argument(help="Audit id of the request, or number of the trace.")],
        lake: LakePath = LAKE,
    ) -> int:
        """Show an apiserver trace as a tree with bars."""
        from auditlens.forensics.tracetree import trace_tree as run

        typer.echo(run(lake, id), nl=False)
        return 0
