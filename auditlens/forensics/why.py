"""From an effect to its root: each link a request in the log, the rule that ties it to the one before, and how sure that is.

Where the log does not hold the cause the chain ends with what a policy must record to show it. What never happened has no chain.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.answers import limits
from auditlens.answers.address import Address, address
from auditlens.answers.window import Window, moment
from auditlens.errors import UsageError
from auditlens.forensics import authors, endings, ownership, rules
from auditlens.forensics.changes import words
from auditlens.forensics.drivers import under
from auditlens.forensics.events import Touch
from auditlens.forensics.history import several
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, GUESS, LIKELY, Cause, Tracer, controller
from auditlens.lake import Lake

if TYPE_CHECKING:
    import duckdb

MOST = 12  # links; a longer chain is a loop
RIVALS = 50  # causes that are followed where one of them is meant


@dataclass(frozen=True, slots=True)
class Link:
    """One request of a chain; `rule` says why it is in it."""

    effect: str
    event: Touch
    rule: str
    sure: str

    def as_dict(self) -> dict[str, Any]:
        """The shape of `why -o json`."""
        e = self.event
        return {
            "effect": self.effect, "username": e.actor, "impersonator": e.impersonator, "verb": e.verb,
            "resource": e.key.resource, "subresource": e.subresource, "namespace": e.key.namespace, "name": e.key.name,
            "client": e.client, "user_agent": e.user_agent, "source_ip": e.source_ip, "audit_id": e.audit_id, "source": e.source,
            "line": e.line, "time": e.time, "rule": self.rule, "sure": self.sure,
        }  # fmt: skip


@dataclass(slots=True)
class Chain:
    """Effect first, root last; `root` is None where the log does not lead to one."""

    links: list[Link] = field(default_factory=list)
    root: Link | None = None
    limits: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The shape of `why -o json`."""
        return {
            "links": [x.as_dict() for x in self.links],
            "root": self.root.as_dict() if self.root else None,
            "limits": self.limits,
        }


def why(
    lake: Lake | str,
    object: str,
    *,
    namespace: str | None = None,
    event: str | None = None,
    at: dt.datetime | str | None = None,
    cluster: str | None = None,
) -> Chain:
    """The chain from what happened to an object to who began it.

    Args:
        lake: the lake, or its directory.
        object: KIND/NAME; a glob is fine where one object fits.
        namespace: its namespace.
        event: delete, scale, create, or the path of a field; default: its deletion if it was deleted, else its last change of spec.
        at: what had happened by then, and the last such thing; default: the end of the log.
        cluster: only this cluster.

    Raises:
        UsageError: the object is no kind and name, or several objects fit.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    when = moment(lake, at)

    def run(con: duckdb.DuckDBPyConnection) -> Chain:
        wanted = address(con, object, namespace=namespace, cluster=cluster)
        if wanted.name is None:
            raise UsageError(f"{object!r} names no object; write it like pod/web-1")
        chain = explain(Tracer(con), wanted, event, when)
        chain.limits += limits.unanswered(con, wanted, Window(None, when))
        return chain

    return engine.with_snapshot(lake, run, asked="")


def explain(tracer: Tracer, wanted: Address, what: str | None, when: dt.datetime | None) -> Chain:
    """`why` with a tracer."""
    found = tracer.with_status(wanted) if re.match(r"status([.\[]|$)", what or "") else tracer.lives(wanted)
    if what in (None, "delete") and not any(endings.ending(tracer, x) for x in found):
        found = tracer.with_absences(wanted)
    lives = [x for x in found if when is None or x.first.time <= when]
    chain = Chain()
    keys = {x.key for x in lives}
    if not lives:
        chain.limits.append(_nothing(tracer, wanted))
        return chain
    start = None
    if len(keys) > 1:
        start = _only(tracer, lives, what, when)
        if start is None:
            raise UsageError(f"{len(keys)} objects fit: {several(lives)}; name one, its namespace or its cluster")
        chain.limits.append(f"{len(keys)} objects fit, and this happened to one of them: {several(lives)}")
    else:
        for life in reversed(lives):
            start = effect(tracer, life, what, when)
            if start is not None:
                break
    if isinstance(start, Cause):
        follow(tracer, start, chain)
    else:
        chain.limits.append(_never(lives, what, when))
    return chain


def _only(tracer: Tracer, lives: list[Life], what: str | None, when: dt.datetime | None) -> Cause | None:
    """With a glob: the effect of the only object that had one."""
    found = [c for c in (effect(tracer, x, what, when) for x in lives) if c is not None]
    return found[0] if len({c.life.key for c in found}) == 1 else None


def _nothing(tracer: Tracer, wanted: Address) -> str:
    count = tracer.con.execute("select count(*) from audit").fetchall()[0][0]
    return f"no request about it succeeded in the log ({count:,} events); it takes writes of {'/'.join(wanted.resources)} at Metadata"


def _never(lives: list[Life], what: str | None, when: dt.datetime | None) -> str:
    key = lives[-1].key
    did = {"delete": "deleted", "scale": "scaled", "create": "created"}.get(
        what or "", f"changed in {what}" if what else "changed"
    )
    doubtful = [e for life in lives for e in _doubtful(life, what) if when is None or e.time <= when]
    if doubtful:
        named = ", ".join(f"{e.verb} by {e.actor} ({e.audit_id})" for e in doubtful[-3:])
        more = f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
        return f"whether {key} was {did} cannot be told: it may have been by {named}{more}, of which the log does not show what it did"
    gone = lives[-1].ended
    if what == "delete" and gone is not None and (when is None or gone.time <= when):
        return (
            f"{key} was gone by {gone.time:%Y-%m-%dT%H:%M:%SZ} ({gone.audit_id}), and no request for its deletion is in the log; it takes "
            f"delete of {key.resource} at Metadata, deletecollection at RequestResponse"
        )
    mixed = sorted({authors.version_of(r.object) for r in lives[-1].revisions if not authors.blind(r)})
    if len(mixed) > 1 and what not in ("delete", "create") and not (what or "").startswith(authors.META):
        return f"whether {key} was {did} cannot be told: the revisions are in different API versions ({' and '.join(mixed)})"
    return f"{key} was not {did} in the time the log covers"


def _doubtful(life: Life, what: str | None) -> list[Touch]:
    """Writes that may have been what was asked about, for all the log shows."""
    if what == "delete":
        return [e for e in life.maybe if e.verb in ("delete", "deletecollection")]
    if what == "create":
        return [e for e in life.maybe if e.verb == "create"]
    shown = (r for r in life.revisions if authors.blind(r) and r.event.writes and not (r.event.verb == "create" and r.event.ok))
    return [
        r.event for r in shown if any(authors.may_touch(r.event, p) for p in _paths(what)) and r.event.verb in ("update", "patch")
    ]


def effect(tracer: Tracer, life: Life, what: str | None, when: dt.datetime | None) -> Cause | None:
    """The last thing of a kind that happened to an object by a moment."""
    if what in (None, "delete"):
        end = endings.ending(tracer, life)
        if end is not None and (when is None or end.event.time <= when):
            return end
        if what == "delete":
            return None
    if what == "create":
        made = next((e for e in life.events if e.verb == "create" and e.subresource is None and e.ok), None)
        return (
            Cause(life, made, f"{life.key} created", "direct: asked for", CERTAIN)
            if made and (when is None or made.time <= when)
            else None
        )
    return changed(life, _paths(what), when, creation=what is None)


def changed(life: Life, paths: tuple[str, ...], when: dt.datetime | None, *, creation: bool = False) -> Cause | None:
    """The last write that changed one of some fields; with `creation` the one that made the object counts too."""
    found: Cause | None = None
    shown = False
    for step in authors.steps_of(life):
        if when is not None and step.revision.event.time > when:
            break
        found = _changed_by(life, step, paths, shown, creation) or found
        shown = shown or not authors.blind(step.revision)
    return found


def _changed_by(life: Life, step: authors.Step, paths: tuple[str, ...], shown: bool, creation: bool) -> Cause | None:
    """What one write made of some fields; `shown`: the log has shown the object before, so that a difference is a change."""
    r, event = step.revision, step.revision.event
    hits = under(step.changes, paths) if shown else []
    own = [c for c in hits if step.authors[c.path].revision is r]
    if event.verb == "create" and event.subresource is None:
        made = creation and event.ok
        return Cause(life, event, f"{life.key} created", "direct: asked for", CERTAIN) if made else None
    if own:
        set_by = next((limit for c in own if (limit := step.authors[c.path].limit)), None)
        return Cause(life, event, f"{life.key}: {words(own, most=3)}", "direct: asked for", CERTAIN, set_by)
    if hits or (step.limit and any(authors.may_touch(event, p) for p in paths)):
        limit = step.authors[hits[0].path].limit if hits else step.limit
        what = f"{life.key}: {words(hits, most=3) or 'changed'}"
        return Cause(life, event, what, "seen: it was changed by then", GUESS, f"who changed it {limit}", open=True)
    if event.ok and any(authors.asks(event, p) for p in paths) and (not shown or authors.blind(r)):
        rule = "direct: asked for; what it was before is not recorded"
        return Cause(life, event, f"{life.key}: {' or '.join(paths)} asked for", rule, LIKELY)
    return None


def _paths(what: str | None) -> tuple[str, ...]:
    """The fields a word for an event is about; None is anything a person would call a change."""
    return {"scale": ("spec.replicas",), None: ("spec", "data", "rules", "subjects", "stringData")}.get(what, (what or "",))


def ended(tracer: Tracer, life: Life) -> Chain:
    """The chain that led to the end of a life; what `why --event delete` and `who-deleted` both say."""
    chain, end = Chain(), endings.ending(tracer, life)
    if end is not None:
        follow(tracer, end, chain)
    else:
        chain.limits.append(_never([life], "delete", None))
    return chain


def follow(tracer: Tracer, start: Cause, chain: Chain) -> None:
    """Go from cause to cause until somebody outside the control plane, or the end of what the log knows."""
    if start.others and (limit := _apart(tracer, start)):
        chain.limits.append(limit)
        return
    now, seen = start, set()
    while len(chain.links) < MOST:
        who = controller(now.event)
        rule = f"request: sent by {who}" if who and now.rule.startswith("direct") else now.rule
        link = Link(now.effect, now.event, rule, now.sure)
        chain.links.append(link)
        if now.limit:
            chain.limits.append(now.limit)
        address = (now.event.audit_id, now.event.source, now.event.line, now.life.key)
        if address in seen:
            chain.limits.append("the rules lead in a circle here")
            return
        seen.add(address)
        if now.open:
            return
        found = rules.cause(tracer, now.life, now.event, who) if who else ownership.operator(tracer, now.life, now.event)
        if who is None and found is None:
            chain.root = link
            return
        if not isinstance(found, Cause):
            chain.limits.append(found or f"{who} does this by itself, or for a reason that no request shows")
            return
        if found.others and (limit := _apart(tracer, found)):
            chain.limits.append(limit)
            return
        now = found


def _apart(tracer: Tracer, found: Cause) -> str | None:
    """Why nobody can be named where one of several requests was the cause; None if all were begun by one person."""
    causes = (found, *found.others)
    people: set[str | None] = set()
    for cause in causes[:RIVALS]:
        one = Chain()
        follow(tracer, replace(cause, others=()), one)
        people.add(one.root.event.actor if one.root else None)
    if len(people) == 1 and None not in people and len(causes) <= RIVALS:
        return None
    named = ", ".join(f"{c.effect} by {c.event.actor} ({c.event.audit_id})" for c in causes[:3])
    more = f" or {len(causes) - 3} more" if len(causes) > 3 else ""
    return f"it may have been {named}{more}: which of them cannot be told, and they do not all lead to one person"
