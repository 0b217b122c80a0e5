"""What the policy tests share: where the peers' data would be, and policies and requests that are mean on purpose."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from auditlens.policy import STAGES, GroupResources, Policy, Request, Rule

SHARED = Path(__file__).resolve().parents[3] / "shared" / "peers"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the peers' data is not beside this checkout")

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

# Few values, so that rules and requests meet; each list holds the odd ones of its kind.
USERS = ["alice", "bob", "", "system:node:n1", "it's", "*", "Alice"]
GROUPS = ["dev", "system:nodes", "system:authenticated", "*", "", 'say "hi"']
VERBS = ["get", "get", "list", "create", "delete", "*", "", "GET", "post"]
NAMESPACES = ["", "default", "kube-system", "*", "o'brien"]
API_GROUPS = ["", "", "apps", "batch", "example.com"]
RESOURCES = ["pods", "pods", "pods", "secrets", "deployments", "namespaces", "", "*", "Pods", "po'ds"]
SUBRESOURCES = ["", "", "log", "status", "exec", "*", "'"]
NAMES = ["", "a", "b", "*", "';--", "kube-root-ca.crt", "nul\0byte"]
PATHS = ["", "/", "/healthz", "/healthzzz", "/api", "/metrics", "/a'b", "/x?y=1", "*", "/*", "healthz", "/ü"]
RULE_RESOURCES = [
    *("pods", "secrets", "deployments", "*", "*/*", "pods/*", "pods/log", "*/log", "*/status", "/log", "pods/", "*/"),
    *("po*", "Pods", "", "/*", "*/*/x", "pods/log/x", "po'ds", "pods/'", "pods/**", "**", "namespaces"),
]
RULE_URLS = ["*", "/", "/*", "/healthz", "/healthz*", "/api*", "/a'b", "/a'*", "/x?y=1", "/ü*", "/metrics"]


def some(dice: random.Random, values: list[str], most: int = 3) -> tuple[str, ...]:
    """Some of the values, twice at times, often none."""
    return tuple(dice.choice(values) for _ in range(dice.choice([0, 0, 1, most])))


def mean_rule(dice: random.Random) -> Rule:
    kind = dice.choice(["any", "resource", "resource", "resource", "url"])
    resources = []
    for _ in range(dice.randint(0, 3) if kind == "resource" else 0):
        wanted = some(dice, RULE_RESOURCES, 4)
        names = some(dice, NAMES) if wanted else ()
        group = dice.choice([*API_GROUPS, "*"])
        resources.append(GroupResources(group=group, resources=wanted, resource_names=names))
    return Rule(
        level=dice.choice(["None", "Metadata", "Request", "RequestResponse"]),
        users=some(dice, USERS),
        user_groups=some(dice, GROUPS),
        verbs=some(dice, VERBS),
        resources=tuple(resources),
        namespaces=some(dice, NAMESPACES) if kind == "resource" else (),
        non_resource_urls=some(dice, RULE_URLS) if kind == "url" else (),
        omit_stages=tuple(dice.sample(STAGES, dice.choice([0, 0, 1, 3]))),
        omit_managed_fields=dice.choice([None, None, True, False]),
    )


def mean_policy(dice: random.Random, version: str = "1.36") -> Policy:
    return Policy(
        rules=tuple(mean_rule(dice) for _ in range(dice.randint(0, 9))),
        omit_stages=tuple(dice.sample(STAGES, dice.choice([0, 0, 1, 2]))),
        omit_managed_fields=dice.random() < 0.3,
        kubernetes_version=version,
    )


def mean_request(dice: random.Random) -> Request:
    user = None if dice.random() < 0.15 else dice.choice(USERS)
    groups = () if user is None else some(dice, GROUPS)
    verb = dice.choice(VERBS)
    if dice.random() < 0.3:
        return Request(user=user, groups=groups, verb=verb, path=dice.choice(PATHS))
    return Request(
        user=user,
        groups=groups,
        verb=verb,
        resource_request=True,
        namespace=dice.choice(NAMESPACES),
        api_group=dice.choice(API_GROUPS),
        resource=dice.choice(RESOURCES),
        subresource=dice.choice(SUBRESOURCES),
        name=dice.choice(NAMES),
        path=dice.choice(PATHS),
    )


def attributes(user: str | None = "tim@k8s.io", groups: tuple[str, ...] = (), **rest: Any) -> dict[str, Any]:
    """Attributes as evaluate() takes them; a resource makes a resource request of them."""
    return {"user": user, "groups": list(groups), "resourceRequest": "resource" in rest, **rest}
