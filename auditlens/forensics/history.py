"""The history of an object: every request that touched it, life by life, and what each changed."""

from __future__ import annotations

import datetime as dt
from itertools import groupby
from typing import TYPE_CHECKING, Any

from auditlens.answers.address import Address
from auditlens.forensics import authors, replay
from auditlens.forensics.authors import Step
from auditlens.forensics.changes import Change, flatten, words
from auditlens.forensics.events import Touch, load, lost
from auditlens.forensics.replay import Life, Revision
from auditlens.output import time_text

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_LISTED = 10  # objects named where one was meant


def lives_of(con: duckdb.DuckDBPyConnection, wanted: Address, *, until: dt.datetime | None = None) -> list[Life]:
    """The lives of the objects asked for, with all their requests up to a time, reads of whole bodies included."""
    where, params = wanted.where()
    events = load(
        con,
        f"select t.* from audit_objects as t where t.via in ('ref', 'body', 'item') and t.verb <> 'watch' and t.name is not null "
        f"and ($until::timestamptz is null or t.time <= $until::timestamptz) and {where}",
        {**params, "until": until},
    ) + lost(con, where, params, until)
    ordered = sorted(
        events, key=lambda e: (e.key.cluster, e.key.group, e.key.resource, e.key.namespace or "", e.key.name, e.order)
    )
    return [life for _, own in groupby(ordered, key=lambda e: e.key) for life in replay.lives(own)]


def several(lives: list[Life]) -> str:
    """Objects that fit where one was meant, each with the time the log last tells of it; those of latest first."""
    last = {life.key: max(e.time for x in lives if x.key == life.key for e in x.events) for life in lives}
    order = sorted(last, key=lambda k: (last[k], str(k)), reverse=True)
    cluster = len({k.cluster for k in order}) > 1
    words = [f"{k}{f' in cluster {k.cluster}' if cluster else ''} ({time_text(last[k])})" for k in order]
    return ", ".join(words[:_LISTED]) + (f" and {len(words) - _LISTED} more" if len(words) > _LISTED else "")


def tell(con: duckdb.DuckDBPyConnection, frame: pl.DataFrame, of: Address) -> pl.DataFrame:
    """The rows of `history` with what replaying the bodies adds: `life`, `changed`, `no_op`, `ends`.

    `life` counts the lives of a name from 1, `changed` says what a write changed, `no_op` marks writes after which the resource
    version is as before, null where the log does not hold enough to tell, or where no kind and no name was asked for.
    """
    import polars as pl

    told = _told(lives_of(con, of)) if of.resources or of.name else {}
    keys = zip(*(frame[c].to_list() for c in ("audit_id", "source", "line", "namespace", "name")), strict=True)
    rows = [told.get(_address(k), {}) for k in keys]
    made = {"life": pl.Int64, "changed": pl.String, "no_op": pl.Boolean, "ends": pl.Boolean}
    return frame.with_columns(pl.Series(column, [r.get(column) for r in rows], kind) for column, kind in made.items())


def brief(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The rows without what controllers write all the time, status and renewals of leases, and in words what was left out.

    What people wrote stays, and what was refused.
    """
    import polars as pl

    of = pl.when(pl.col("resource") == "leases").then(pl.lit("renewals of leases")).when(pl.col("subresource") == "status")
    kept = frame.with_columns(of.then(pl.lit("writes of status")).alias("_of"))
    noise = (
        pl.col("_of").is_not_null() & pl.col("verb").is_in(("update", "patch")) & pl.col("username").str.starts_with("system:")
        & pl.col("outcome").is_in(("ok", "created", "conflict")) & ~pl.col("ends").fill_null(False)
    )  # fmt: skip
    out = kept.filter(noise)
    if out.is_empty():
        return frame, ""
    who = out["username"].value_counts(sort=True)["username"].to_list()
    by = " and ".join(name.rpartition(":")[2] for name in who[:2]) if len(who) < 3 else f"{len(who)} controllers and nodes"
    first, last = (time_text(t)[:19] + "Z" for t in (out["time"].min(), out["time"].max()))  # type: ignore[arg-type]
    what = " and ".join(sorted(out["_of"].unique().to_list(), reverse=True))
    when = first if first == last else f"{first} to {last}"
    told = f"{out.height:,} of {frame.height:,} requests are {what} by {by}, {when}: --all shows them"
    return kept.filter(~noise.fill_null(False)).drop("_of"), told


def _address(key: tuple[Any, ...]) -> tuple[Any, ...]:
    audit_id, source, line, namespace, name = key
    return (audit_id, source, line, None if namespace == name else namespace, name)


def _told(lives: list[Life]) -> dict[tuple[Any, ...], dict[str, Any]]:
    out: dict[tuple[Any, ...], dict[str, Any]] = {}
    numbers: dict[Any, int] = {}
    for life in lives:
        numbers[life.key] = numbers.get(life.key, 0) + 1
        before: Revision | None = None
        by_event = {id(step.revision.event): step for step in authors.steps_of(life)}
        for event in replay.sequence(life.events):
            row: dict[str, Any] = {"life": numbers[life.key], "ends": event is life.ended}
            if event.writes and event.ok and event.subresource not in replay.INERT:
                row["no_op"] = no_op(before, event)
            step = by_event.get(id(event))
            if step is not None:
                if event.writes:
                    row["changed"] = change_words(before, step)
                if row.get("no_op", 0) is None and before is not None and step.by_itself():
                    row["no_op"] = False  # versions do not tell, but bodies do
                before = step.revision
            elif event.writes and event.ok and event is life.ended:
                row["changed"] = "deleted"
            k = event.key
            where = None if k.namespace == k.name and k.resource == "namespaces" else k.namespace
            out[(event.audit_id, event.source, event.line, where, k.name)] = row
    return out


def no_op(before: Revision | None, event: Touch) -> bool | None:
    """Whether a write left the resource version as it was; None where the log does not tell."""
    if event.verb not in ("update", "patch") or event.rv is None or before is None or before.rv is None:
        return False if event.verb not in ("update", "patch") else None
    return event.rv <= before.rv and not replay.gone(event)


def change_words(before: Revision | None, step: Step) -> str | None:
    """What a revision changed, in words; what others may have changed is told apart."""
    revision = step.revision
    event = revision.event
    if event.verb == "create" and event.subresource is None:
        return "created" if event.ok else revision.note
    if authors.blind(revision) or before is None or authors.blind(before):
        if not event.ok:
            return revision.note
        asked = event.request
        if event.verb == "patch" and isinstance(asked, dict):
            return "asked for: " + words([Change(p, None, v, "added") for p, v in sorted(flatten(asked).items())])
        return None
    own = step.by_itself()
    rest = len(step.changes) - len(own)
    told = [words(own)] if own else []
    told += dict.fromkeys(f"{c.path} {step.authors[c.path].limit}" for c in own if step.authors[c.path].limit)
    if rest:
        told.append(f"{rest} fields differ of which the log does not show who changed them")
    if step.limit:
        told.append(f"the rest {step.limit}")
    return "; ".join(told) or None
