"""The story of an object: every request that touched it, life by life, what each changed, and who set each field last."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from auditlens import engine, question
from auditlens.errors import UsageError
from auditlens.forensics import replay
from auditlens.forensics.changes import Change, changes, flatten, words
from auditlens.forensics.events import Event, load, lost
from auditlens.forensics.replay import Life, Revision
from auditlens.forensics.state import moment
from auditlens.forensics.target import Target, target
from auditlens.lake import Lake

if TYPE_CHECKING:
    import duckdb


def lives_of(con: duckdb.DuckDBPyConnection, wanted: Target, *, until: dt.datetime | None = None) -> list[Life]:
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


def history(lake: Lake | str, object: str, *, namespace: str | None = None, **params: Any) -> question.Answer:
    """The question `history`, with what replaying the bodies adds: `life`, `changed`, `no_op`, `ends`.

    `life` counts the lives of a name from 1, `changed` says what a write changed, `no_op` marks writes after which the resource
    version is as before, null where the log does not hold enough to tell.
    """
    import polars as pl

    lake = lake if isinstance(lake, Lake) else Lake(lake)

    def read(con: duckdb.DuckDBPyConnection) -> tuple[Target, str | None, list[Life]]:
        wanted = target(con, object, namespace=namespace, cluster=params.get("cluster"))
        return wanted, _one(con, wanted) or next(iter(wanted.resources), None), lives_of(con, wanted)

    wanted, resource, lives = engine.with_snapshot(lake, read)
    answer = question.answer(
        lake, "history", resource=resource, api_group=wanted.group, name=wanted.name, namespace=namespace, **params
    )
    told = _told(lives)
    keys = list(zip(*(answer.frame[c].to_list() for c in ("audit_id", "source", "line", "namespace", "name")), strict=True))
    rows = [told.get(_address(k), {}) for k in keys]
    for column, kind in (("life", pl.Int64), ("changed", pl.String), ("no_op", pl.Boolean), ("ends", pl.Boolean)):
        answer.frame = answer.frame.with_columns(pl.Series(column, [r.get(column) for r in rows], kind))
    return answer


def _address(key: tuple[Any, ...]) -> tuple[Any, ...]:
    audit_id, source, line, namespace, name = key
    return (audit_id, source, line, None if namespace == name else namespace, name)


def _one(con: duckdb.DuckDBPyConnection, wanted: Target) -> str | None:
    """Of several guesses at a custom kind's plural, the one the log has."""
    for resource in wanted.resources:
        if con.execute("select 1 from audit_objects where resource = ? limit 1", [resource]).fetchall():
            return resource
    return None


def _told(lives: list[Life]) -> dict[tuple[Any, ...], dict[str, Any]]:
    out: dict[tuple[Any, ...], dict[str, Any]] = {}
    numbers: dict[Any, int] = {}
    for life in lives:
        numbers[life.key] = numbers.get(life.key, 0) + 1
        before: Revision | None = None
        by_event = {id(r.event): r for r in life.revisions}
        for event in replay.sequence(life.events):
            row: dict[str, Any] = {"life": numbers[life.key], "ends": event is life.ended}
            if event.writes and event.ok and event.subresource not in replay.INERT:
                row["no_op"] = no_op(before, event)
            revision = by_event.get(id(event))
            if revision is not None:
                if event.writes:
                    row["changed"] = change_words(before, revision)
                before = revision
            elif event.writes and event.ok and event is life.ended:
                row["changed"] = "deleted"
            k = event.key
            where = None if k.namespace == k.name and k.resource == "namespaces" else k.namespace
            out[(event.audit_id, event.source, event.line, where, k.name)] = row
    return out


def no_op(before: Revision | None, event: Event) -> bool | None:
    """Whether a write left the resource version as it was; None where the log does not tell."""
    if event.verb not in ("update", "patch") or event.rv is None or before is None or before.rv is None:
        return False if event.verb not in ("update", "patch") else None
    return event.rv <= before.rv and not replay.gone(event)


def change_words(before: Revision | None, after: Revision) -> str | None:
    """What a revision changed, in words."""
    event = after.event
    if event.verb == "create" and event.subresource is None:
        return "created"
    if after.object is None or before is None or before.object is None or after.known == replay.METADATA:
        asked = event.request
        if event.verb == "patch" and asked is not None:
            return "asked for: " + words([Change(p, None, v, "added") for p, v in sorted(flatten(asked).items())])
        return None
    found = changes(before.object, after.object)
    return words(found) if found else None


@dataclass(slots=True)
class Diff:
    """Two revisions and what differs; each change names the request that made it, where the log holds it."""

    before: Revision | None
    after: Revision | None
    changes: list[Change] = field(default_factory=list)
    by: dict[str, Revision] = field(default_factory=dict)  # path -> the revision that set it last
    limits: list[str] = field(default_factory=list)

    def as_dicts(self) -> list[dict[str, Any]]:
        """One row a change: path, op, old, new, and who, when, with which request."""
        return [{"path": c.path, "op": c.op, "old": c.old, "new": c.new, **_who(self.by.get(c.path))} for c in self.changes]


def _who(revision: Revision | None) -> dict[str, Any]:
    if revision is None or not revision.event.writes:
        seen = revision.event.audit_id if revision else None
        return {"username": None, "impersonated_username": None, "time": None, "audit_id": None, "seen_in": seen,
                "source": None, "line": None, "client": None}  # fmt: skip
    e = revision.event
    return {"username": e.username, "impersonated_username": e.impersonated, "time": e.time, "audit_id": e.audit_id,
            "seen_in": None, "source": e.source, "line": e.line, "client": e.client}  # fmt: skip


def diff(
    lake: Lake | str,
    object: str,
    *,
    namespace: str | None = None,
    since: dt.datetime | str | None = None,
    until: dt.datetime | str | None = None,
    audit_id: str | None = None,
    noise: bool = False,
    cluster: str | None = None,
) -> Diff:
    """What changed in one object between two times (default: its first and last revision), or by one request.

    Raises UsageError if the name fits more than one object, the times are backwards, or the request did not touch it.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    low, high = moment(lake, since), moment(lake, until)
    if low and high and low > high:
        raise UsageError(f"from {low:%Y-%m-%dT%H:%M:%SZ} to {high:%Y-%m-%dT%H:%M:%SZ} is backwards: exchange the two times")
    lives = engine.with_snapshot(lake, lambda con: lives_of(con, target(con, object, namespace=namespace, cluster=cluster)))
    keys = {life.key for life in lives}
    if len(keys) > 1:
        words = sorted(f"{key} in cluster {key.cluster}" for key in keys)
        raise UsageError(f"{object} fits {len(keys)} objects, such as {', '.join(words[:3])}; name one")
    if audit_id is not None:
        return _of_request(lives, audit_id, noise)
    out = Diff(None, None)
    if not lives:
        out.limits.append("the log shows no such object")
        return out
    old = _before(lives, low) if low else None
    life = next((x for x in reversed(lives) if high is None or x.first.time <= high), None)
    if life is None:
        out.limits.append("the log shows no such object by then")
        return out
    inside = [r for r in life.revisions if high is None or r.event.time <= high]
    if high is None and life.ended is not None:
        out.limits.append(
            f"it is gone since {life.ended.time:%Y-%m-%dT%H:%M:%S.%fZ} ({life.ended.audit_id}); this is its last life"
        )
    if low is None:
        old = inside[0] if inside else None
    elif old is not None and old not in inside:
        out.limits.append("it was deleted and made again in between: two lives")
    return _between(out, inside, old, noise)


def _before(lives: list[Life], when: dt.datetime) -> Revision | None:
    life = next((x for x in reversed(lives) if x.first.time <= when), None)
    if life is None or (life.ended is not None and life.ended.time <= when):
        return None
    return next((r for r in reversed(life.revisions) if r.event.time <= when), None)


def _of_request(lives: list[Life], audit_id: str, noise: bool) -> Diff:
    for life in lives:
        for i, revision in enumerate(life.revisions):
            if revision.event.audit_id == audit_id:
                return _between(Diff(None, None), life.revisions[: i + 1], life.revisions[i - 1] if i else None, noise)
        if life.ended is not None and life.ended.audit_id == audit_id:
            out = Diff(life.revisions[-1] if life.revisions else None, None)
            out.limits.append("the object was gone with this request")
            return out
        if any(e.audit_id == audit_id for e in life.events):
            return Diff(None, None, limits=["this request changed nothing of the object"])
    raise UsageError(f"no request {audit_id} touched this object")


def _between(out: Diff, revisions: list[Revision], old: Revision | None, noise: bool) -> Diff:
    out.before, out.after = old, revisions[-1] if revisions else None
    for r in (out.before, out.after):
        if r is not None and r.known != replay.EXACT:
            out.limits.append(f"the version of {r.event.audit_id} is {r.known}" + (f": {r.note}" if r.note else ""))
    out.changes = changes(old.object if old else None, out.after.object if out.after else None, noise=noise)
    start = revisions.index(old) if old in revisions else -1
    before = old
    for r in revisions[start + 1 :]:
        for c in changes(before.object if before else None, r.object, noise=noise):
            out.by[c.path] = r
        before = r
    return out


def blame(
    lake: Lake | str,
    object: str,
    *,
    namespace: str | None = None,
    at: dt.datetime | str | None = None,
    noise: bool = False,
    cluster: str | None = None,
) -> list[dict[str, Any]]:
    """Each field of the last state: path, value, and the request that set it; `seen_in` where it was there before the log began."""
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    when = moment(lake, at)
    wanted = {"namespace": namespace, "cluster": cluster}
    lives = engine.with_snapshot(lake, lambda con: lives_of(con, target(con, object, **wanted), until=when))
    out = []
    for life in {life.key: life for life in lives}.values():
        owner: dict[str, Revision] = {}
        before: dict[str, Any] | None = None
        for r in life.revisions:
            if r.object is None or r.known == replay.METADATA:
                continue
            for c in changes(before, r.object, noise=noise):
                owner[c.path] = r
            before = r.object
        out += [
            {"cluster": life.key.cluster, "resource": life.key.resource, "namespace": life.key.namespace, "name": life.key.name,
             "path": path, "value": value,
             **_who(owner.get(path))}
            for path, value in sorted(flatten(before or {}, noise=noise).items()) if path
        ]  # fmt: skip
    return out
