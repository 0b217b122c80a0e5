"""What must stay answerable: questions and what each needs logged, held against what a policy writes.

A need is judged for every request there can be, by the same proof of shadowing that lint uses, not only for those seen.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from auditlens.answers.questions import EVERYTHING, Logged, questions
from auditlens.errors import UsageError
from auditlens.policy.apiserver.evaluator import stages_of
from auditlens.policy.apiserver.model import LEVELS, GroupResources, Level, Policy, Rule
from auditlens.policy.apiserver.shadow import covered, patterns
from auditlens.policy.apiserver.versions import Features, features

__all__ = ["FAILED_LOGINS", "SENSITIVE", "Loss", "Requirement", "find_requirements", "losses", "meet", "need_rule", "sensitive"]

# Whose content is never logged: a log of it is a second store of secrets, and questions do without.
SENSITIVE: Final = Rule(
    level="Metadata",
    resources=(
        GroupResources(resources=("secrets", "configmaps", "serviceaccounts/token")),
        GroupResources(group="authentication.k8s.io", resources=("tokenreviews",)),
    ),
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something to be answered, and what it needs logged; () needs nothing."""

    name: str
    title: str
    needs: tuple[Logged, ...]
    group: str = ""
    declared: bool = True  # else Metadata for everything is taken


# Kept with every recommendation: without it nobody sees a break-in being tried.
FAILED_LOGINS: Final = Requirement("failed-logins", "Failed logins (401)", (Logged(codes=("401",), stages=("ResponseStarted",)),))


def find_requirements(keep: Iterable[str] = ("all",), more: Sequence[Requirement] = ()) -> tuple[Requirement, ...]:
    """The questions of these names or groups, `all` for every one; `more` are others to choose from (detections).

    Raises UsageError for a word that is neither, with the nearest.
    """
    known = [
        Requirement(q.name, q.title, EVERYTHING if q.logged is None else q.logged, q.group, q.logged is not None)
        for q in questions().values()
    ]
    known += more
    words = {w.name for w in known} | {w.group for w in known if w.group} | {"all"}
    chosen: dict[str, Requirement] = {}
    for word in keep:
        if word not in words:
            near = difflib.get_close_matches(word, words, 3, 0.4)
            raise UsageError(f"there is no question or group {word!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        chosen |= {w.name: w for w in known if word in (w.name, w.group, "all")}
    return tuple(chosen[name] for name in sorted(chosen))


def need_rule(need: Logged) -> Rule:
    """A need as the rule that would fulfil it."""
    entries = tuple(GroupResources(group=group, resources=resources) for group, resources in need.resources)
    level: Level = need.level  # type: ignore[assignment]  # checked when the question was loaded
    return Rule(level=level, verbs=need.verbs, resources=entries)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a policy withholds from a need: `rule` (None: no rule) writes it too low, without a stage, or not at all."""

    need: Logged
    rule: int | None
    what: Rule  # the requests, as a rule would name them
    why: str
    by_choice: bool  # content of secrets and the like


def losses(policy: Policy, need: Logged) -> Iterator[Loss]:
    """Everything a policy withholds from a need, in the order of its rules; nothing if the need is fulfilled."""
    release = features(policy.kubernetes_version)
    wanted = need_rule(need)
    for index, rule in enumerate(policy.rules):
        missing = _missing(policy, rule, need)
        if not missing:
            continue
        meeting = meet(rule, wanted, release)
        if meeting is None or covered(meeting, policy.rules[:index], release):
            continue
        chosen = rule.level == "Metadata" and not _stages(policy, rule, need) and sensitive(meeting, release)
        yield Loss(need, index, meeting, missing, chosen)
    if not covered(wanted, policy.rules, release) and not any(r.takes == "any" and _all(r) for r in policy.rules):
        yield Loss(need, None, wanted, "no rule matches what the others leave", False)


def sensitive(rule: Rule, release: Features) -> bool:
    """Whether a rule can match nothing but secrets, configmaps and tokens."""
    return rule.takes == "resource" and bool(covered(rule, [SENSITIVE], release))


def meet(rule: Rule, other: Rule, release: Features) -> Rule | None:
    """The requests that match both rules, as a rule; None if there are none. `other` has verbs and resources only."""
    verbs = rule.verbs or other.verbs
    if rule.verbs and other.verbs:
        verbs = tuple(v for v in rule.verbs if v in other.verbs)
        if not verbs:
            return None
    if not other.resources:
        return rule.model_copy(update={"verbs": verbs})
    if rule.takes == "non-resource":
        return None
    if not rule.resources:
        return rule.model_copy(update={"verbs": verbs, "resources": other.resources})
    both = [e for mine in rule.resources for theirs in other.resources if (e := _meet(mine, theirs, release)) is not None]
    return rule.model_copy(update={"verbs": verbs, "resources": tuple(both)}) if both else None


def _meet(mine: GroupResources, theirs: GroupResources, release: Features) -> GroupResources | None:
    if mine.group != theirs.group and "*" not in (mine.group, theirs.group):
        return None
    group = mine.group if theirs.group == "*" else theirs.group
    found: list[str] = []
    for text in theirs.resources or ("*",):
        for own in mine.resources or ("*",):
            for a in patterns(text, release):
                for b in patterns(own, release):
                    narrower = text if a.inside(b) else own if b.inside(a) else None
                    if narrower is not None and narrower not in found:
                        found.append(narrower)
    return GroupResources(group=group, resources=tuple(found), resource_names=mine.resource_names) if found else None


def _missing(policy: Policy, rule: Rule, need: Logged) -> str:
    """What a rule withholds of a need, in words; "" if nothing."""
    if rule.level == "None":
        return "not logged"
    parts = [f"the stage {stage} is left out" for stage in _stages(policy, rule, need)]
    if LEVELS.index(rule.level) < LEVELS.index(need.level):
        parts.append(f"level {rule.level} instead of {need.level}")
    omit = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
    if need.managed_fields and omit:
        parts.append("managedFields are left out")
    return ", ".join(parts)


def _stages(policy: Policy, rule: Rule, need: Logged) -> list[str]:
    return [stage for stage in stages_of(policy, rule) if stage in (*need.stages, "Panic")]


def _all(rule: Rule) -> bool:
    return not (rule.users or rule.user_groups or rule.verbs)
