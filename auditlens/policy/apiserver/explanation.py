"""explain() goes through a policy's rules as the server does and says which condition of each was not met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditlens.policy.apiserver.evaluator import Decision, Request, evaluate, failed_conditions, request_of
from auditlens.policy.apiserver.model import GroupResources, Level, Policy, Rule
from auditlens.policy.apiserver.versions import Features, features

__all__ = ["Explanation", "Miss", "Step", "explain"]


@dataclass(frozen=True, slots=True)
class Miss:
    """A condition a request did not meet: the rule's field, and in words what it wants and what the request has."""

    condition: str
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """One rule on the way to the decision; it decides if nothing is missed. `ignored` is what the server drops of its text."""

    rule: int
    line: int
    level: Level
    missed: tuple[Miss, ...]
    ignored: tuple[str, ...] = ()

    @property
    def decides(self) -> bool:
        return not self.missed


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision and the rules up to the one that made it; all of them if none did."""

    decision: Decision
    steps: tuple[Step, ...]
    file: str | None = None

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            head = f"rules[{step.rule}] ({self.file or '<policy>'}:{step.line}) {step.level}"
            reasons = "; ".join(miss.why for miss in step.missed)
            lines.append(f"{head}: {reasons or 'matches, and decides'}")
            if step.ignored:
                lines.append(f"    kube-apiserver ignores of this rule: {', '.join(step.ignored)}")
        if self.decision.rule is None:
            lines.append("no rule matches: nothing is logged")
        omitted = ", ".join(self.decision.omit_stages) or "none"
        lines.append(f"level {self.decision.level}, stages left out: {omitted}")
        return "\n".join(lines)


def explain(policy: Policy, attributes: Mapping[str, Any] | Request, kubernetes_version: str | None = None) -> Explanation:
    """Explain a decision; the attributes are those of `evaluate`."""
    request = attributes if isinstance(attributes, Request) else request_of(attributes)
    release = features(kubernetes_version or policy.kubernetes_version)
    decision = evaluate(policy, request, kubernetes_version)
    last = len(policy.rules) if decision.rule is None else decision.rule + 1
    steps = []
    for index, rule in enumerate(policy.rules[:last]):
        missed = tuple(Miss(c, _why(c, rule, request, release)) for c in failed_conditions(rule, request, release))
        steps.append(Step(index, policy.position("rules", index).line, rule.level, missed, policy.ignored(index)))
    return Explanation(decision, tuple(steps), policy.file)


def _why(condition: str, rule: Rule, request: Request, release: Features) -> str:
    if condition in ("users", "userGroups") and request.user is None:
        return f"{condition}: the request is not authenticated, so no user or group matches"
    if condition == "users":
        return f"users: {request.user!r} is not {_one_of(rule.users)}"
    if condition == "userGroups":
        return f"userGroups: none of {_list(request.groups)} is {_one_of(rule.user_groups)}"
    if condition == "verbs":
        return f"verbs: {request.verb!r} is not {_one_of(rule.verbs)}"
    if condition == "nonResourceURLs":
        if request.resource_request:
            return "nonResourceURLs: the request is for a resource, the rule for other URLs only"
        return f"nonResourceURLs: path {request.path!r} is not under {_one_of(rule.non_resource_urls)}"
    if not request.resource_request:
        return f"{condition}: the request is for the path {request.path!r}, the rule for resources only"
    if condition == "namespaces":
        have = repr(request.namespace) if request.namespace else "'' (cluster-wide)"
        return f"namespaces: {have} is not {_one_of(rule.namespaces)}"
    return f"resources: {_resources(rule.resources, request, release)}"


def _resources(entries: tuple[GroupResources, ...], request: Request, release: Features) -> str:
    group = request.api_group or "core"
    same = [e for e in entries if e.group == request.api_group or (e.group == "*" and release.group_wildcard)]
    if not same:
        return f"API group {group!r} is not {_one_of(tuple(e.group or 'core' for e in entries))}"
    wanted = tuple(dict.fromkeys(resource for e in same for resource in e.resources))
    names = tuple(dict.fromkeys(name for e in same for name in e.resource_names))
    thing = f"{request.combined!r} in group {group!r}"
    unnamed = Request(**{**_fields(request), "name": name}) if (name := names[0] if names else "") else None
    probe = Rule(level="None", resources=tuple(same))
    if unnamed is not None and next(failed_conditions(probe, unnamed, release), None) is None:
        shown = repr(request.name) if request.name else "no name (unknown when the policy is asked)"
        return f"{thing} is wanted only under certain names; the request has {shown}, not {_one_of(names)}"
    return f"{thing} is not {_one_of(wanted)}"


def _fields(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in Request.__slots__}


def _one_of(values: tuple[str, ...]) -> str:
    if len(values) == 1:
        return repr(values[0])
    shown = [repr(value) for value in values[:5]]
    more = [f"{len(values) - 5} more"] if len(values) > 5 else []
    return f"one of {', '.join([*shown, *more])}"


def _list(values: tuple[str, ...]) -> str:
    return ", ".join(map(repr, values)) or "the request's groups (it has none)"
