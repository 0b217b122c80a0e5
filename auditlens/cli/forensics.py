"""`history`, `diff`, `state`, `why`, `impact`, `completeness`: what happened, why, and how far the log can be trusted."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlens.cli import say
from auditlens.cli.options import LAKE, LakePath, existing
from auditlens.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_Object = Annotated[
    str, typer.Argument(metavar="KIND/NAME", help="As kubectl takes it: pod/web-1, deploy/web, widgets.example.com/w1.")
]
_Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of the object; globs.")]
_Cluster = Annotated[str | None, typer.Option(help="Only this cluster.")]
_Since = Annotated[str | None, typer.Option(help="From this time on: RFC 3339, a date, or 2h, 7d, end-2h.")]
_Until = Annotated[str | None, typer.Option(help="Up to this time.")]
_Frames = Annotated[str | None, typer.Option("--output", "-o", help="table, csv, json, jsonl, md or parquet.")]
_Tree = Annotated[str | None, typer.Option("--output", "-o", help="table or json.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (history, diff, state, why, impact, completeness):
        app.command()(command)


def history(
    object: _Object,
    namespace: _Namespace = None,
    since: _Since = None,
    until: _Until = None,
    reads: Annotated[bool, typer.Option("--reads", help="Also show get, list and watch.")] = False,
    limit: Annotated[int | None, typer.Option(help="At most this many rows.")] = None,
    cluster: _Cluster = None,
    lake: LakePath = LAKE,
    output: _Frames = None,
    wide: Annotated[bool, typer.Option("--wide", help="All columns.")] = False,
) -> int:
    """Tell the story of an object: every request that touched it, life by life, and what each changed."""
    from auditlens.cli.asking import show
    from auditlens.forensics.history import history as run

    answer = run(existing(lake), object, namespace=namespace, since=since, until=until, reads=reads or None, cluster=cluster,
                           **({"limit": limit} if limit else {}))  # fmt: skip
    columns = ("time", "life", "username", "verb", "subresource", "name", "changed", "no_op", "outcome", "client", "evidence")
    show(answer.frame, output, () if wide else columns)
    _notes(answer.notes)
    return ExitCode.OK


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
    output: _Frames = None,
) -> int:
    """Show what changed in an object between two times, or by one request, and who changed which field."""
    from auditlens.forensics import diff as run

    if blame:
        rows = run.blame(existing(lake), object, namespace=namespace, at=to, noise=noise, cluster=cluster)
        several = tuple(c for c in ("cluster", "namespace", "name") if len({r[c] for r in rows}) > 1)
        _show(rows, output, (*several, "path", "value", "username", "time", "audit_id", "seen_in", "limit"))
        return ExitCode.OK
    found = run.diff(
        existing(lake), object, namespace=namespace, since=from_, until=to, audit_id=audit_id, noise=noise, cluster=cluster
    )
    _show(found.as_dicts(), output, ("path", "old", "new", "username", "time", "audit_id", "limit"))
    _notes(found.limits or ([] if found.changes else ["nothing differs"]))
    return ExitCode.OK


def state(
    object: Annotated[str | None, typer.Argument(metavar="[KIND[/NAME]]", help="A kind, an object, or nothing for all.")] = None,
    at: Annotated[str | None, typer.Option(help="The moment: RFC 3339, or 2h, end-2h; default: the end of the log.")] = None,
    namespace: _Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces, which is the default.")] = False,
    cluster: _Cluster = None,
    lake: LakePath = LAKE,
    output: Annotated[str | None, typer.Option("--output", "-o", help="table, yaml or json.")] = None,
) -> int:
    """Rebuild the objects as they were at a moment, each with how well it is known and the request it rests on."""
    from auditlens.forensics.state import state as run

    if namespace and all_namespaces:
        raise UsageError("--namespace and --all-namespaces exclude each other")
    found = run(existing(lake), object, at=at, namespace=namespace, cluster=cluster)
    if output == "json":
        _json(found.as_dicts())
    elif output == "yaml":
        _yaml(found.objects)
    else:
        rows = [{**k.as_dict()["ref"], "fidelity": k.fidelity, "time": k.event.time, "audit_id": k.event.audit_id,
                 "source": k.event.source, "line": k.event.line, "note": k.note} for k in found.objects]  # fmt: skip
        _show(rows, output, ("resource", "namespace", "name", "fidelity", "time", "audit_id", "note"))
    _notes(found.limits)
    return ExitCode.OK


def why(
    object: _Object,
    namespace: _Namespace = None,
    event: Annotated[str | None, typer.Option(help="delete, scale, create, or the path of a field such as spec.paused.")] = None,
    at: Annotated[str | None, typer.Option(help="What had happened by this time.")] = None,
    cluster: _Cluster = None,
    lake: LakePath = LAKE,
    output: _Tree = None,
) -> int:
    """Follow an effect to its root: from controller to controller to whoever began it."""
    from auditlens.forensics.why import why as run

    chain = run(existing(lake), object, namespace=namespace, event=event, at=at, cluster=cluster)
    if output == "json":
        _json(chain.as_dict())
    else:
        _show([x.as_dict() for x in chain.links], output, _LINK)
        if chain.root is not None:
            by = f" (authenticated as {chain.root.event.impersonator})" if chain.root.event.impersonator else ""
            say(f"root: {chain.root.event.actor}{by} with {chain.root.event.client or 'no user agent'} from {chain.root.event.source_ip}, "
                f"request {chain.root.event.audit_id}")  # fmt: skip
    _notes(chain.limits)
    return ExitCode.OK


def impact(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT_ID", help="The request.")],
    minutes: Annotated[float, typer.Option(help="How long after it its effects are looked for.")] = 10,
    lake: LakePath = LAKE,
    output: _Tree = None,
) -> int:
    """Show everything one request brought about."""
    from auditlens.forensics.impact import impact as run

    found = run(existing(lake), audit_id, horizon=dt.timedelta(minutes=minutes))
    if output == "json":
        _json(found.as_dict())
    else:
        _show(found.as_dict()["effects"], output, ("depth", *_LINK, "caused_by"))
    _notes(found.limits)
    return ExitCode.OK


def completeness(
    since: _Since = None,
    until: _Until = None,
    cluster: _Cluster = None,
    levels: Annotated[bool, typer.Option("--levels", help="The levels recorded per resource and verb instead.")] = False,
    lake: LakePath = LAKE,
    output: _Tree = None,
) -> int:
    """Say whether the log can be trusted for a window: gaps, losses, cuts, repeats and levels."""
    from auditlens.cli.asking import show
    from auditlens.forensics.completeness import completeness as run

    found = run(existing(lake), since=since, until=until, cluster=cluster)
    if output == "json":
        _json(found.as_dict())
    elif levels and found.levels is not None:
        show(found.levels, output)
    else:
        _show(
            [f.as_dict() for f in found.findings],
            output,
            ("kind", "what", "count", "source", "first", "last", "audit_id", "line"),
        )
        say(f"{found.events:,} events, {len(found.findings)} findings")
    _notes(found.limits)
    return ExitCode.OK


_LINK = ("effect", "username", "impersonator", "verb", "resource", "name", "time", "audit_id", "rule", "sure")


_ASIDE = ("impersonator", "limit")  # columns of a table only where there is something in them


def _notes(notes: Iterable[str]) -> None:
    for note in notes:
        say(note)


def _json(value: Any) -> None:
    from auditlens.output import time_text

    def text(v: Any) -> str:
        return time_text(v) if isinstance(v, dt.datetime) else str(v)

    sys.stdout.write(json.dumps(value, default=text, ensure_ascii=False) + "\n")


def _yaml(objects: Iterable[Any]) -> None:
    """One document an object, with what it rests on in a comment."""
    from auditlens.output import plain, yaml_text

    for known in objects:
        note = f"; {plain(known.note)}" if known.note else ""
        sys.stdout.write(f"---\n# {known.fidelity}: {plain(str(known.key))}, {plain(known.event.audit_id or '')}{note}\n")
        if known.object is not None:
            sys.stdout.write(yaml_text(known.object))


def _show(rows: list[dict[str, Any]], output: str | None, columns: tuple[str, ...]) -> None:
    """Rows as a table with the columns asked for, in other formats with all."""
    import polars as pl

    from auditlens.cli.asking import show

    flat = [{k: json.dumps(v, ensure_ascii=False) if isinstance(v, (dict, list)) else v for k, v in r.items()} for r in rows]
    mixed = {c for c in ("old", "new", "value") if any(c in r for r in flat)}
    flat = [{k: str(v) if k in mixed and v is not None else v for k, v in r.items()} for r in flat]
    columns = tuple(c for c in columns if c not in _ASIDE or any(r.get(c) is not None for r in rows))
    frame = pl.DataFrame(flat, infer_schema_length=None) if flat else pl.DataFrame({c: [] for c in columns}, strict=False)
    show(frame, output, columns)
