"""What surrounds a moment: the last full lists before it, and the writes under way at it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditlens.answers.address import Address
from auditlens.forensics.events import Key, Touch

if TYPE_CHECKING:
    import duckdb


@dataclass(slots=True)
class Listed:
    """A list that was complete: every object of a resource, in one namespace or in all, at one resource version."""

    cluster: str
    group: str
    resource: str
    namespace: str | None
    name: str | None  # the only one asked for, by a field selector
    rv: int
    audit_id: str
    names: set[tuple[str | None, str]] = field(default_factory=set)


def lists(con: duckdb.DuckDBPyConnection, wanted: Address, when: dt.datetime | None) -> list[Listed]:
    """The last complete list of each resource and scope: no selector but one that names an object, no limit, no page.

    A list tells of its own resource version only, whatever cache it came from; `absent` compares that one. What an answer holds is
    known where its items are in the log: not of a Table without objects, nor where a platform put words in place of the body.
    """
    where, params = Address(wanted.group, wanted.resources, cluster=wanted.cluster).where("a")
    lists = f"""
        select a.cluster, coalesce(a.api_group, '') as api_group, a.resource, a.namespace, a.name,
            try_cast(a.object_resource_version as bigint) as rv, a.audit_id, a.import_id, a.source, a.line, coalesce(a.item, 0) as item
        from audit as a
        where a.verb = 'list' and a.code = 200 and a.stage = 'ResponseComplete' and a.subresource is null
            and a.level = 'RequestResponse' and not coalesce(a.truncated, false)
            and ($at::timestamptz is null or a.stage_time <= $at::timestamptz) and {where}
            and not regexp_matches(a.request_uri, '[?&](labelSelector|limit|continue)=[^&]|[?&]includeObject=None')
            and (not regexp_matches(a.request_uri, '[?&]fieldSelector=[^&]')
                or a.name is not null and regexp_matches(a.request_uri, '[?&]fieldSelector=metadata[.]name(=|%3D)+[a-z0-9.-]+(&|$)'))
            and (a.response_kind = 'Table' or ends_with(a.response_kind, 'List'))
            and try_cast(a.object_resource_version as bigint) is not null
        qualify row_number() over (partition by a.cluster, coalesce(a.api_group, ''), a.resource, a.namespace, a.name
            order by try_cast(a.object_resource_version as bigint) desc, a.audit_id, a.source, a.line) = 1
    """
    found: dict[tuple[Any, ...], Listed] = {}
    for *row, namespace, name in con.execute(
        f"""
        select l.*, t.namespace, t.name
        from ({lists}) as l left join audit_objects as t
            on t.import_id = l.import_id and t.source = l.source and t.line = l.line and coalesce(t.item, 0) = l.item
            and t.via = 'item' and t.verb = 'list'
        """,
        {**params, "at": when},
    ).fetchall():
        one = found.setdefault(tuple(row), Listed(*row[:7]))
        if name is not None:
            one.names.add((namespace, name))
    return list(found.values())


def absent(key: Key, uid: str | None, last: Touch, listed: list[Listed]) -> bool:
    """Whether a complete list at a later resource version does not have the object."""
    for one in listed:
        same = (one.cluster, one.group, one.resource) == (key.cluster, key.group, key.resource)
        scope = one.namespace in (None, key.namespace) and one.name in (None, key.name)
        missing = scope and (key.namespace, key.name) not in one.names
        if same and missing and last.rv is not None and one.rv > last.rv:
            return True
    return False


# Groups whose objects share the store's revisions: not Events (often a store of their own), not aggregated APIs.
_ONE_STORE = """(api_group in ('', 'apps', 'batch', 'autoscaling', 'policy') or api_group like '%.k8s.io')
    and api_group not like '%metrics.k8s.io' and resource <> 'events'"""


@dataclass(frozen=True, slots=True)
class Flying:
    """The writes under way at a moment."""

    open: frozenset[tuple[str, str, str | None, str]]  # objects (group, resource, namespace, name): done or not, nobody can tell
    applied: tuple[str, ...]  # addresses (see ADDRESS) of those that were done by then, or likely were


ADDRESS = "concat_ws(chr(10), audit_id, source, line)"


def in_flight(con: duckdb.DuckDBPyConnection, when: dt.datetime | None) -> Flying:
    """What came in before a moment and was answered after it.

    It was done by then where its revision is not above one that was answered before the moment; likely where the moment is nearer to
    its answer than to its coming in.
    """
    if when is None:
        return Flying(frozenset(), ())
    rows = con.execute(
        f"""
        with flying as (
            select cluster, api_group, resource, case when resource = 'namespaces' then null else namespace end as namespace,
                coalesce(name, object_name) as name, {ADDRESS} as address,
                -- a deletion may wait for more than the store
                verb <> 'delete' and $at - received_time >= stage_time - $at as likely,
                try_cast(object_resource_version as bigint) as rv, {_ONE_STORE} as comparable
            from audit
            where received_time <= $at and stage_time > $at and stage_time <= $at + interval 60 second
                and stage <> 'RequestReceived' and verb in ('create', 'update', 'patch', 'delete') and code < 300
                and coalesce(name, object_name) is not null and not coalesce(dry_run, false)
                and coalesce(subresource, '') not in ('token', 'exec', 'attach', 'portforward', 'proxy', 'log')
        ),
        seen as (
            select cluster, max(try_cast(object_resource_version as bigint)) as rv from audit
            where stage_time <= $at and stage_time > $at - interval 10 minute and stage = 'ResponseComplete' and code < 300
                and object_resource_version is not null and {_ONE_STORE}
            group by cluster
        )
        select coalesce(f.api_group, ''), f.resource, f.namespace, f.name, f.address, f.likely,
            coalesce(f.comparable and f.rv <= seen.rv, false) as done
        from flying as f left join seen on seen.cluster = f.cluster
        """,
        {"at": when},
    ).fetchall()
    return Flying(frozenset(r[:4] for r in rows if not r[6]), tuple(r[4] for r in rows if r[6] or r[5]))
