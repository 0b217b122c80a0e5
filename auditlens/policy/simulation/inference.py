"""infer() reads from a log which policy it was written under: an event tells its own level, and the stages that are not there.

What was dropped leaves no trace, and a log shows only the requests that were made: the policy found explains the log, it
need not be the one that was set.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from auditlens.errors import UsageError
from auditlens.policy.apiserver.model import LEVELS, STAGES, GroupResources, Level, Policy, Rule, Stage
from auditlens.policy.apiserver.rewrite import dump
from auditlens.policy.apiserver.sql import rule_sql
from auditlens.policy.simulation.noise import NOISE
from auditlens.policy.simulation.request_counts import LONG_RUNNING, RequestCounts, survey
from auditlens.policy.simulation.simulation import THING
from auditlens.policy.simulation.volume import judge
from auditlens.quoting import listed

if TYPE_CHECKING:
    import polars as pl

    from auditlens.lake import Lake

__all__ = ["Inferred", "infer"]

_BODIES: Final = 20  # so many bodies without managedFields say that they are left out


@dataclass(frozen=True, slots=True)
class Inferred:
    """The policy a log fits, and how well.

    text: the policy as commented YAML. agreement: the share (0 to 1) of events whose level and stage it explains.
    recorded: one row per verb and resource: levels and stages found, events, users.
    differences: where another policy would have written something else, by verb, resource and stage: level_recorded,
        level_policy (null: not written), events; empty if none was given.
    notes: what the log cannot tell.
    """

    policy: Policy
    text: str
    agreement: float
    recorded: pl.DataFrame
    differences: pl.DataFrame
    notes: tuple[str, ...]


class _What(NamedTuple):
    """What was asked for: a resource, or the first segment of a path."""

    group: str | None  # None for a path
    resource: str  # with subresource; or /segment


class _Key(NamedTuple):
    """What a rule decides."""

    level: Level
    omitted: tuple[Stage, ...]


def infer(
    lake: Lake | str,
    *,
    against: Policy | None = None,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    cluster: str | None = None,
) -> Inferred:
    """Infer the policy behind a lake's events; `against` is compared with them. Raises UsageError if there are none."""
    from auditlens.lake import Lake

    lake = lake if isinstance(lake, Lake) else Lake(lake)
    traffic = survey(lake, [against] if against else [], since=since, until=until, cluster=cluster)
    con = traffic.con
    # a shipper put its own word there; what the apiserver recorded is lost
    foreign = con.execute(f"delete from traffic where recorded and level not in ({listed(LEVELS)})").fetchall()[0][0]
    if not con.execute("select count(*) from traffic where recorded").fetchall()[0][0]:
        raise UsageError("there are no events here whose level a policy gave them: nothing to infer a policy from")
    recorded = con.sql(f"""
        select verb, {THING} as resource, list_sort(list(distinct level)) as levels, list_sort(list(distinct stage)) as stages,
            sum(events)::bigint as events, count(distinct username) as users
        from traffic where recorded group by all order by events desc, verb, resource
    """).pl()
    rules, notes = _rules(traffic)
    managed, bodies = con.execute(
        "select coalesce(sum(managed_response), 0), coalesce(sum(events) filter (response_bytes > 0 and verb <> 'delete'), 0) from traffic"
    ).fetchall()[0]
    everywhere = set.intersection(*(set(r.omit_stages) for r in rules)) if rules else set()
    common = tuple(s for s in STAGES if s in everywhere)
    policy = Policy(
        omit_stages=common,
        omit_managed_fields=bodies >= _BODIES and not managed,
        rules=tuple(r.model_copy(update={"omit_stages": tuple(s for s in r.omit_stages if s not in common)}) for r in rules),
    )
    judge(traffic, policy)
    right, whole = con.execute(
        "select coalesce(sum(events) filter (written and level_then = level), 0), coalesce(sum(events), 0) from judged where recorded"
    ).fetchall()[0]
    agreement = float(right) / float(whole) if whole else 0.0
    notes += [f"not in this log, so dropped or never asked: {noise.what}" for noise in NOISE if not _seen(traffic, noise.rule)]
    if foreign:
        notes.append("events whose level is no audit level are left out: a shipper has overwritten it")
    if agreement < 1:
        notes.append(
            f"{(1 - agreement) * 100:.2f} % of the events are not explained: rules by name, or several policies over time"
        )
    head = f"Inferred from {whole:,} events from {traffic.first} to {traffic.last}; explains {agreement * 100:.2f} % of them."
    text = dump(policy, {None: "\n".join([head, *(f"{note[:1].upper()}{note[1:]}." for note in notes)])})
    return Inferred(policy, text, agreement, recorded, _differences(traffic, against), tuple(notes))


def _seen(traffic: RequestCounts, rule: Rule) -> bool:
    select = f"select 1 from traffic where recorded and ({rule_sql(Policy(rules=(rule,)))}) = 0 limit 1"
    return bool(traffic.con.execute(select).fetchall())


def _differences(traffic: RequestCounts, policy: Policy | None) -> pl.DataFrame:
    import polars as pl

    if policy is None:
        return pl.DataFrame()
    frame: pl.DataFrame = traffic.con.sql(f"""
        select verb, {THING} as resource, stage, level as level_recorded, case when written then level_then end as level_policy,
            any_value(rule) as rule, sum(events)::bigint as events
        from {judge(traffic, policy)} where recorded and (not written or level_then <> level)
        group by verb, {THING}, stage, level, case when written then level_then end
        order by events desc, verb, resource, stage, level
    """).pl()
    return frame


def _rules(traffic: RequestCounts) -> tuple[list[Rule], list[str]]:
    """Rules that explain the levels seen: exceptions by user first, then by resource, by verb, and what is left."""
    rows = traffic.con.execute(f"""
        select username, verb, case when is_resource_request then coalesce(api_group, '') end,
            case when is_resource_request then coalesce(resource, '') || coalesce('/' || nullif(subresource, ''), '')
                else '/' || split_part(coalesce(path, ''), '/', 2) end,
            level, list(distinct stage), sum(events)::bigint, bool_or({LONG_RUNNING}), bool_and(coalesce(code, 0) = 401)
        from traffic where recorded group by 1, 2, 3, 4, level
    """).fetchall()
    if not rows:
        return [], ["the log holds no audit events"]
    stages: dict[tuple[str, _What], set[str]] = defaultdict(set)
    long: set[tuple[str, _What]] = set()
    levels: dict[tuple[str, _What], Counter[str]] = defaultdict(Counter)
    users: dict[tuple[str, _What], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for username, verb, group, resource, level, found, events, running, failed in rows:
        kind = (verb or "", _What(group, resource))
        if failed and username is None:
            continue  # a failed login has one stage, whatever the policy
        stages[kind].update(found)
        levels[kind][level] += events
        users[kind][username or ""][level] += events
        if running:
            long.add(kind)
    mixed: dict[tuple[str, Level, tuple[Stage, ...]], list[tuple[str, _What]]] = defaultdict(list)
    keys: dict[tuple[str, _What], _Key] = {}
    for kind, seen in levels.items():
        omitted = _omitted(stages[kind], kind in long)
        usual = seen.most_common(1)[0][0]
        keys[kind] = _Key(usual, omitted)  # type: ignore[arg-type]
        for user, own in users[kind].items():
            other = own.most_common(1)[0][0]
            if other != usual and user:
                mixed[user, other, omitted].append(kind)  # type: ignore[index]
    out: list[Rule] = []
    by_user: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for (user, level, omitted), kinds in mixed.items():
        by_user[level, omitted, tuple(sorted(kinds, key=repr))].append(user)
    for (level, omitted, kinds), names in by_user.items():
        for rule in _by_kind({kind: _Key(level, omitted) for kind in kinds}):
            out.append(rule.model_copy(update={"users": tuple(sorted(names))}))
    return [*out, *_decided(keys)], []


def _omitted(found: Iterable[str], long_running: bool) -> tuple[Stage, ...]:
    """The stages that requests of a kind must have come to and that are not there."""
    have = set(found)
    lacking: list[Stage] = []
    if "RequestReceived" not in have:
        lacking.append("RequestReceived")
    if long_running and "ResponseStarted" not in have and "ResponseComplete" in have:
        lacking.append("ResponseStarted")
    if have == {"RequestReceived"}:
        lacking.append("ResponseComplete")
    return tuple(lacking)


def _decided(keys: Mapping[tuple[str, _What], _Key]) -> list[Rule]:
    """Rules for the kinds: resources that are always treated alike, then verbs, then the rest."""
    rest = _most(list(keys.values()))  # a default is about kinds not seen, so the number of events does not count
    of_verb = {verb: _most([k for (v, _), k in keys.items() if v == verb]) for verb in {v for v, _ in keys}}
    odd = {kind: key for kind, key in keys.items() if key != of_verb[kind[0]]}
    whole: dict[_What, set[_Key]] = defaultdict(set)
    for (_, what), key in keys.items():
        whole[what].add(key)
    always = {what: next(iter(found)) for what, found in whole.items() if len(found) == 1 and any(what == w for _, w in odd)}
    out = list(_by_kind({kind: key for kind, key in odd.items() if kind[1] not in always}))
    out += _by_kind({("", what): key for what, key in always.items()})
    for key in sorted({k for k in of_verb.values() if k != rest}, key=lambda k: -LEVELS.index(k.level)):
        verbs = tuple(sorted(verb for verb, own in of_verb.items() if own == key))
        out.append(Rule(level=key.level, verbs=verbs, omit_stages=key.omitted))
    return [*out, Rule(level=rest.level, omit_stages=rest.omitted)]


def _by_kind(keys: Mapping[tuple[str, _What], _Key]) -> Iterable[Rule]:
    """One rule for all kinds of the same verbs and key; verb "" is every verb."""
    verbs: dict[tuple[_Key, _What], list[str]] = defaultdict(list)
    for (verb, what), key in sorted(keys.items(), key=repr):
        verbs[key, what].append(verb)
    same: dict[tuple[_Key, tuple[str, ...], bool], list[_What]] = defaultdict(list)
    for (key, what), own in verbs.items():
        same[key, tuple(own) if own != [""] else (), what.group is None].append(what)
    for (key, own_verbs, is_path), whats in same.items():
        rule = Rule(level=key.level, verbs=own_verbs, omit_stages=key.omitted)
        if is_path:
            yield rule.model_copy(update={"non_resource_urls": tuple(f"{w.resource}*" for w in whats)})
            continue
        groups = dict.fromkeys(w.group or "" for w in whats)
        entries = tuple(GroupResources(group=g, resources=tuple(w.resource for w in whats if w.group == g)) for g in groups)
        yield rule.model_copy(update={"resources": entries})


def _most(keys: list[_Key]) -> _Key:
    return Counter(keys).most_common(1)[0][0]
