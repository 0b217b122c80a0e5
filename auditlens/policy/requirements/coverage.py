"""coverage() says which questions could be answered from a log that a policy writes, which not, and which rule is lacking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from auditlens.answers.questions import Logged
from auditlens.policy.apiserver.evaluator import Request, evaluate
from auditlens.policy.apiserver.model import LEVELS, Policy, Rule
from auditlens.policy.apiserver.rewrite import dump
from auditlens.policy.apiserver.served import RESOURCE_VERBS
from auditlens.policy.requirements.requirement import Loss, Requirement, find_requirements, losses, need_rule

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Answerable", "coverage", "coverage_brief", "coverage_frame", "describe"]

Grade = Literal["yes", "except", "partly", "no"]
# What stands for the resources a need does not name.
_TYPICAL: Final = (("", "pods"), ("apps", "deployments"), ("example.com", "widgets"))


@dataclass(frozen=True, slots=True)
class Answerable:
    """Whether a question can be answered: yes (all it needs is logged but for the content of secrets and the like),
    except (all of ordinary requests; `losses` name the exceptions, and stages left out), partly (with less than it
    needs, or of some requests), no (what it is about is not logged at all).

    `rules` would fulfil the needs that are not, put before the rules that take the requests away.
    """

    requirement: Requirement
    grade: Grade
    losses: tuple[Loss, ...]
    rules: tuple[Rule, ...]

    def withheld(self, *, by_choice: bool) -> tuple[str, ...]:
        """The losses in words, each once."""
        return tuple(dict.fromkeys(describe(loss) for loss in self.losses if loss.by_choice is by_choice))

    def rules_text(self) -> str:
        """The rules as YAML list items."""
        return dump(Policy(rules=self.rules)).partition("rules:\n")[2]


def coverage(policy: Policy, keep: Iterable[str] = ("all",), more: Sequence[Requirement] = ()) -> list[Answerable]:
    """Judge questions (names, groups or `all`) under a policy, for all requests there can be."""
    return [_judge(policy, requirement) for requirement in find_requirements(keep, more)]


def coverage_frame(answers: Sequence[Answerable]) -> pl.DataFrame:
    """One row per question: question, answerable, withheld (in words), by_choice, rules_needed (YAML)."""
    import polars as pl

    rows = []
    for answer in answers:
        rows.append(
            {
                "question": answer.requirement.name,
                "answerable": answer.grade,
                "withheld": "; ".join(answer.withheld(by_choice=False)) or None,
                "by_choice": "; ".join(answer.withheld(by_choice=True)) or None,
                "rules_needed": answer.rules_text() or None,
            }
        )
    columns = ("question", "answerable", "withheld", "by_choice", "rules_needed")
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def coverage_brief(answers: Sequence[Answerable]) -> pl.DataFrame:
    """One row per question that fits a terminal: question, answerable, withheld (by which rules), by_choice."""
    import polars as pl

    def brief(losses: Iterable[Loss]) -> str | None:
        rules: dict[str, dict[str, None]] = {}
        for loss in losses:
            rules.setdefault(loss.why, {})["none" if loss.rule is None else str(loss.rule)] = None
        return "; ".join(f"{why} (rule{'s' * (len(found) > 1)} {', '.join(found)})" for why, found in rules.items()) or None

    rows = [
        (
            a.requirement.name,
            a.grade,
            brief(loss for loss in a.losses if not loss.by_choice),
            brief(loss for loss in a.losses if loss.by_choice),
        )
        for a in answers
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("question", "answerable", "withheld", "by_choice"), pl.String), orient="row")


def describe(loss: Loss) -> str:
    """A loss in words: rules[3] takes update of leases (coordination.k8s.io) by system:nodes: not logged."""
    rule = loss.what
    parts = [", ".join(rule.verbs) or "every verb"]
    things = [f"{', '.join(e.resources) or 'everything'} ({e.group or 'core'})" for e in rule.resources]
    if things or rule.non_resource_urls:
        parts.append("of " + "; ".join((*things, *rule.non_resource_urls)))
    if rule.namespaces:
        parts.append("in " + ", ".join(rule.namespaces))
    if rule.users or rule.user_groups:
        parts.append("by " + ", ".join((*rule.users, *rule.user_groups)))
    head = "no rule takes" if loss.rule is None else f"rules[{loss.rule}] takes"
    return f"{head} {' '.join(parts)}: {loss.why}"


def _judge(policy: Policy, requirement: Requirement) -> Answerable:
    found = {need: list(losses(policy, need)) for need in requirement.needs}
    grades: list[Grade] = [_grade(policy, need, lost) for need, lost in found.items()]
    grade: Grade = "no" if set(grades) == {"no"} else "partly" if {"no", "partly"} & set(grades) else "except"
    grade = grade if set(grades) - {"yes"} else "yes"
    lacking = tuple(need_rule(need) for need, lost in found.items() if any(not loss.by_choice for loss in lost))
    return Answerable(requirement, grade, tuple(loss for lost in found.values() for loss in lost), lacking)


def _grade(policy: Policy, need: Logged, lost: list[Loss]) -> Grade:
    if all(loss.by_choice for loss in lost):
        return "yes"
    written = [_level(policy, need, request) for request in _requests(need)]
    if all(level >= LEVELS.index(need.level) for level in written):
        return "except"
    return "partly" if any(written) else "no"


def _level(policy: Policy, need: Logged, request: Request) -> int:
    """The number of the level a request is written at in one of the stages needed; 0 is not at all."""
    decision = evaluate(policy, request)
    return LEVELS.index(decision.level) if any(stage not in decision.omit_stages for stage in need.stages) else 0


def _requests(need: Logged) -> Iterable[Request]:
    """Ordinary requests that a need is about."""
    things = [(group, text) for group, texts in need.resources for text in texts] or list(_TYPICAL)
    for verb in need.verbs or RESOURCE_VERBS:
        for group, text in things:
            resource, _, subresource = text.partition("/")
            yield Request(
                "someone",
                ("system:authenticated",),
                verb,
                True,
                "shop",
                group,
                resource,
                subresource,
                "" if verb == "list" else "x",
            )
