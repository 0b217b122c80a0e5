"""AP60x: what an investigation will miss."""

from __future__ import annotations

from collections.abc import Iterator

from auditlens.policy.apiserver.evaluator import stages_of
from auditlens.policy.apiserver.model import STAGES, Rule
from auditlens.policy.apiserver.shadow import covered
from auditlens.policy.lint.registry import Context, Hit, check


def _logs(context: Context) -> bool:
    return any(rule.level not in ("", "None") for rule in context.policy.rules)


@check(
    "AP601",
    "failed logins lost",
    "warning",
    "A request that fails authentication (401) is written at the stage ResponseStarted only; where that is left out, "
    "not one failed login is in the log.",
)
def lost_401(context: Context) -> Iterator[Hit]:
    fix = "Leave ResponseStarted in (it costs one line per watch or exec); leave RequestReceived out instead."
    for place, stage in enumerate(context.policy.omit_stages):
        if stage == "ResponseStarted" and _logs(context):
            yield Hit(("omitStages", place), "the policy leaves out every failed login", fix)
            return
    for index, rule in context.rules:
        anyone = not rule.users and not rule.user_groups
        if anyone and rule.level != "None" and "ResponseStarted" in rule.omit_stages:
            where = ("rules", index, "omitStages", rule.omit_stages.index("ResponseStarted"))
            yield Hit(where, f"rules[{index}] leaves out the failed logins it matches", fix)


@check(
    "AP602",
    "no catch-all",
    "warning",
    "A request that no rule matches is not logged at all, and nobody is told: new API groups, custom resources and "
    "URLs go unseen.",
)
def no_catch_all(context: Context) -> Iterator[Hit]:
    rules = context.policy.rules
    if rules and _logs(context) and not covered(Rule(level="Metadata"), rules, context.release):
        message = "the policy has no rule for the requests that none of its rules match"
        fix = "End it with `- level: Metadata`, or with `- level: None` to say that the rest is not wanted."
        yield Hit(("rules", len(rules) - 1), message, fix)


@check(
    "AP603",
    "nothing is logged",
    "info",
    "Every rule has level None.",
)
def logs_nothing(context: Context) -> Iterator[Hit]:
    if context.policy.rules and all(rule.level == "None" for rule in context.policy.rules):
        fix = "Give a rule another level; to switch auditing off, drop --audit-policy-file."
        yield Hit(("rules", 0, "level"), "this policy logs nothing", fix)


@check(
    "AP604",
    "outcome left out",
    "warning",
    "ResponseComplete is the only event with the answer's code and the authorization decision for most requests.",
)
def no_outcome(context: Context) -> Iterator[Hit]:
    fix = "Leave ResponseComplete in."
    if "ResponseComplete" in context.policy.omit_stages and _logs(context):
        place = context.policy.omit_stages.index("ResponseComplete")
        yield Hit(("omitStages", place), "the policy leaves out how requests ended", fix)
        return
    for index, rule in context.rules:
        if rule.level != "None" and "ResponseComplete" in rule.omit_stages:
            where = ("rules", index, "omitStages", rule.omit_stages.index("ResponseComplete"))
            yield Hit(where, f"rules[{index}] leaves out how its requests ended", fix)


@check(
    "AP605",
    "omitStages at level None",
    "info",
    "Level None writes no stage in any case.",
)
def pointless_stages(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        if rule.level == "None" and rule.omit_stages:
            yield Hit(("rules", index, "omitStages"), "omitStages has no effect at level None", "Remove it.")


@check(
    "AP606",
    "all stages left out",
    "warning",
    "The policy's omitStages and the rule's add up.",
)
def all_stages(context: Context) -> Iterator[Hit]:
    for index, rule in context.rules:
        if rule.level not in ("", "None") and len(stages_of(context.policy, rule)) == len(STAGES):
            message = f"rules[{index}] has level {rule.level} and writes nothing: every stage is left out"
            yield Hit(("rules", index), message, "Write level None, or leave stages in.")
