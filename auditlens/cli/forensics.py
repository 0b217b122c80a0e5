"""`find`, `history`, `diff`, `state`, `why`, `impact`, `completeness`: what happened, why, and how far the log can be trusted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlens.cli import say
from auditlens.cli.asking import tell
from auditlens.cli.options import LAKE, PASSED_ON, LakePath, Output, existing
from auditlens.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditlens.answers.answer import Answer

_Object = Annotated[
    list[str],
    typer.Argument(
        metavar="KIND/NAME", help="As kubectl takes it: pod/web-1, pod web-1, deploy/web, widgets.example.com/w1; a uid."
    ),
]
_Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of the object; globs.")]
_Cluster = Annotated[str | None, typer.Option(help="Only this cluster.")]
_Since = Annotated[str | None, typer.Option(help="From this time on: RFC 3339, a date, or 2h, 7d, end-2h.")]
_Until = Annotated[str | None, typer.Option(help="Up to this time.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings=PASSED_ON)(history)
    for command in (find, diff, state, why, impact, completeness):
        app.command()(command)


def history(ctx: typer.Context) -> int:
    """Tell the story of an object: every request that touched it, life by life, and what each changed."""
    from auditlens.cli import asking

    return asking.run(["history", *ctx.args])


def find(
    words: Annotated[
        list[str],
        typer.Argument(
            help="A name or a part of one, KIND/NAME, a uid, a user, an audit id, an address, a credential, a question."
        ),
    ],
    since: _Since = None,
    until: _Until = None,
    cluster: _Cluster = None,
    limit: Annotated[int, typer.Option(help="Rows at most.")] = 50,
    lake: LakePath = LAKE,
    output: Output = None,
) -> int:
    """Find what a name, an id or an address is in the log: where, how often, and when."""
    from auditlens import face

    return tell(face.find(existing(lake), " ".join(words), since=since, until=until, cluster=cluster, limit=limit), output)


def diff(
    object: _Object,
    namespace: _Namespace = None,
    from_: Annotated[str | None, typer.Option("--from", help="As it was at this time; default: when first seen.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="As it was at this time; default: its last version.")] = None,
    audit_id: Annotated[str | None, typer.Option(help="What this request changed.")] = None,
    blame: Annotated[bool, typer.Option("--blame", help="Who set each field of the last version (or that of --to).")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="Also managedFields, versions and heartbeats.")] = False,
    cluster: _Cluster = None,
    lake: LakePath = LAKE,
    output: Output = None,
) -> int:
    """Show what changed in an object between two times, or by one request, and who changed which field."""
    from auditlens import face

    name = " ".join(object)
    if blame:
        return tell(face.blame(existing(lake), name, at=to, noise=noise, namespace=namespace, cluster=cluster), output)
    answer = face.diff(
        existing(lake), name, since=from_, until=to, audit_id=audit_id, noise=noise, namespace=namespace, cluster=cluster
    )
    return tell(answer, output)


def state(
    object: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND[/NAME]]", help="A kind, an object, or nothing for all.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="The moment: RFC 3339, or 2h, end-2h; default: the end of the log.")] = None,
    namespace: _Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces, which is the default.")] = False,
    cluster: _Cluster = None,
    lake: LakePath = LAKE,
    output: Annotated[str | None, typer.Option("--output", "-o", help="table, yaml, json, or what `ask` takes.")] = None,
) -> int:
    """Rebuild the objects as they were at a moment, each with how well it is known and the request it rests on."""
    from auditlens import face

    if namespace and all_namespaces:
        raise UsageError("--namespace and --all-namespaces exclude each other")
    answer = face.state(existing(lake), " ".join(object or ()) or None, at=at, namespace=namespace, cluster=cluster)
    if output != "yaml":
        return tell(answer, output)
    _yaml(answer.tree)
    return _notes(answer)


def why(
    object: _Object,
    namespace: _Namespace = None,
    event: Annotated[str | None, typer.Option(help="delete, scale, create, or the path of a field such as spec.paused.")] = None,
    at: Annotated[str | None, typer.Option(help="What had happened by this time.")] = None,
    cluster: _Cluster = None,
    lake: LakePath = LAKE,
    output: Output = None,
) -> int:
    """Follow an effect to its root: from controller to controller to whoever began it."""
    from auditlens import face

    answer = face.why(existing(lake), " ".join(object), namespace=namespace, event=event, at=at, cluster=cluster)
    root = answer.tree["root"]
    by = f" (authenticated as {root['impersonator']})" if root and root["impersonator"] else ""
    said = "" if root is None else (
        f"root: {root['username'] or ''}{by} with {root['client'] or 'no user agent'} "
        f"from {root['source_ip']}, request {root['audit_id']}"
    )  # fmt: skip
    return tell(answer, output, said)


def impact(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT_ID", help="The request.")],
    minutes: Annotated[float, typer.Option(help="How long after it its effects are looked for.")] = 10,
    lake: LakePath = LAKE,
    output: Output = None,
) -> int:
    """Show everything one request brought about."""
    from auditlens import face

    return tell(face.impact(existing(lake), audit_id, minutes=minutes), output)


def completeness(
    since: _Since = None,
    until: _Until = None,
    cluster: _Cluster = None,
    levels: Annotated[bool, typer.Option("--levels", help="The levels recorded per resource and verb instead.")] = False,
    lake: LakePath = LAKE,
    output: Output = None,
) -> int:
    """Say whether the log can be trusted for a window: gaps, losses, cuts, duplicates and levels."""
    import polars as pl

    from auditlens import face
    from auditlens.cli.asking import show

    answer = face.completeness(existing(lake), since=since, until=until, cluster=cluster)
    if levels and output != "json":
        show(pl.DataFrame(answer.tree["levels"]), output)
        return _notes(answer)
    return tell(answer, output, f"{answer.tree['events']:,} events, {len(answer)} findings")


def _notes(answer: Answer) -> int:
    for note in answer.notes:
        say(note)
    return ExitCode.OK


def _yaml(objects: Iterable[dict[str, Any]]) -> None:
    """One document an object, with what it rests on in a comment."""
    from auditlens.output import plain, yaml_text

    for known in objects:
        ref = known["ref"]
        kind = f"{ref['resource']}.{ref['group']}" if ref["group"] else ref["resource"]
        key = f"{kind}/{ref['name']}" + (f" in {ref['namespace']}" if ref["namespace"] else "")
        note = f"; {plain(known['note'])}" if known["note"] else ""
        sys.stdout.write(f"---\n# {known['fidelity']}: {plain(key)}, {plain(known['audit_id'] or '')}{note}\n")
        if known["object"] is not None:
            sys.stdout.write(yaml_text(known["object"]))
