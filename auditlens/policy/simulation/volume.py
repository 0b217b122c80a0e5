"""What a policy would write of the counted traffic: events and bytes, each with how much of it is an estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditlens.policy.apiserver.evaluator import stages_of
from auditlens.policy.apiserver.model import Policy
from auditlens.policy.apiserver.sql import rule_sql
from auditlens.policy.simulation.request_counts import RequestCounts
from auditlens.quoting import quoted

if TYPE_CHECKING:
    import duckdb

__all__ = ["Volume", "judge", "volume"]


@dataclass(frozen=True, slots=True)
class Volume:
    """Events and bytes of the log over the time surveyed; `estimated` of the bytes rest on other events than their own."""

    events: int
    bytes: int
    estimated: int = 0

    def __sub__(self, other: Volume) -> Volume:
        return Volume(self.events - other.events, self.bytes - other.bytes, self.estimated - other.estimated)


def judge(traffic: RequestCounts, policy: Policy, name: str = "judged", rule: int | None = None) -> str:
    """Make a table of `traffic` with what a policy decides, and return its name.

    Added columns: rule (null: none matches), level_then, written, events_then, bytes_then, estimated_then; events_now and
    bytes_now are what the log holds. `rule` leaves out one rule of the policy, the others keep their numbers.
    """
    kept = [i for i in range(len(policy.rules)) if i != rule]
    shown = policy.model_copy(update={"rules": tuple(policy.rules[i] for i in kept)})
    rows = [(i, policy.rules[i].level, stages_of(policy, policy.rules[i]), policy.rules[i].omit_managed_fields) for i in kept]
    values = ", ".join(
        f"({place}, {number}, {quoted(level)}, {_list(stages)}, {policy.omit_managed_fields if omit is None else omit})"
        for place, (number, level, stages, omit) in enumerate(rows)
    )
    values = values or "(-1, -1, 'None', []::varchar[], false)"
    con = traffic.con
    con.execute(f"""
        create or replace temp table {name} as
        with decided as (
            select t.*, r.number as rule, coalesce(r.level, 'None') as level_then, coalesce(r.managed, false) as unmanaged,
                r.level is not null and r.level <> 'None' and not list_contains(r.stages, coalesce(t.stage, '')) as written
            from (select *, {rule_sql(shown)} as place from traffic) as t
            left join (values {values}) as r(place, number, level, stages, managed) on r.place = t.place
        ),
        sized as (
            select *,
                case when level_then in ('Metadata', 'None') then 0
                    when rank >= 2 then request_bytes - case when unmanaged then managed_request else 0 end
                    else events * request_each * case when unmanaged then 1 - request_managed else 1 end end as request_then,
                case when level_then <> 'RequestResponse' then 0
                    when rank >= 3 then response_bytes - case when unmanaged then managed_response else 0 end
                    else events * response_each * case when unmanaged then 1 - response_managed else 1 end end as response_then,
                envelope + events * (strlen(level_then) - strlen(level)) as envelope_then
            from decided
        )
        select *,
            case when recorded then events else 0 end as events_now,
            case when recorded then envelope + request_bytes + response_bytes else 0 end as bytes_now,
            case when written then events else 0 end as events_then,
            case when written then envelope_then + request_then + response_then else 0 end as bytes_then,
            case when not written then 0 when not recorded then envelope_then + request_then + response_then
                else case when rank < 2 then request_then else 0 end + case when rank < 3 then response_then else 0 end
            end as estimated_then
        from sized
    """)
    return name


def volume(traffic: RequestCounts, policy: Policy, rule: int | None = None) -> Volume:
    """What a policy would write in all; without one of its rules if `rule` says which."""
    name = judge(traffic, policy, "weighed", rule)
    return total(traffic.con, f"select sum(events_then), sum(bytes_then), sum(estimated_then) from {name}")


def total(con: duckdb.DuckDBPyConnection, select: str) -> Volume:
    """The Volume a statement of three sums gives."""
    events, size, estimated = con.execute(select).fetchall()[0]
    return Volume(int(events or 0), round(size or 0), round(estimated or 0))


def _list(stages: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(quoted, stages)) + "]::varchar[]"
