"""simulate() says what a policy would have written of the requests a lake holds, rule by rule, and what is lost or gained."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditlens.policy.apiserver.model import Policy
from auditlens.policy.simulation.request_counts import RequestCounts, survey
from auditlens.policy.simulation.volume import Volume, judge, total

if TYPE_CHECKING:
    import polars as pl

    from auditlens.lake import Lake

__all__ = ["Simulation", "simulate", "simulate_traffic"]

# What a line of the log is about, for people: deployments.apps/scale, or the first part of a path.
THING = """case when is_resource_request then coalesce(resource, '')
    || case when coalesce(api_group, '') = '' then '' else '.' || api_group end
    || case when coalesce(subresource, '') = '' then '' else '/' || subresource end
    else '/' || split_part(coalesce(path, ''), '/', 2) end"""

# Requests of the traffic: each has one first and one last event, whichever of them the log holds.
REQUESTS = """greatest(
    sum(events) filter (where recorded and stage = 'RequestReceived'),
    sum(events) filter (where recorded and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401)))
)"""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a policy makes of a lake's requests, over the `seconds` surveyed; frames have `_per_day` columns beside the sums.

    now: what the log holds. then: what it would hold; against: what it would hold under the other policy, if there is one.
    rules: one row per rule and stage written: rule (from 0; null: no rule matches), line, level, stage, requests, events,
        bytes, estimated_bytes, percent (of all bytes written), events_now, bytes_now; of a rule that writes nothing one
        row without a stage.
    contributors: the largest of each rule: rule, username, verb, resource, events, bytes (what they take in the log
        now, for a rule that writes nothing).
    changes: per verb, resource and stage, what differs from the log now (or from the other policy): level_before,
        level_after (null: not written), events_before, events_after, bytes_before, bytes_after, what (lost, gained, less,
        more).
    dead: rules no request of the lake came to.
    notes: what the figures rest on where they are estimates.
    """

    policy: Policy
    traffic: RequestCounts
    now: Volume
    then: Volume
    against: Volume | None
    rules: pl.DataFrame
    contributors: pl.DataFrame
    changes: pl.DataFrame
    dead: tuple[int, ...]
    unmatched: Volume
    notes: tuple[str, ...]

    def bytes_per_day(self) -> int:
        """What the policy would write a day."""
        return round(self.then.bytes * self.traffic.per_day)


def simulate(
    lake: Lake | str,
    policy: Policy,
    *,
    against: Policy | None = None,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    cluster: str | None = None,
    top: int = 5,
) -> Simulation:
    """Try a policy on the requests of a lake.

    Args:
        lake: the lake, or its directory.
        policy: the policy to try.
        against: compare with this policy instead of with the log as it is.
        since, until: only events of these times.
        cluster: only this cluster.
        top: so many contributors of each rule.

    What the log did not record at all (requests of level None) is not there to be counted.
    """
    from auditlens.lake import Lake

    lake = lake if isinstance(lake, Lake) else Lake(lake)
    policies = [policy, against] if against else [policy]
    return simulate_traffic(survey(lake, policies, since=since, until=until, cluster=cluster), policy, against, top)


def simulate_traffic(traffic: RequestCounts, policy: Policy, against: Policy | None = None, top: int = 5) -> Simulation:
    """The same on requests counted before, with the policy among those they were counted for."""
    con = traffic.con
    judge(traffic, policy)
    if against:
        judge(traffic, against, "other")
    now = total(con, "select sum(events_now), sum(bytes_now), 0 from judged")
    then = total(con, "select sum(events_then), sum(bytes_then), sum(estimated_then) from judged")
    other = total(con, "select sum(events_then), sum(bytes_then), sum(estimated_then) from other") if against else None
    unmatched = total(con, "select sum(events_now), sum(bytes_now), 0 from judged where rule is null")
    rules = _rules(traffic, policy)
    dead = tuple(i for i in range(len(policy.rules)) if not rules.filter(rules["rule"] == i)["requests"].sum())
    return Simulation(
        policy, traffic, now, then, other, rules, _contributors(traffic, top), _changes(traffic, bool(against)), dead, unmatched,
        tuple(_notes(traffic, policy, then)),
    )  # fmt: skip


def _rules(traffic: RequestCounts, policy: Policy) -> pl.DataFrame:
    rows = [f"({i}, {policy.position('rules', i).line}, '{rule.level}')" for i, rule in enumerate(policy.rules)]
    rows.append("(null, null, 'None')")
    day = traffic.per_day
    frame: pl.DataFrame = traffic.con.sql(f"""
        with requests as (
            select rule, sum(n)::bigint as requests from (
                select rule, {REQUESTS} as n from judged
                group by rule, username, user_groups, verb, api_group, resource, subresource, namespace, name, path
            ) group by rule
        ),
        before as (select rule, sum(events_now)::bigint as events_now, sum(bytes_now)::bigint as bytes_now from judged group by rule),
        stages as (
            select rule, stage, sum(events_then)::bigint as events, sum(bytes_then)::bigint as bytes,
                sum(estimated_then)::bigint as estimated_bytes
            from judged where written group by all having sum(events_then) > 0
        )
        select r.rule::integer as rule, r.line::integer as line, r.level, s.stage, coalesce(q.requests, 0) as requests,
            coalesce(s.events, 0) as events, coalesce(s.bytes, 0) as bytes, coalesce(s.estimated_bytes, 0) as estimated_bytes,
            round(100.0 * coalesce(s.bytes, 0) / nullif(sum(s.bytes) over (), 0), 2) as percent,
            (coalesce(s.events, 0) * {day})::bigint as events_per_day, (coalesce(s.bytes, 0) * {day})::bigint as bytes_per_day,
            coalesce(b.events_now, 0) as events_now, coalesce(b.bytes_now, 0) as bytes_now
        from (values {", ".join(rows)}) as r(rule, line, level)
        left join requests as q on q.rule is not distinct from r.rule
        left join before as b on b.rule is not distinct from r.rule
        left join stages as s on s.rule is not distinct from r.rule
        where r.rule is not null or coalesce(q.requests, 0) + coalesce(b.events_now, 0) > 0
        order by r.rule nulls last, s.stage
    """).pl()
    return frame


def _contributors(traffic: RequestCounts, top: int) -> pl.DataFrame:
    frame: pl.DataFrame = traffic.con.sql(f"""
        select * from (select rule, username, verb, {THING} as resource, written,
            sum(case when written then events_then else events_now end)::bigint as events,
            sum(case when written then bytes_then else bytes_now end)::bigint as bytes,
            (sum(case when written then bytes_then else bytes_now end) * {traffic.per_day})::bigint as bytes_per_day
        from (select *, bool_or(written) over (partition by rule) as any_written from judged) where written or not any_written
        group by all)
        qualify row_number() over (partition by rule order by bytes desc, username, verb, resource) <= {int(top)}
        order by rule nulls last, bytes desc, username, verb, resource
    """).pl()
    return frame


def _changes(traffic: RequestCounts, against: bool) -> pl.DataFrame:
    now = "select *, recorded as wrote, level as level_was, events_now as events_was, bytes_now as bytes_was from judged"
    if against:
        now = """select j.*, o.written as wrote, o.level_then as level_was, o.events_then as events_was, o.bytes_then as bytes_was
            from judged as j join other as o using (id)"""
    rank = "case {} when 'RequestResponse' then 3 when 'Request' then 2 when 'Metadata' then 1 else 0 end"
    frame: pl.DataFrame = traffic.con.sql(f"""
        with paired as (
            select verb, {THING} as resource, stage, case when wrote then level_was end as level_before,
                case when written then level_then end as level_after, events_was, events_then, bytes_was, bytes_then from ({now})
        ),
        summed as (
            select verb, resource, stage, level_before, level_after, sum(events_was)::bigint as events_before,
                sum(events_then)::bigint as events_after, sum(bytes_was)::bigint as bytes_before,
                sum(bytes_then)::bigint as bytes_after,
                {rank.format("level_before")} as was, {rank.format("level_after")} as becomes
            from paired group by all
        )
        select * exclude (was, becomes),
            case when was = 0 then 'gained' when becomes = 0 then 'lost' when becomes < was then 'less' else 'more' end as what
        from summed where was <> becomes
        order by abs(bytes_after - bytes_before) desc, verb, resource, stage, level_before, level_after
    """).pl()
    return frame


def _notes(traffic: RequestCounts, policy: Policy, then: Volume) -> list[str]:
    """What part of the bytes is estimated, and from what."""
    if not traffic.events:
        return ["the lake holds no audit events: volumes are unmeasured"]
    notes = [
        f"measured over {traffic.seconds / 3600:.2f} hours, from {traffic.first} to {traffic.last}; what the log does not hold "
        "(requests its own policy dropped) cannot be counted"
    ]
    if traffic.seconds < 86400:
        notes.append("less than a day was measured: the figures per day take it that every hour is like these")
    if traffic.sampled:
        notes.append("over 2 million events: their number and their bodies are counted, the rest of them measured on a sample")
    rows = traffic.con.execute(f"""
        select case when not recorded then 'stage' when needs = 'request' then request_basis else response_basis end as basis,
            sum(estimated_then) as bytes, count(distinct verb || ' ' || {THING}) as kinds,
            max_by(verb || ' ' || {THING}, estimated_then) as example
        from (select *, case when rank < 2 and level_then = 'Request' then 'request' else 'response' end as needs from judged)
        where estimated_then > 0 group by 1 order by 2 desc
    """).fetchall()
    why = {
        "stage": "the log leaves out a stage this policy writes; its events were made from the others of the same requests",
        "kind": "the log's level is too low for these bodies; their size is the mean of bodies recorded of the same verb and resource",
        "verb": "no body of this verb and resource was recorded; their size is the mean of other resources' bodies of the verb",
        "assumed": "no body of this verb was recorded at all; their size is what a small cluster's bodies have",
    }
    for basis, size, kinds, example in rows:
        share = 100 * size / max(then.bytes, 1)
        notes.append(f"estimate ({share:.1f} % of the bytes, {kinds} kinds, most of it {example}): {why[basis]}")
    writes = any(
        r.level in ("Request", "RequestResponse") and not (r.omit_managed_fields or policy.omit_managed_fields)
        for r in policy.rules
    )
    bodies, managed = traffic.con.execute("select sum(response_bytes), sum(managed_response) from traffic").fetchall()[0]
    if writes and (bodies or 0) > 0 and not managed:
        notes.append("the log holds no managedFields, so their size is unknown; with them, objects are about half as large again")
    return notes
