"""The lake's requests as a policy sees them, counted once: any number of policies can then be tried on the counts.

A policy cannot tell apart requests of the same user, groups, verb, resource, namespace, name and path, so all of them
are one row of the table `traffic`, with what they take in the log. Ten million events become some thousand rows.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditlens.answers.window import Window
from auditlens.policy.apiserver.model import Policy
from auditlens.policy.simulation.sizes import ENVELOPE, LATE, MANAGED, REQUEST, RESPONSE
from auditlens.quoting import quoted

if TYPE_CHECKING:
    import duckdb

    from auditlens.lake import DataFile, Lake

__all__ = ["ATTRIBUTES", "LONG_RUNNING", "RequestCounts", "empty", "survey"]

# What a policy sees of a request, as columns of `traffic`; the names are those `to_sql` expects.
ATTRIBUTES: Final = (
    "username", "user_groups", "user_known", "verb", "is_resource_request", "api_group", "resource", "subresource",
    "namespace", "name", "path",
)  # fmt: skip
_KIND = ("verb", "api_group", "resource", "subresource")  # what decides how large a body is, and which stages there are

# More events than this are measured on a sample where an event's own text is concerned (bodies are always measured).
EXACT: Final = 2_000_000
_SAMPLE = 100_000

# Source: staging/src/k8s.io/apiserver/pkg/server/filters/longrunning.go with kube-apiserver's own arguments.
LONG_RUNNING: Final = (
    "(verb in ('watch', 'proxy') or coalesce(subresource, '') in ('attach', 'exec', 'proxy', 'log', 'portforward') "
    "or starts_with(coalesce(path, ''), '/debug/pprof/'))"
)
# Neither these nor requests of no resource have bodies, at any level.
_BODILESS = f"({LONG_RUNNING} or not is_resource_request or stage in ('RequestReceived', 'ResponseStarted'))"

# Bytes of a body nobody has recorded anything like, from the captures of a small cluster: (verb, request, response).
_ASSUMED = (
    ("create", 1500, 2500), ("update", 2500, 3000), ("patch", 600, 4000), ("delete", 150, 1500),
    ("deletecollection", 150, 10000), ("get", 0, 3000), ("list", 0, 20000),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """The table `traffic` of a connection, and what it was counted from.

    `seconds` lie between the first and the last event; 0 for an empty lake. `sampled` says that envelopes were measured
    on a part of the events.
    """

    con: duckdb.DuckDBPyConnection
    events: int
    seconds: float
    sampled: bool
    first: str | None
    last: str | None

    @property
    def per_day(self) -> float:
        """What to multiply a count with to have it per day; 1 if the events span no time."""
        return 86400 / self.seconds if self.seconds >= 1 else 1.0


def survey(
    lake: Lake,
    policies: Iterable[Policy] = (),
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    cluster: str | None = None,
) -> RequestCounts:
    """Count the requests of a lake.

    Args:
        lake: the lake; a missing one is empty.
        policies: those to be tried; object names are told apart only where one of them asks for names.
        since, until: only events of these times.
        cluster: only this cluster.
    """
    from auditlens import engine

    con = engine.connect(lake, since=since, until=until)
    condition = Window(since, until).literal() + (f" and cluster = {quoted(cluster)}" if cluster is not None else "")
    events, seconds, first, last = con.execute(
        "select count(*), coalesce(epoch(max(stage_time)) - epoch(min(stage_time)), 0), strftime(min(stage_time), $second), "
        f"strftime(max(stage_time), $second) from audit where {condition}",
        {"second": "%Y-%m-%dT%H:%M:%SZ"},
    ).fetchall()[0]
    sampled = events > EXACT
    names = sorted({name for p in policies for r in p.rules for entry in r.resources for name in entry.resource_names})
    files = lake.snapshot().files("audit", since=since, until=until)
    _count(con, condition, names, _sample(files, events) if sampled else None)
    _complete(con)
    return RequestCounts(con, events, seconds, sampled, first, last)


def empty() -> RequestCounts:
    """No traffic at all."""
    import duckdb

    from auditlens.tables import Audit

    con = duckdb.connect()
    con.execute(f"create view audit as {Audit.empty_select()}")
    _count(con, "true", [], None)
    _complete(con)
    return RequestCounts(con, 0, 0.0, False, None, None)


def _count(con: duckdb.DuckDBPyConnection, condition: str, names: list[str], sample: str | None) -> None:
    """Make table `counted`: one row for each set of attributes, stage, level and failure code.

    `sample` is what to read instead of `audit` where an event's own text is measured; None reads every event.
    """
    columns = f"""
        username, hash(user_groups) as groups_hash, verb, api_group, resource, subresource, namespace, {_name(names)} as name,
        case when resource is null then coalesce(try(url_decode(split_part(request_uri, '?', 1))), request_uri) end as path,
        stage, coalesce(level, 'Metadata') as level, case when code >= 400 then code end as code
    """
    # grouping by the list itself would take longer than all the rest
    bodies = f"""
        any_value(user_groups) as user_groups, count(*) as events, sum({REQUEST}) as request_bytes, sum({RESPONSE}) as response_bytes
    """
    more = "username is not null as user_known, resource is not null as is_resource_request"
    own = (
        f"sum(coalesce({ENVELOPE}, 0)) as envelope, sum(coalesce({LATE}, 0)) as late, "
        f"sum(coalesce({MANAGED[0]}, 0)) as managed_request, sum(coalesce({MANAGED[1]}, 0)) as managed_response"
    )
    if sample is None:
        con.execute(
            f"create table counted as select *, {more} from (select {columns}, {bodies}, {own}, false as roughly from audit "
            f"where {condition} group by all)"
        )
        return
    con.execute(
        f"create temp table exact as select *, {more} from (select {columns}, {bodies} from audit where {condition} group by all)"
    )
    keys = ("username", *_KIND, "stage")
    con.execute(
        f"create temp table sampled as select {', '.join(keys)}, count(*) as n, sum({REQUEST}) as q, sum({RESPONSE}) as s, "
        f"{own} from {sample} where {condition} group by all"
    )
    # the nearest kind of event in the sample speaks for one that is not in it
    parts = {"envelope": "n", "late": "n", "managed_request": "q", "managed_response": "s"}
    joins: list[str] = []
    each: dict[str, list[str]] = {part: [] for part in parts}
    for alias, by in (("fine", keys), ("kind", (*_KIND, "stage")), ("stage_", ("stage",))):
        sums = ", ".join(f"sum({m})::double as {m}" for m in (*parts, "n", "q", "s"))
        on = " and ".join(f"{alias}.{k} is not distinct from x.{k}" for k in by)
        joins.append(f"left join (select {', '.join(by)}, {sums} from sampled group by {', '.join(by)}) {alias} on {on}")
        for part, of in parts.items():
            each[part].append(f"{alias}.{part} / nullif({alias}.{of}, 0)")
    whole = {"n": "x.events", "q": "x.request_bytes", "s": "x.response_bytes"}
    measures = ", ".join(f"{whole[of]} * coalesce({', '.join(each[part])}, 0) as {part}" for part, of in parts.items())
    con.execute(f"create table counted as select x.*, {measures}, true as roughly from exact x {' '.join(joins)}")


def _sample(files: Sequence[DataFile], events: int) -> str:
    """A table function over some files of `audit`, evenly spread over time, of about 200,000 events."""
    from auditlens.lake import scan
    from auditlens.tables import Audit

    wanted = max(4, math.ceil(len(files) * 2 * _SAMPLE / events))
    picked = list(files)[:: max(1, len(files) // wanted)]
    rows = sum(file.rows for file in picked)
    part = f" tablesample system ({400 * _SAMPLE / rows:.6f} percent) repeatable (1)" if rows > 4 * _SAMPLE else ""
    return f"(select * from {scan(Audit, picked, union_by_name=True)}{part})"


def _name(names: list[str]) -> str:
    """The name a policy sees, as far as a policy asks: a create has none yet (its name is in the body)."""
    if not names:
        return "null::varchar"
    known = "case when verb = 'create' and subresource is null then null else name end"
    listed = ", ".join(map(quoted, names))
    return f"case when {known} in ({listed}) then name when {known} is not null then chr(1) end"


def _complete(con: duckdb.DuckDBPyConnection) -> None:
    """Make `traffic` of `counted`: with the stages the log left out, and the bodies its level was too low for."""
    columns = ", ".join(ATTRIBUTES)
    same = " and ".join(f"a.{k} is not distinct from b.{k}" for k in _KIND)

    def absent(stage: str, of: str, envelope: str, condition: str) -> str:
        """Events of a stage that the log holds of no request of the kind, made from those of another stage."""
        return f"""
            select {columns}, '{stage}' as stage, 'Metadata' as level, code, sum(events) as events,
                0 as request_bytes, 0 as response_bytes, sum({envelope} - events * (strlen(level) - 8)) as envelope,
                0 as late, 0 as managed_request, 0 as managed_response, true as roughly, false as recorded
            from counted as a
            where {of} and {condition}
                and not exists (select 1 from counted as b where b.stage = {quoted(stage)} and {same})
            group by all
        """

    ended = "stage in ('ResponseComplete', 'Panic')"
    con.execute(
        "create temp table every_stage as select *, true as recorded from counted union all by name "
        + " union all by name ".join(
            (
                absent("RequestReceived", ended, "(envelope - late)", "true"),
                absent("ResponseStarted", ended, "envelope", LONG_RUNNING),
                absent("ResponseComplete", "stage = 'RequestReceived'", "(envelope + 200 * events)", "true"),
            )
        )
    )
    assumed = ", ".join(f"('{verb}', {request}, {response})" for verb, request, response in _ASSUMED)
    rank = "case level when 'RequestResponse' then 3 when 'Request' then 2 else 1 end"
    measured = """
        sum(request_bytes) filter (rank >= 2)::double / nullif(sum(events) filter (rank >= 2), 0) as request_each,
        sum(response_bytes) filter (rank >= 3)::double / nullif(sum(events) filter (rank >= 3), 0) as response_each,
        sum(managed_request) / nullif(sum(request_bytes), 0)::double as request_managed,
        sum(managed_response) / nullif(sum(response_bytes), 0)::double as response_managed
    """
    con.execute(f"create temp table ranked as select *, {rank} as rank, {_BODILESS} as bodiless from every_stage")
    kinds = ", ".join(_KIND)
    con.execute(f"""
        create table traffic as
        with kinds as (select {kinds}, {measured} from ranked where recorded and not bodiless group by {kinds}),
        verbs as (select verb, {measured} from ranked where recorded and not bodiless group by verb),
        assumed(verb, request_each, response_each) as (values {assumed})
        select row_number() over () as id, a.*,
            case when bodiless then 0 else coalesce(k.request_each, v.request_each, s.request_each, 0) end as request_each,
            case when bodiless then 0 else coalesce(k.response_each, v.response_each, s.response_each, 0) end as response_each,
            coalesce(k.request_managed, v.request_managed, 0) as request_managed,
            coalesce(k.response_managed, v.response_managed, 0) as response_managed,
            case when k.request_each is not null then 'kind' when v.request_each is not null then 'verb' else 'assumed' end
                as request_basis,
            case when k.response_each is not null then 'kind' when v.response_each is not null then 'verb' else 'assumed' end
                as response_basis
        from ranked as a
        left join kinds as k on {" and ".join(f"a.{c} is not distinct from k.{c}" for c in _KIND)}
        left join verbs as v on a.verb = v.verb
        left join assumed as s on a.verb = s.verb
    """)
