"""The commands and their flags; each is a few lines around one library call.

Nothing heavy is imported before a command runs: `auditlens --help` takes 0.2 s, and a test keeps it so.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from auditlens.cli import forensics, logs, policy, say, sink
from auditlens.cli.options import LAKE, PASSED_ON, Commands, LakePath, Output, existing
from auditlens.errors import ExitCode, UsageError


class _Commands(Commands):
    """The commands; a question's name that was typed in the place of one is told so."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            from auditlens.answers.questions import questions

            near = difflib.get_close_matches(args[0], questions(), 1, 0.8)
            if near:
                raise UsageError(f"there is no command {args[0]}, but a question: auditlens ask {' '.join([*near, *args[1:]])}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="auditlens",
    cls=_Commands,
    help="Kubernetes audit-log and apiserver-log forensics: logs in, answers with their evidence out.",
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
lake_app = typer.Typer(
    cls=Commands, help="Look after the lake: info, compact, retain, verify.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(lake_app, name="lake")


@app.callback(invoke_without_command=True)
def _version(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        from auditlens.importing import core

        why = core.why_not()
        typer.echo(installed("auditlens") + (f" (no native core: {why})" if why else f" (native core {core.VERSION})"))
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        from auditlens.cli import map as module

        module.run()


@app.command("import")
def import_(
    paths: Annotated[list[str], typer.Argument(help="Files, directories, globs; - for standard input.")],
    lake: LakePath = LAKE,
    cluster: Annotated[str | None, typer.Option(help="Cluster the logs are from; default: what their wrapper says.")] = None,
    format: Annotated[str, typer.Option(help="auto, or audit, klog, kubectl.")] = "auto",
    redact: Annotated[str, typer.Option(help="secrets: keyed hashes for Secret values and tokens; none: keep them.")] = "secrets",
    redact_key: Annotated[Path | None, typer.Option(help="File with the redaction key; default: one of your own.")] = None,
    max_line: Annotated[
        str, typer.Option(help="Longest line read whole; a longer one keeps what stands before its bodies.")
    ] = "64MiB",
    policy: Annotated[
        str | None, typer.Option(help="Keep only what this audit policy would have written: a file or a preset.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when anything was rejected.")] = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="json: the counts as one object.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep reading what is written to the files, across rotation.")] = False,
) -> int:
    """Read logs into the lake; every line is accounted for, and what is there already stays once."""
    from auditlens.cli import importing

    if follow:
        return importing.follow(paths, lake, cluster=cluster, format=format, redact=redact, redact_key=redact_key, policy=policy)
    return importing.run(
        paths, lake, cluster=cluster, format=format, redact=redact, redact_key=redact_key, max_line=max_line, policy=policy,
        strict=strict, output=output,
    )  # fmt: skip


@app.command(context_settings=PASSED_ON)
def ask(ctx: typer.Context) -> int:
    """Ask a question; without one, list them. `auditlens ask QUESTION --help` shows its flags."""
    from auditlens.cli import asking

    return asking.run(ctx.args)


@app.command()
def sql(
    statement: Annotated[
        str,
        typer.Argument(
            help="One SELECT over the tables (docs/tables.md: audit, audit_objects, klog, httplog, trace, kubectl, rejects, imports); - reads it from stdin."
        ),
    ],
    lake: LakePath = LAKE,
    output: Output = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which it is stopped.")] = 60.0,
) -> int:
    """Run read-only SQL on the lake's tables; it can read nothing else and change nothing."""
    import sys

    from auditlens.cli.asking import show
    from auditlens.locked import sql as run

    if statement == "-":
        statement = sys.stdin.read()
    show(run(existing(lake), statement, timeout=timeout), output)
    return ExitCode.OK


@app.command()
def demo(
    lake: Annotated[Path | None, typer.Option(help="Where to keep the demo lake; default: a temporary directory.")] = None,
) -> int:
    """Import the sample logs and answer: who deleted that pod?"""
    from auditlens.cli import demo as module

    return module.run(lake)


@app.command()
def dashboard(
    lake: LakePath = LAKE,
    port: Annotated[int, typer.Option(help="Port to listen on, on the loopback address.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on; beyond loopback only with a login.")] = "127.0.0.1",
    host: Annotated[
        list[str] | None, typer.Option(help="A further name in its URL, as of a proxy; other names are not answered. Repeatable.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without a login.")] = False,
) -> int:
    """Open the forensics dashboard in a browser."""
    from auditlens.cli import demo as module

    module.dashboard(lake, address, port, host or [], insecure)


@app.command("kubectl-plugin", context_settings=PASSED_ON, hidden=True)
def kubectl_plugin(ctx: typer.Context) -> int:
    """Run as `kubectl audit`, for krew's script of that name."""
    from auditlens.cli import kubectl

    return kubectl.run(ctx.args)


@lake_app.command()
def info(lake: LakePath = LAKE, output: Output = None) -> int:
    """Tables, rows, files, bytes, days and imports."""
    from auditlens.cli.asking import show
    from auditlens.lake.maintenance import info as run

    opened = existing(lake)
    show(run(opened), output)
    if readers := opened.readers():
        say(readers)
    return ExitCode.OK


@lake_app.command()
def compact(
    lake: LakePath = LAKE,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
    date: Annotated[str | None, typer.Option(help="Only this UTC date.")] = None,
) -> int:
    """Rewrite days sorted for look-ups, drop duplicates and left-overs; readers and writers go on meanwhile."""
    from auditlens.lake.maintenance import compact as run

    report = run(existing(lake), cluster=cluster, date=date, say=say)
    say(f"{report.days} days rewritten, {report.duplicates:,} duplicates dropped; before: {report.files_before} files, "
        f"{report.bytes_before:,} bytes; now: {report.files_after} files, {report.bytes_after:,} bytes")  # fmt: skip
    return ExitCode.OK


@lake_app.command()
def retain(
    older_than: Annotated[str, typer.Argument(help="Drop whole UTC days older than this: 90d, or a date.")],
    lake: LakePath = LAKE,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")] = False,
) -> int:
    """Delete old days from every table."""
    from auditlens.cli.asking import show
    from auditlens.lake.maintenance import retain as run

    frame = run(existing(lake), older_than, cluster=cluster, dry_run=not yes)
    show(frame, None)
    if not yes and frame.height:
        say("nothing was deleted; --yes deletes it")
    return ExitCode.OK


@lake_app.command()
def verify(lake: LakePath = LAKE, output: Output = None) -> int:
    """Compare every file with the log: missing, changed, extra; exits 4 when something is found."""
    from auditlens.cli.asking import show
    from auditlens.lake.maintenance import verify as run

    opened = existing(lake)
    frame = run(opened)
    show(frame, output)
    if readers := opened.readers():
        say(readers)
    bad = frame.filter(frame["problem"].is_in(["missing", "changed"])).height if frame.height else 0
    say("every committed file is as it was written" if not bad else f"{bad} committed files are not as they were written")
    return ExitCode.FINDINGS if bad or frame.height else ExitCode.OK


for _module in (forensics, logs, policy, sink):
    _module.register(app)
