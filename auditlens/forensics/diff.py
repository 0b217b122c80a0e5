"""What differs between two versions of an object, and who set each field last."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Any

from auditlens import engine
from auditlens.answers.address import address
from auditlens.answers.window import moment, window
from auditlens.errors import UsageError
from auditlens.forensics import authors, replay
from auditlens.forensics.authors import META, Author
from auditlens.forensics.changes import Change, changes, flatten
from auditlens.forensics.history import lives_of, several
from auditlens.forensics.replay import Life, Revision
from auditlens.lake import Lake


@dataclass(slots=True)
class Diff:
    """Two revisions and what differs; each change names the request that made it, where the log holds it."""

    before: Revision | None
    after: Revision | None
    changes: list[Change] = field(default_factory=list)
    by: dict[str, Author] = field(default_factory=dict)  # path -> who set it last
    limits: list[str] = field(default_factory=list)

    def as_dicts(self) -> list[dict[str, Any]]:
        """One row a change: path, op, old, new, and who, when, with which request."""
        return [{"path": c.path, "op": c.op, "old": c.old, "new": c.new, **_who(self.by.get(c.path))} for c in self.changes]


def _who(author: Author | None) -> dict[str, Any]:
    """Who set a field; where nobody can be named, where it was seen and why."""
    if author is None:
        return dict.fromkeys(_WHO)
    if author.revision is None:
        return {**dict.fromkeys(_WHO), "seen_in": author.seen.event.audit_id, "limit": author.limit}
    e = author.revision.event
    told = (e.actor, e.impersonator, e.time, e.audit_id, None, e.source, e.line, e.client, author.limit)
    return dict(zip(_WHO, told, strict=True))


_WHO = ("username", "impersonator", "time", "audit_id", "seen_in", "source", "line", "client", "limit")


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
    when = window(lake, since, until)
    low, high = when.since, when.until
    lives = engine.with_snapshot(
        lake, lambda con: lives_of(con, address(con, object, namespace=namespace, cluster=cluster)), asked=""
    )
    keys = {life.key for life in lives}
    if len(keys) > 1:
        raise UsageError(f"{object} fits {len(keys)} objects: {several(lives)}; name one")
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
    was, now = (r.object if r is not None else None for r in (out.before, out.after))
    versions = [authors.version_of(body) for body in (was, now)]
    if was and now and versions[0] != versions[1]:
        out.limits.append(
            f"the two are in different API versions ({' and '.join(versions)}): only their metadata can be compared"
        )
        was, now = {META: was.get(META)}, {META: now.get(META)}
    out.changes = changes(was, now, noise=noise)
    start = revisions.index(old) if old in revisions else -1
    for i, step in enumerate(authors.steps(revisions, noise=noise)):
        if i > start:
            out.by |= step.authors
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
    """Each field of the last state: path, value, and the request that set it; `seen_in` and `limit` where that cannot be told."""
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    when = moment(lake, at)
    wanted = {"namespace": namespace, "cluster": cluster}
    lives = engine.with_snapshot(lake, lambda con: lives_of(con, address(con, object, **wanted), until=when), asked="")
    return [row for life in {life.key: life for life in lives}.values() for row in _blame(life, noise)]


def _blame(life: Life, noise: bool) -> list[dict[str, Any]]:
    by: dict[str, dict[str, Author]] = {}
    last: Revision | None = None
    after: list[Revision] = []
    for step in authors.steps(life.revisions, noise=noise):
        if authors.blind(step.revision):
            after.append(step.revision)
            continue
        last, after = step.revision, []
        for path, author in step.authors.items():
            by.setdefault(META if path.startswith(META) else authors.version_of(last.object), {})[path] = author
    if last is None:
        return []
    who = {**by.get(META, {}), **by.get(authors.version_of(last.object), {})}
    key = {"cluster": life.key.cluster, "resource": life.key.resource, "namespace": life.key.namespace, "name": life.key.name}
    return [
        {**key, "path": path, "value": value, **_who(_since(who.get(path), path, after))}
        for path, value in sorted(flatten(last.object or {}, noise=noise).items())
        if path
    ]


def _since(author: Author | None, path: str, after: list[Revision]) -> Author | None:
    """Who set a field, with those who may have changed it since out of sight."""
    others = [r.event for r in after if r.event.writes and authors.may_touch(r.event, path)]
    if author is None or not others or path.startswith(META):
        return author
    named = ", ".join(f"{e.verb} by {e.actor} ({e.audit_id})" for e in others[-3:])
    return replace(author, limit=f"it may have been changed since by {named}, of which the log does not show what it did")
