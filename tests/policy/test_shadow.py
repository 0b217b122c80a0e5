"""A rule said to be shadowed never decides; the plain cases are found."""

from __future__ import annotations

import random

import pytest

from auditlens.policy import GroupResources, Policy, Request, Rule, evaluate, shadowing
from auditlens.policy.apiserver.shadow import ResourcePattern, dead_resources, overlap, patterns
from auditlens.policy.apiserver.versions import features

from .helpers import mean_policy, mean_request, mean_rule

NOW = features("1.36")


def _core(*resources: str, names: tuple[str, ...] = ()) -> tuple[GroupResources, ...]:
    return (GroupResources(resources=resources, resource_names=names),)


def _rule(**conditions: object) -> Rule:
    return Rule.model_validate({"level": "Metadata", **conditions})


SHADOWED = [
    ([_rule()], _rule(users=("a",)), (0,)),
    ([_rule(users=("a", "b"))], _rule(users=("b",), verbs=("get",)), (0,)),
    ([_rule(users=("a",)), _rule(users=("b",))], _rule(users=("a", "b")), (0, 1)),
    ([_rule(user_groups=("g", "h"))], _rule(user_groups=("g",)), (0,)),
    ([_rule(verbs=("get", "list"))], _rule(verbs=("get",), resources=_core("pods")), (0,)),
    ([_rule(verbs=("get",)), _rule(resources=_core("*"))], _rule(resources=_core("pods"), verbs=("get", "list")), (1,)),
    ([_rule(resources=_core("pods/*"))], _rule(resources=_core("pods", "pods/log")), (0,)),
    ([_rule(resources=_core("*/log"))], _rule(resources=_core("pods/log")), (0,)),
    ([_rule(resources=_core("*"))], _rule(resources=(GroupResources(),)), (0,)),
    ([_rule(resources=(GroupResources(group="*", resources=("*",)),))], _rule(resources=_core("pods")), (0,)),
    ([_rule(resources=_core("pods"))], _rule(resources=_core("pods", names=("x",)), namespaces=("n",)), (0,)),
    ([_rule(resources=_core("pods", names=("x",)))], _rule(resources=_core("pods", names=("x",))), (0,)),
    ([_rule(namespaces=("a", "b"))], _rule(namespaces=("b",), resources=_core("pods")), (0,)),
    ([_rule(non_resource_urls=("/api*",))], _rule(non_resource_urls=("/apis", "/api*", "/api/v1*")), (0,)),
    ([_rule(non_resource_urls=("*",)), _rule(resources=(GroupResources(group="*"),))], _rule(), (0, 1)),
]

REACHED = [
    ([_rule(users=("a",))], _rule()),
    ([_rule(users=("a",))], _rule(user_groups=("g",))),
    ([_rule(user_groups=("g",))], _rule(users=("a",))),
    ([_rule(users=("A",))], _rule(users=("a",))),
    ([_rule(verbs=("*",))], _rule(verbs=("get",))),
    ([_rule(resources=_core("pods"))], _rule(resources=_core("pods/log"))),
    ([_rule(resources=_core("pods/log", "pods/status"))], _rule(resources=_core("pods/*"))),
    ([_rule(resources=_core("*/*"))], _rule(resources=_core("pods/log"))),
    ([_rule(resources=_core("pods", names=("x",)))], _rule(resources=_core("pods"))),
    ([_rule(resources=_core("*"))], _rule(namespaces=("n",))),  # of every group
    ([_rule(namespaces=("",))], _rule(resources=_core("nodes"))),
    ([_rule(resources=(GroupResources(group="*"),))], _rule()),
    ([_rule(non_resource_urls=("/api",))], _rule(non_resource_urls=("/api*",))),
    ([_rule(non_resource_urls=("*",))], _rule(resources=_core("pods"))),
]


@pytest.mark.parametrize(("earlier", "rule", "by"), SHADOWED)
def test_a_shadowed_rule_is_found_with_those_that_shadow_it(earlier: list[Rule], rule: Rule, by: tuple[int, ...]) -> None:
    assert shadowing([*earlier, rule], len(earlier), NOW) == by


@pytest.mark.parametrize(("earlier", "rule"), REACHED)
def test_a_rule_that_can_be_reached_is_not_called_shadowed(earlier: list[Rule], rule: Rule) -> None:
    assert shadowing([*earlier, rule], len(earlier), NOW) == ()


def test_no_shadowed_rule_ever_decides() -> None:
    dice = random.Random(42)
    found = asked = 0
    for turn in range(400):
        version = dice.choice(["1.36", "1.36", "1.35", "1.9", "1.8", "1.7"])
        policy = mean_policy(dice, version)
        # A narrower or equal copy of an earlier rule, so that shadows are frequent.
        rules = list(policy.rules)
        for rule in list(rules):
            if dice.random() < 0.4:
                extra = {"verbs": rule.verbs[:1], "users": rule.users[:1] or dice.choice([(), ("alice",)])}
                rules.append(rule.model_copy(update=extra))
        policy = Policy(rules=tuple(rules), kubernetes_version=version)
        dead = [i for i in range(len(rules)) if shadowing(rules, i, features(version))]
        found += len(dead)
        if not dead:
            continue
        for _ in range(150):
            request = mean_request(dice)
            asked += 1
            assert evaluate(policy, request).rule not in dead, (turn, request)
    assert found > 200
    assert asked > 10_000


def test_patterns_say_what_matches() -> None:
    dice = random.Random(9)
    for _ in range(3000):
        rule = mean_rule(dice)
        request = mean_request(dice)
        for entry in rule.resources:
            for text in entry.resources:
                one = Rule(level="None", resources=(GroupResources(group=request.api_group, resources=(text,)),))
                matched = evaluate(Policy(rules=(one,)), request).rule == 0 if request.resource_request else False
                mine = ResourcePattern(request.resource, request.subresource)
                if request.resource_request:
                    assert matched == any(mine.inside(pattern) for pattern in patterns(text, NOW)), (text, request)


def test_dead_resources_match_no_url() -> None:
    entry = GroupResources(resources=("pods", "*/*", "pods/", "/log", "a/b/c", "po*", "*", "*/x", "x/*", "", "/*"))
    assert dead_resources(entry, NOW) == ("*/*", "pods/", "/log", "a/b/c", "po*", "", "/*")
    assert dead_resources(GroupResources(resources=("*", "pods/log")), features("1.7")) == ("*", "pods/log")


def test_overlap_narrows_a_rule_to_some_resources() -> None:
    secrets = GroupResources(resources=("secrets",))
    wide = overlap(_rule(verbs=("get",)), secrets, NOW)
    assert wide is not None
    assert wide.resources == _core("secrets")
    assert overlap(_rule(resources=_core("pods")), secrets, NOW) is None
    assert overlap(_rule(non_resource_urls=("*",)), secrets, NOW) is None
    named = overlap(_rule(resources=_core("*", names=("x",))), secrets, NOW)
    assert named is not None
    assert named.resources == _core("secrets", names=("x",))


def test_a_rule_of_very_many_boxes_is_left_alone() -> None:
    many = tuple(f"u{i}" for i in range(30_000))
    rules = [_rule(), _rule(users=many)]
    assert shadowing(rules, 1, NOW) == ()
    assert evaluate(Policy(rules=tuple(rules)), Request(user="u1")).rule == 0
