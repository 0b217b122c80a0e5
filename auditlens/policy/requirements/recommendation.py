"""recommend() writes the smallest policy under which chosen questions stay answerable, from the traffic it will meet."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditlens.answers.questions import Logged
from auditlens.errors import UsageError
from auditlens.policy.apiserver.model import Policy, Rule
from auditlens.policy.apiserver.sql import rule_sql
from auditlens.policy.apiserver.versions import DEFAULT_VERSION, features
from auditlens.policy.requirements.presets import load_preset
from auditlens.policy.requirements.report import write
from auditlens.policy.requirements.requirement import FAILED_LOGINS, Requirement, find_requirements, need_rule
from auditlens.policy.requirements.synthesis import Planned, narrowed, plan
from auditlens.policy.simulation.noise import NOISE, Noise
from auditlens.policy.simulation.request_counts import RequestCounts, empty, survey
from auditlens.policy.simulation.volume import Volume, judge, total, volume

if TYPE_CHECKING:
    from auditlens.lake import Lake

__all__ = ["Cost", "Recommendation", "budget_bytes", "recommend"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a requirement adds to the volume: bytes a day that would be saved without it, and bytes a day of it alone."""

    requirement: str
    saved: int
    alone: int


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A policy and what it is made for.

    text: the policy as commented YAML, which loads strictly and lints clean.
    predicted: what it would have written of the surveyed traffic; now: what the log holds of it.
    given_up: what can no longer be told, in words.
    budget: bytes a day asked for, None if none was; `fits` is False if the requirements need more, `costs` then says how much
        each of them.
    """

    policy: Policy
    text: str
    requirements: tuple[Requirement, ...]
    traffic: RequestCounts
    predicted: Volume
    now: Volume
    given_up: tuple[str, ...]
    budget: int | None
    fits: bool
    costs: tuple[Cost, ...]

    @property
    def bytes_per_day(self) -> int:
        """Predicted bytes a day; 0 where nothing was measured."""
        return round(self.predicted.bytes * self.traffic.per_day)


def recommend(
    lake: Lake | str | None = None,
    keep: Iterable[str] = ("all",),
    *,
    budget: str | None = None,
    base: Policy | str | None = None,
    kubernetes_version: str = DEFAULT_VERSION,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    cluster: str | None = None,
    more: Sequence[Requirement] = (),
) -> Recommendation:
    """Recommend a policy.

    Args:
        lake: where the traffic is measured; None, or a lake without events: from the requirements alone.
        keep: questions and groups of them that must stay answerable, `all` for every one.
        budget: bytes a day ("2GB/day") or a share of what is written now ("20%").
        base: a policy or the name of a preset whose rules of level None are tried as well as the noise known here.
        kubernetes_version: the release the policy is for.
        since, until, cluster: what of the lake is measured.
        more: further requirements to choose from.

    Raises:
        UsageError: there is no such question, group or preset, or the budget is no size.
    """
    from auditlens.lake import Lake

    requirements = find_requirements(keep, more)
    if isinstance(base, str):
        base = load_preset(base)
    if isinstance(lake, str):
        lake = Lake(lake)
    traffic = survey(lake, [base] if base else [], since=since, until=until, cluster=cluster) if lake is not None else empty()
    noise = (*_noise_of(base), *NOISE) if base else NOISE
    judge(traffic, Policy(kubernetes_version=kubernetes_version))
    now = total(traffic.con, "select sum(events_now), sum(bytes_now), 0 from judged")
    planned, policy, predicted = _smallest(traffic, requirements, noise, kubernetes_version)
    limit = None if budget is None else budget_bytes(budget, now, traffic)
    fits = limit is None or not traffic.events or predicted.bytes * traffic.per_day <= limit
    costs = () if fits else _costs(traffic, requirements, noise, kubernetes_version, predicted)
    given_up = tuple(dict.fromkeys(p.lost for p in planned if p.lost))
    text = write(policy, planned, requirements, traffic, now, predicted, given_up)
    return Recommendation(policy, text, requirements, traffic, predicted, now, given_up, limit, fits, costs)


def budget_bytes(text: str, now: Volume, traffic: RequestCounts) -> int:
    """Bytes a day of "2GB/day", "500 MiB" or "20%" (of what the log holds now); UsageError for another text."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%|[kMGT]i?B?|B)?\s*(?:/\s*day)?\s*", text)
    if match is None:
        raise UsageError(f"budget {text!r}: write it like 2GB/day, 500MiB/day or 20%")
    unit = match[2] or "B"
    if unit == "%":
        if not traffic.events:
            raise UsageError(f"budget {text!r} is a share of the log, and the lake holds none; give bytes a day")
        return round(float(match[1]) / 100 * now.bytes * traffic.per_day)
    power = " kMGT".index(unit[0]) if unit[0] in "kMGT" else 0
    return round(float(match[1]) * float(1024 if "i" in unit else 1000) ** power)


def _noise_of(base: Policy) -> tuple[Noise, ...]:
    """What a policy drops, as long as nothing before it in that policy is written after all."""
    found = []
    for index, rule in enumerate(base.rules):
        if rule.level == "None":
            found.append(
                Noise(rule, f"dropped by {base.file or 'the base policy'}, rules[{index}]", f"what its rules[{index}] drops")
            )
    return tuple(found)


def _smallest(
    traffic: RequestCounts, requirements: Sequence[Requirement], noise: Sequence[Noise], version: str
) -> tuple[list[Planned], Policy, Volume]:
    """The plan without the drops that save nothing measured."""
    release = features(version)
    needs = [need for requirement in requirements for need in requirement.needs]
    possible = [left for n in noise if (left := narrowed(n, needs, release)) is not None]
    # a need of failures only: dropped requests may not have been among them, and that has to be measured
    failures = [need for need in (*needs, *FAILED_LOGINS.needs) if need.codes]
    allowed = [n for n in possible if not _hurts(traffic, n.rule, failures, version)]
    planned = plan(requirements, allowed, release)
    policy = _policy(planned, version, needs)
    size = volume(traffic, policy)
    place = 0
    while traffic.events and place < len(planned):
        if planned[place].kind in ("noise", "unneeded") and volume(traffic, policy, place).bytes <= size.bytes:
            planned.pop(place)
            policy = _policy(planned, version, needs)
            size = volume(traffic, policy)
        else:
            place += 1
    return planned, policy, size


def _hurts(traffic: RequestCounts, rule: Rule, needs: Sequence[Logged], version: str) -> bool:
    """Whether a dropped kind of request was among the failures a need is about; without traffic, it might be."""
    for need in needs:
        wanted = need_rule(need)
        if not traffic.events:
            if need.codes != ("401",):  # nobody who failed to log in has a user or group
                return True
            continue
        both = [rule_sql(Policy(rules=(r,), kubernetes_version=version)) for r in (rule, wanted)]
        codes = " or ".join(f"code // 100 = {code[0]}" if code.endswith("xx") else f"code = {code}" for code in need.codes)
        select = f"select 1 from traffic where ({both[0]}) = 0 and ({both[1]}) = 0 and ({codes}) limit 1"
        if traffic.con.execute(select).fetchall():
            return True
    return False


def _policy(planned: Sequence[Planned], version: str, needs: Iterable[Logged]) -> Policy:
    """The plan as a policy; RequestReceived is left out once for all if nobody needs it."""
    anywhere = any(p.received for p in planned)
    rules = [
        p.rule.model_copy(update={"omit_stages": ("RequestReceived",)})
        if anywhere and not p.received and p.rule.level != "None" else p.rule
        for p in planned
    ]  # fmt: skip
    release = features(version)
    return Policy(
        omit_stages=() if anywhere else ("RequestReceived",),
        omit_managed_fields=release.managed_fields and not any(need.managed_fields for need in needs),
        rules=tuple(rules),
        kubernetes_version=version,
    )


def _costs(
    traffic: RequestCounts, requirements: Sequence[Requirement], noise: Sequence[Noise], version: str, predicted: Volume
) -> tuple[Cost, ...]:
    """What each requirement costs, the dearest first."""
    out = []
    for requirement in requirements:
        without = _smallest(traffic, [w for w in requirements if w is not requirement], noise, version)[2]
        alone = _smallest(traffic, [requirement], noise, version)[2]
        day = traffic.per_day
        out.append(Cost(requirement.name, round((predicted.bytes - without.bytes) * day), round(alone.bytes * day)))
    return tuple(sorted(out, key=lambda cost: (-cost.saved, -cost.alone, cost.requirement)))
