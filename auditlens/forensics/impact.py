"""Everything one request brought about: the rules of `why`, followed forwards, so that both always agree."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.answers.address import Address
from auditlens.errors import UsageError
from auditlens.forensics import ownership, rules
from auditlens.forensics.events import WRITES, Touch, load
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, Cause, Tracer, controller
from auditlens.forensics.why import Link
from auditlens.lake import Lake
from auditlens.quoting import listed

if TYPE_CHECKING:
    import duckdb

HORIZON = dt.timedelta(minutes=10)  # how long after a request its effects are looked for, unless told otherwise
MOST = 20_000  # writes of controllers looked at


@dataclass(slots=True)
class Impact:
    """The request itself, then what followed from it in order of time; `caused_by` is the audit id of the step before."""

    request: Link | None = None
    effects: list[tuple[Link, str, int]] = field(default_factory=list)  # link, caused by, steps from the request
    limits: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The shape of `impact -o json`."""
        return {
            "request": self.request.as_dict() if self.request else None,
            "effects": [{**link.as_dict(), "caused_by": by, "depth": depth} for link, by, depth in self.effects],
            "limits": self.limits,
        }


def impact(lake: Lake | str, audit_id: str, *, horizon: dt.timedelta = HORIZON) -> Impact:
    """What a request caused within a time after it.

    Raises UsageError if the log holds no request of that id, or several of different users: clients may choose ids.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    return engine.with_snapshot(lake, lambda con: _impact(con, audit_id, horizon), asked="")


def _impact(con: duckdb.DuckDBPyConnection, audit_id: str, horizon: dt.timedelta) -> Impact:
    tracer = Tracer(con)
    own = load(
        con, "select t.* from audit_objects as t where t.audit_id = $id and t.via in ('ref', 'body', 'item')", {"id": audit_id}
    )
    if not own:
        if con.execute("select 1 from audit where audit_id = ? limit 1", [audit_id]).fetchall():
            return Impact(limits=["the request touched no object"])
        raise UsageError(f"the log holds no request {audit_id}")
    if len({(e.username, e.received) for e in own}) > 1:
        raise UsageError(f"{audit_id} was used for several requests: clients may choose it; ask about the objects they touched")
    out = Impact()
    wrote = [e for e in own if e.writes]
    first = (wrote or own)[0]
    words = f"{first.key} {first.verb}" + (f" {first.subresource}" if first.subresource else "")
    out.request = Link(
        words if len(own) == 1 else f"{words} and {len(own) - 1} more", first, "request: what was asked about", CERTAIN
    )
    if not wrote or not any(e.ok for e in wrote):
        out.limits.append("the request changed nothing" if not first.dry_run else "a dry run: it changed nothing")
        return out
    _follow(tracer, wrote, horizon, out)
    return out


def _follow(tracer: Tracer, own: list[Touch], horizon: dt.timedelta, out: Impact) -> None:
    first = own[0]
    scope = _scope(first)
    events = _candidates(tracer, first, scope, horizon, out)
    tracer.preload({(e.key.group, e.key.resource) for e in events}, scope, first.key.cluster)
    causes = {}
    for event in events:
        who = controller(event)
        life = _life(tracer, event)
        if life is None:
            continue
        found = rules.cause(tracer, life, event, who) if who else ownership.operator(tracer, life, event)
        if who == "kubelet" and event.verb != "delete":
            continue
        if isinstance(found, Cause):
            causes[_address(event)] = (event, found)
    known = {_address(e): 0 for e in own}
    ids = {(e.audit_id, e.received) for e in own}
    again = True
    while again:
        again = False
        for address, (event, found) in causes.items():
            steps = [_steps(known, ids, c.event) for c in (found, *found.others)]
            before = None if None in steps else steps[0]
            if before is not None and address not in known:
                known[address] = before + 1
                words = f"{event.key} {event.verb}" + (f" {event.subresource}" if event.subresource else "")
                out.effects.append((Link(words, event, found.rule, found.sure), found.event.audit_id, before + 1))
                again = True
    out.effects.sort(key=lambda e: (e[0].event.order, str(e[0].event.key)))
    end = first.time + horizon
    out.limits.append(f"effects were looked for until {end:%Y-%m-%dT%H:%M:%SZ}")


def _steps(known: dict[tuple[Any, ...], int], ids: set[tuple[str, Any]], event: Touch) -> int | None:
    """How many steps a write is from the request; None if it is none of its effects, as far as is known."""
    return known.get(_address(event), 0 if (event.audit_id, event.received) in ids else None)


def _scope(event: Touch) -> str | None:
    """The namespace in which effects can be; None for anywhere."""
    if event.key.resource == "namespaces":
        return event.key.name
    return event.key.namespace


def _address(event: Touch) -> tuple[Any, ...]:
    return (event.audit_id, event.received, event.key)


def _life(tracer: Tracer, event: Touch) -> Life | None:
    wanted = Address(event.key.group, (event.key.resource,), event.key.name, event.key.namespace, event.key.cluster)
    return tracer.life(wanted, event.time, event.uid)


def _candidates(tracer: Tracer, first: Touch, scope: str | None, horizon: dt.timedelta, out: Impact) -> list[Touch]:
    """What the control plane and operators wrote after a request, without statuses, leases and Events."""
    writes = listed(WRITES)
    where = (
        ""
        if scope is None
        else "and (t.namespace = $scope or (t.resource = 'namespaces' and t.name = $scope) or t.namespace is null)"
    )
    events = load(
        tracer.con,
        f"""
        select t.* from audit_objects as t join audit as a
            on a.import_id = t.import_id and a.source = t.source and a.line = t.line and coalesce(a.item, 0) = coalesce(t.item, 0)
        where t.via in ('ref', 'body', 'item') and t.verb in ({writes}) and t.code < 300 and not coalesce(t.dry_run, false)
            and t.cluster = $cluster and t.time >= $low::timestamptz and t.time <= $high::timestamptz
            and t.resource not in ('events', 'leases') and t.name is not null
            and (coalesce(t.subresource, '') <> 'status' or t.resource = 'certificatesigningrequests')
            and coalesce(t.subresource, '') not in ('token', 'exec', 'attach', 'portforward', 'proxy', 'log')
            and (a.username like 'system:serviceaccount:%' or a.username like 'system:node:%'
                or a.username in ('system:kube-controller-manager', 'system:kube-scheduler', 'system:apiserver'))
            {where}
        order by t.time, t.audit_id limit {MOST + 1}
        """,
        {
            "cluster": first.key.cluster,
            "low": first.received,
            "high": first.time + horizon,
            **({"scope": scope} if scope else {}),
        },
    )
    if len(events) > MOST:
        out.limits.append(f"only the first {MOST:,} writes of the control plane and of service accounts after it were looked at")
    return events[:MOST]
