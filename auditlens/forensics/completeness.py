"""Whether a log can be trusted for a window: what is missing from it, cut, doubled or recorded too coarsely, each with its evidence."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.answers.window import Window, window
from auditlens.lake import Lake
from auditlens.quoting import quoted

if TYPE_CHECKING:
    import duckdb
    import polars as pl

# A silence this long, and this many times the usual spacing of events, is a gap: an apiserver's own leases and probes never rest.
LEAST_GAP = 30.0
TIMES_USUAL = 20.0


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with the log; `count` of what `what` says, between two times, with an example."""

    kind: str  # gap, lost, unseen-start, version-jump, restart, truncated, partial, duplicates, rejects, damaged, dropped
    what: str
    count: int
    source: str | None = None
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    audit_id: str | None = None
    line: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The shape of `completeness -o json`."""
        return {n: getattr(self, n) for n in ("kind", "what", "count", "source", "first", "last", "audit_id", "line")}


@dataclass(slots=True)
class Completeness:
    """The findings, the levels recorded per resource and verb, and what could not be looked at."""

    first: dt.datetime | None
    last: dt.datetime | None
    events: int
    findings: list[Flaw] = field(default_factory=list)
    levels: pl.DataFrame | None = None
    limits: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The shape of `completeness -o json`."""
        return {
            "first": self.first, "last": self.last, "events": self.events, "findings": [f.as_dict() for f in self.findings],
            "levels": self.levels.to_dicts() if self.levels is not None else [], "limits": self.limits,
        }  # fmt: skip


def completeness(
    lake: Lake | str,
    *,
    since: dt.datetime | str | None = None,
    until: dt.datetime | str | None = None,
    cluster: str | None = None,
) -> Completeness:
    """Look for everything that can be missing from the log in a window."""
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    when = window(lake, since, until)
    return engine.with_snapshot(lake, lambda con: _look(con, when, cluster), since=when.since, until=when.until)


def _look(con: duckdb.DuckDBPyConnection, when: Window, cluster: str | None) -> Completeness:
    seen = _seen(when, cluster)
    row = _rows(con, f"select min(stage_time) as a, max(stage_time) as b, count(*) as n from {seen}")[0]
    out = Completeness(row["a"], row["b"], row["n"])
    for look in (_gaps, _lost, _unseen_starts, _jumps, _restarts, _cut):
        out.findings += look(con, seen)
    for look_whole in (_imports, _rejects, _dropped):
        out.findings += look_whole(con)
    out.levels = engine.query(con, _LEVELS.format(seen=seen), {})
    if not out.events:
        out.limits.append("the log holds nothing in this window")
    if "klog" not in _tables(con):
        out.limits.append(
            "apiserver logs are not looked at: 'audit buffer queue blocked' and 'Error in audit plugin' there name events that were dropped"
        )
    return out


def gaps(
    lake: Lake | str,
    *,
    since: dt.datetime | str | None = None,
    until: dt.datetime | str | None = None,
    cluster: str | None = None,
) -> list[Flaw]:
    """The gaps alone, as `completeness` finds them; the quick part of it."""
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    when = window(lake, since, until)
    return engine.with_snapshot(lake, lambda con: _gaps(con, _seen(when, cluster)), since=when.since, until=when.until)


def _seen(when: Window, cluster: str | None) -> str:
    """The events of a window, in SQL."""
    return f"(select * from audit where {when.literal()}" + (f" and cluster = {quoted(cluster)}" if cluster else "") + ")"


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    return engine.query(con, sql, {}).to_dicts()


def _tables(con: duckdb.DuckDBPyConnection) -> set[str]:
    return {r[0] for r in con.execute("select view_name from duckdb_views() where not internal").fetchall()}


def _gaps(con: duckdb.DuckDBPyConnection, seen: str) -> list[Flaw]:
    """Silences of one apiserver."""
    rows = _rows(
        con,
        f"""
        with spaced as (
            select instance, stage_time, lag(stage_time) over w as before, lag(audit_id) over w as audit_id, lag(line) over w as line
            from {seen} where stage_time is not null
            window w as (partition by cluster, instance order by stage_time, audit_id, line)
        ),
        usual as (
            -- of few events the 999th of a thousand would be the gap itself
            select instance, case when count(*) < 1000 then quantile_cont(seconds, 0.9) else quantile_cont(seconds, 0.999) end as usual
            from (select instance, epoch(stage_time) - epoch(before) as seconds from spaced where before is not null) group by instance
        )
        select s.instance, s.before, s.stage_time, s.audit_id, s.line, epoch(s.stage_time) - epoch(s.before) as seconds
        from spaced as s join usual as u on u.instance = s.instance
        where epoch(s.stage_time) - epoch(s.before) > greatest({LEAST_GAP}, {TIMES_USUAL} * u.usual)
        order by s.before
        """,
    )
    return [
        Flaw("gap", f"nothing for {r['seconds']:.0f} s", 1, r["instance"], r["before"], r["stage_time"], r["audit_id"], r["line"])
        for r in rows
    ]


def _lost(con: duckdb.DuckDBPyConnection, seen: str) -> list[Flaw]:
    """Requests of which only the beginning was written."""
    rows = _rows(
        con,
        f"""
        select coalesce(r.verb, '') || ' ' || coalesce(r.resource, r.request_uri) as what, count(*) as n, min(r.stage_time) as a,
            max(r.stage_time) as b, min_by(r.audit_id, (r.stage_time, r.audit_id, r.source, r.line)) as id, min_by(r.source, (r.stage_time, r.audit_id, r.source, r.line)) as source,
            min_by(r.line, (r.stage_time, r.audit_id, r.source, r.line)) as line
        from {seen} as r
        where r.stage = 'RequestReceived' and not exists (
            select 1 from audit as c
            where c.stage <> 'RequestReceived' and c.cluster = r.cluster and c.audit_id = r.audit_id
                and c.received_time = r.received_time)
        group by 1 order by n desc, what
        """,
    )
    return [
        Flaw("lost", f"{r['what']} without an end: lost, or still running when the log ends", r["n"], r["source"], r["a"], r["b"],
                r["id"], r["line"])
        for r in rows
    ]  # fmt: skip


def _unseen_starts(con: duckdb.DuckDBPyConnection, seen: str) -> list[Flaw]:
    """Completions whose RequestReceived is missing although the policy records that stage for the same requests."""
    rows = _rows(
        con,
        f"""
        with requests as (
            select cluster, instance, audit_id, received_time, verb, resource, level, bool_or(stage = 'RequestReceived') as begun,
                bool_or(code = 401) as refused, min(stage_time) as stage_time, min_by(source, (stage_time, source, line)) as source,
                min_by(line, (stage_time, source, line)) as line
            from {seen} group by 1, 2, 3, 4, 5, 6, 7
        ),
        habits as (
            select cluster, instance, verb, resource, level, count(*) as n, count(*) filter (where begun) as begun
            from requests where not coalesce(refused, false) group by 1, 2, 3, 4, 5
        )
        select r.verb || ' ' || coalesce(r.resource, 'non-resource') as what, count(*) as n, min(r.stage_time) as a,
            max(r.stage_time) as b, min_by(r.audit_id, (r.stage_time, r.audit_id, r.source, r.line)) as id, min_by(r.source, (r.stage_time, r.audit_id, r.source, r.line)) as source,
            min_by(r.line, (r.stage_time, r.audit_id, r.source, r.line)) as line
        from requests as r join habits as h
            on h.cluster = r.cluster and h.instance = r.instance and h.verb = r.verb and h.level = r.level
            and h.resource is not distinct from r.resource
        where not r.begun and not coalesce(r.refused, false) and h.begun * 10 > h.n * 9
        group by 1 order by n desc, what
        """,
    )
    return [
        Flaw("unseen-start", f"{r['what']} without its RequestReceived, which the others have", r["n"], r["source"], r["a"], r["b"],
                r["id"], r["line"])
        for r in rows
    ]  # fmt: skip


def _jumps(con: duckdb.DuckDBPyConnection, seen: str) -> list[Flaw]:
    """Updates based on a version of an object that no request in the log made: a write between is not in it."""
    rows = _rows(
        con,
        f"""
        with versions as (
            select distinct cluster, object_uid as uid, try_cast(object_resource_version as bigint) as rv
            from audit where object_uid is not null and object_resource_version is not null and code < 300
            union
            select cluster, uid, try_cast(resource_version as bigint) from audit_objects
            where via = 'item' and uid is not null and resource_version is not null and verb = 'list'
        ),
        firsts as (select cluster, uid, min(rv) as rv from versions group by cluster, uid)
        select s.resource as what, count(*) as n, min(s.stage_time) as a, max(s.stage_time) as b,
            min_by(s.audit_id, (s.stage_time, s.audit_id, s.source, s.line)) as id, min_by(s.source, (s.stage_time, s.audit_id, s.source, s.line)) as source, min_by(s.line, (s.stage_time, s.audit_id, s.source, s.line)) as line
        from {seen} as s join firsts as f
            on f.cluster = s.cluster and f.uid = s.object_uid and try_cast(s.resource_version as bigint) > f.rv
        anti join versions as v
            on v.cluster = s.cluster and v.uid = s.object_uid and v.rv = try_cast(s.resource_version as bigint)
        where s.verb = 'update' and s.stage = 'ResponseComplete' and s.code < 300 and s.resource_version is not null
        group by 1 order by n desc, what
        """,
    )
    return [
        Flaw("version-jump", f"updates of {r['what']} based on a version that no request in the log made", r["n"], r["source"],
                r["a"], r["b"], r["id"], r["line"])
        for r in rows
    ]  # fmt: skip


def _restarts(con: duckdb.DuckDBPyConnection, seen: str) -> list[Flaw]:
    """Starts of an apiserver: its informers open their watches within seconds, or OpenShift says so in an annotation."""
    rows = _rows(
        con,
        f"""
        with starts as (
            select instance, time_bucket(interval 10 second, received_time) as bucket, count(distinct resource) as n,
                min(stage_time) as a, min_by(audit_id, (stage_time, audit_id, source, line)) as id, min_by(source, (stage_time, audit_id, source, line)) as source,
                min_by(line, (stage_time, audit_id, source, line)) as line
            from {seen}
            where username = 'system:apiserver' and verb in ('watch', 'list') and resource is not null
            group by all
            having count(distinct resource) >= 15
        )
        select * from starts as s
        where not exists (select 1 from starts as b where b.instance = s.instance and b.bucket = s.bucket - interval 10 second)
        order by a
        """,
    )
    return [Flaw("restart", "an apiserver started", 1, r["source"], r["a"], r["a"], r["id"], r["line"]) for r in rows]


def _cut(con: duckdb.DuckDBPyConnection, seen: str) -> list[Flaw]:
    """Events without the bodies their level promises, and events cut on the way."""
    out = []
    for column, why in (
        ("truncated", "events whose bodies were dropped for size"),
        ("partial", "events that were cut short"),
    ):
        for r in _rows(
            con,
            f"select source, count(*) as n, min(stage_time) as a, max(stage_time) as b, min_by(audit_id, (stage_time, line, audit_id)) as id, "
            f"min_by(line, (stage_time, line)) as line from {seen} where {column} group by source order by n desc, source",
        ):
            out.append(Flaw(column, why, r["n"], r["source"], r["a"], r["b"], r["id"], r["line"]))
    return out


def _imports(con: duckdb.DuckDBPyConnection) -> list[Flaw]:
    out = []
    for r in _rows(con, "select source, duplicates, error, first_time as a, last_time as b from imports order by source"):
        if r["duplicates"]:
            out.append(Flaw("duplicates", "records that stand twice, or that another import held", r["duplicates"], r["source"],
                               r["a"], r["b"]))  # fmt: skip
        if r["error"]:
            out.append(Flaw("damaged", f"reading ended early: {r['error']}", 1, r["source"], r["a"], r["b"]))
    return out


def _rejects(con: duckdb.DuckDBPyConnection) -> list[Flaw]:
    rows = _rows(
        con, "select source, reason, count(*) as n, min(line) as line from rejects group by all order by n desc, source, reason"
    )
    return [Flaw("rejects", f"records that could not be read: {r['reason']}", r["n"], r["source"], line=r["line"]) for r in rows]


def _dropped(con: duckdb.DuckDBPyConnection) -> list[Flaw]:
    """What the apiserver says about events it could not write (apiserver/pkg/audit/metrics.go HandlePluginError)."""
    if "klog" not in _tables(con):
        return []
    rows = _rows(
        con,
        """
        select source, regexp_extract(message, 'Error in audit plugin ''([^'']+)''', 1) as plugin,
            sum(coalesce(try_cast(regexp_extract(message, 'affecting ([0-9]+) audit events', 1) as bigint), 1)) as n,
            min(time) as a, max(time) as b, min(line) as line
        from klog where message like '%Error in audit plugin%' group by all order by n desc
        """,
    )
    return [
        Flaw("dropped", f"events the apiserver could not write (plugin {r['plugin']})", int(r["n"]), r["source"], r["a"], r["b"],
                None, r["line"])
        for r in rows
    ]  # fmt: skip


_LEVELS = """
select api_group, resource, verb, count(*) as events,
    count(*) filter (where level = 'Metadata') as metadata,
    count(*) filter (where level = 'Request') as request,
    count(*) filter (where level = 'RequestResponse') as request_response
from {seen}
where resource is not null and stage <> 'RequestReceived'
group by api_group, resource, verb
order by api_group, resource, verb
"""
