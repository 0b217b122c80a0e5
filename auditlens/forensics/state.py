"""The objects as they were at a moment, each with how well it is known and the request it rests on; nothing that was gone by then.

DuckDB picks, for each object, the last response that holds it whole and what came after it; replay.py makes revisions of these few.
What ended unseen is found by what proves it: a full list without the object, a 404, the end of its namespace or of its CRD.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from auditlens import engine, kinds
from auditlens.answers.address import Address, address
from auditlens.answers.window import moment
from auditlens.forensics import replay, revisions
from auditlens.forensics.bodies import text
from auditlens.forensics.events import NOT_OBJECTS, WHOLE, WRITES, Key, Touch, load, lost
from auditlens.forensics.windows import ADDRESS, Flying, Listed, absent, in_flight, lists
from auditlens.lake import Lake
from auditlens.quoting import listed

if TYPE_CHECKING:
    import duckdb

# Resources that are answers, not stored objects (kubectl api-resources of Kubernetes 1.36: those without verb get, and computed ones).
VIRTUAL = (
    "bindings", "tokenreviews", "selfsubjectreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews",
    "selfsubjectrulesreviews", "subjectaccessreviews", "componentstatuses",
)  # fmt: skip
VIRTUAL_GROUPS = ("metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io")
# etcd drops Events an hour after their last write (kube-apiserver --event-ttl), which no log shows.
EVENTS = "events"


# By the moment asked for: answered before it, or shown to be done before it (see windows.in_flight).
_BY_THEN = f"""$at::timestamptz is null or time <= $at::timestamptz or (time <= $at::timestamptz + interval 60 second
    and {ADDRESS} in (select unnest($applied::varchar[])))"""


@dataclass(frozen=True, slots=True)
class Known:
    """One object at the moment asked for."""

    key: Key
    uid: str | None
    kind: str | None
    fidelity: str  # exact, derived, metadata, exists, unknown
    event: Touch
    object: dict[str, Any] | None
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The shape of `state -o json`."""
        k = self.key
        ref = {
            "group": k.group,
            "kind": self.kind,
            "resource": k.resource,
            "namespace": k.namespace,
            "name": k.name,
            "uid": self.uid,
        }
        return {
            "ref": ref, "fidelity": self.fidelity, "audit_id": self.event.audit_id, "source": self.event.source,
            "line": self.event.line, "time": self.event.time, "cluster": k.cluster, "note": self.note, "object": self.object,
        }  # fmt: skip


@dataclass(slots=True)
class State:
    """What was there, and what the log cannot tell."""

    at: dt.datetime | None
    objects: list[Known] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def as_dicts(self) -> list[dict[str, Any]]:
        return [k.as_dict() for k in self.objects]


def state(
    lake: Lake | str,
    object: str | None = None,
    *,
    at: dt.datetime | str | None = None,
    namespace: str | None = None,
    cluster: str | None = None,
) -> State:
    """The objects of a kind, of a name, or all, as they were `at` a time (default: the end of the log).

    Args:
        lake: the lake, or its directory.
        object: KIND, KIND/NAME with globs, or None for everything but Events.
        at: the moment; text as in answers.window.
        namespace: only this namespace; globs.
        cluster: only this cluster.

    Raises:
        UsageError: the object is no kind or name.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    when = moment(lake, at)
    return engine.with_snapshot(
        lake,
        lambda con: state_of(con, address(con, object, namespace=namespace, cluster=cluster), when),
        until=when + dt.timedelta(minutes=5) if when else None,
        asked="",
    )


def state_of(con: duckdb.DuckDBPyConnection, wanted: Address, when: dt.datetime | None) -> State:
    """`state` on a connection."""
    answer = State(when)
    flying = in_flight(con, when)
    events = candidates(con, wanted, when, flying)
    found = [life for _, own in groupby(events, key=lambda e: e.key) for life in _last(replay.lives(own))]
    ends = _ends(con, {life.key for life in found}, wanted.cluster, when, flying)
    listed = lists(con, wanted, when)
    for life in found:
        known = _known(con, life)
        if known is None or _outlived(life, known, ends, listed, when):
            continue
        if (
            known.fidelity == replay.EXACT
            and (life.key.group, life.key.resource, life.key.namespace, life.key.name) in flying.open
        ):
            known = Known(known.key, known.uid, known.kind, replay.DERIVED, known.event, known.object,
                          "a write of it was under way at that moment")  # fmt: skip
        answer.objects.append(known)
    answer.objects.sort(key=lambda k: (k.key.cluster, k.key.group, k.key.resource, k.key.namespace or "", k.key.name))
    if not wanted.resources:
        answer.limits.append("Events are left out: they expire unseen; `state events` shows those that were written")
    if not answer.objects:
        answer.limits.append("the log shows no such object at that time")
    return answer


def _last(lives: list[replay.Life]) -> list[replay.Life]:
    """The life that may still go on, and a later one that only may have begun."""
    certain = [life for life in lives if life.revisions]
    return certain[-1:] + [life for life in lives[-1:] if not life.revisions]


def _known(con: duckdb.DuckDBPyConnection, life: replay.Life) -> Known | None:
    revision = replay.at(life)
    if revision is None:
        return None if life.ended is not None or life.revisions or not life.maybe else _doubtful(con, life)
    body = revision.object
    kind = body.get("kind") if isinstance(body, dict) else None
    if kind in (None, "PartialObjectMetadata"):
        kind = _kind_of(life.key)
    note = revision.note
    fidelity = revision.known
    if fidelity == replay.UNKNOWN:
        note = f"{note}{_hint(con, revision.event)}; shown as it was before"
    if life.deleted is not None and fidelity == replay.EXACT and isinstance(body, dict):
        note = note or "being deleted"
    return Known(life.key, life.uid or _uid(body), kind, fidelity, revision.event, body, note)


def _doubtful(con: duckdb.DuckDBPyConnection, life: replay.Life) -> Known | None:
    """An object of which the log holds only a create whose outcome it does not tell."""
    event = next((e for e in reversed(life.maybe) if e.verb == "create"), None)
    if event is None:
        return None
    note = f"{replay.doubt(event)}{_hint(con, event)}"
    return Known(life.key, None, _kind_of(life.key), replay.UNKNOWN, event, None, note)


def _hint(con: duckdb.DuckDBPyConnection, event: Touch) -> str:
    """What the store's revisions say of a doubtful write, which proves nothing of this one."""
    if not revisions.unexplained(con, event):
        return ""
    return "; the store's revisions show one write more than the log, which may be this one or another"


def _kind_of(key: Key) -> str | None:
    """The kind of a built-in resource."""
    return next((k.kind for k in kinds.every() if (k.group, k.resource) == (key.group, key.resource)), None)


def _uid(body: dict[str, Any] | None) -> str | None:
    return text(body, "metadata", "uid")


def candidates(con: duckdb.DuckDBPyConnection, wanted: Address, when: dt.datetime | None, flying: Flying) -> list[Touch]:
    """For each object the response that last held it whole, and all that may have changed it since; ordered by key."""
    where, params = wanted.where()
    missing = lost(con, where, params, when)
    kinds = "true" if wanted.resources else f"resource <> '{EVENTS}'"
    events = load(con, _candidates(f"{where} and {kinds}"), {**params, "at": when, "applied": list(flying.applied)}) + missing
    return sorted(events, key=lambda e: (e.key.cluster, e.key.group, e.key.resource, e.key.namespace or "", e.key.name, e.order))


def _candidates(where: str) -> str:
    """The rows of `audit_objects` that tell the state of the objects that fulfil a condition on `t`."""
    writes = listed(WRITES)
    return f"""
        with t as (
            select * replace (case when resource = 'namespaces' then null else namespace end as namespace),
                try_cast(resource_version as bigint) as rv,
                code < 300 and response_kind is not null and response_kind not in ({listed(NOT_OBJECTS)})
                    and (subresource is null or subresource in ({listed(WHOLE)})) and verb <> 'deletecollection' as whole
            from audit_objects as t
            where via in ('ref', 'body', 'item') and name is not null and not coalesce(dry_run, false) and verb <> 'watch'
                and not (via <> 'item' and verb = 'list')
                and (coalesce(code, 0) < 300 or code in (404, 499, 500, 504) or code = 409 and verb = 'create') and ({_BY_THEN}) and {where}
                and not (api_group in ({listed(VIRTUAL_GROUPS)}) or resource in ({listed(VIRTUAL)}))
                and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log', 'token')
        ),
        last as (
            select cluster, api_group, resource, namespace, name, max(rv) as rv
            from t where whole and rv is not null group by all
        ),
        anchor as (
            select cluster, api_group, resource, namespace, name, l.rv,
                min(struct_pack(r := t.verb in ('get', 'list'), t := t.time, a := t.audit_id, s := t.source, l := t.line,
                    i := coalesce(t.item, 0))) as first
            from last as l join t using (cluster, api_group, resource, namespace, name)
            where t.whole and t.rv = l.rv group by all
        ),
        -- objects of which no whole body is known
        bare as (
            select cluster, api_group, resource, namespace, name, max(time) as last_time
            from t where code between 200 and 299 group by all
        )
        select t.* exclude (rv, whole)
        from t
        left join anchor as a
            on a.cluster = t.cluster and a.api_group = t.api_group and a.resource = t.resource and a.name = t.name
            and a.namespace is not distinct from t.namespace
        left join bare as b
            on a.rv is null and b.cluster = t.cluster and b.api_group = t.api_group and b.resource = t.resource
            and b.name = t.name and b.namespace is not distinct from t.namespace
        where case
            when a.rv is not null then
                (t.audit_id = a.first.a and t.source = a.first.s and t.line = a.first.l and coalesce(t.item, 0) = a.first.i)
                or ((t.rv > a.rv or (t.rv = a.rv and t.verb in ({writes}))) and t.code < 300)
                or (t.verb in ({writes}) and t.rv is null and t.time >= a.first.t - interval 70 second)
                or (t.verb in ('delete', 'deletecollection') and t.rv >= a.rv - 1)
                or (t.code = 404 and t.time > a.first.t)
            else
                t.verb in ('create', 'delete', 'deletecollection') or t.level = 'Request' or t.time = b.last_time
                or (not coalesce(t.code between 200 and 299, false) and t.verb in ({writes}, 'get'))
        end
    """


@dataclass(slots=True)
class _Ends:
    namespaces: dict[tuple[str, str], dt.datetime]  # (cluster, name) -> when it was gone
    resources: dict[tuple[str, str, str], dt.datetime]  # (cluster, group, plural) -> when its CRD was gone


def _ends(con: duckdb.DuckDBPyConnection, keys: set[Key], cluster: str | None, when: dt.datetime | None, flying: Flying) -> _Ends:
    """When the namespaces and CRDs of some objects were gone, and with them everything in them."""
    ends = _Ends({}, {})
    namespaces = {k.namespace for k in keys if k.namespace}
    crds = {f"{k.resource}.{k.group}" for k in keys if "." in k.group}
    for resource, names in (("namespaces", namespaces), ("customresourcedefinitions", crds)):
        if not names:
            continue
        events = candidates(con, Address(resources=(resource,), names=tuple(sorted(names)), cluster=cluster), when, flying)
        for key, own in groupby(events, key=lambda e: e.key):
            life = replay.lives(own)[-1:]
            if life and life[0].ended is not None:
                if resource == "namespaces":
                    ends.namespaces[(key.cluster, key.name)] = life[0].ended.time
                else:
                    plural, _, group = key.name.partition(".")
                    ends.resources[(key.cluster, group, plural)] = life[0].ended.time
    return ends


def _outlived(life: replay.Life, known: Known, ends: _Ends, listed: list[Listed], when: dt.datetime | None) -> bool:
    """Whether something else in the log proves that the object was gone by then."""
    key, seen = life.key, max(e.time for e in life.events if e.ok or e in life.maybe)
    end = ends.namespaces.get((key.cluster, key.namespace or ""))
    if end is not None and seen <= end + dt.timedelta(seconds=1):
        return True
    end = ends.resources.get((key.cluster, key.group, key.resource))
    if end is not None and seen <= end + dt.timedelta(seconds=1):
        return True
    return absent(key, known.uid, known.event, listed)
