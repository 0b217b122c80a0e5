"""evaluate() decides as kube-apiserver does: its own test tables, and what surprises people."""

from __future__ import annotations

from typing import Any

import pytest

from auditlens.policy import Decision, GroupResources, Policy, Request, Rule, evaluate, explain, load

from .helpers import attributes

RBAC = "rbac.authorization.k8s.io"
TIM = {"user": "tim@k8s.io", "groups": ("humans", "developers")}

# The requests and rules of pkg/audit/policy/checker_test.go.
REQUESTS: dict[str, dict[str, Any]] = {
    "namespaced": attributes(**TIM, verb="get", resource="pods", namespace="default", name="busybox"),
    "cluster": attributes(**TIM, verb="get", resource="clusterroles", apiGroup=RBAC, name="edit"),
    "nonResource": attributes(**TIM, verb="get", path="/logs/kubelet.log"),
    "subresource": attributes(**TIM, verb="get", resource="pods", subresource="log", namespace="default", name="busybox"),
    "unauthorized": attributes(None, verb="get", resource="pods", namespace="default", name="busybox"),
    "clusterRoleUpdate": attributes(
        **TIM, verb="update", resource="clusterroles", subresource="status", apiGroup=RBAC, name="somerole"
    ),
}


def _get(level: Any, *resources: GroupResources, **rest: Any) -> Rule:
    return Rule(level=level, verbs=("get",), resources=resources, **rest)


RULES = {
    "default": Rule(level="Metadata"),
    "create": Rule(level="Request", verbs=("create",)),
    "tims": Rule(level="Metadata", users=("tim@k8s.io",)),
    "humans": Rule(level="Metadata", user_groups=("humans",)),
    "serviceAccounts": Rule(level="Request", user_groups=("system:serviceaccounts",)),
    "getPods": _get("RequestResponse", GroupResources(resources=("pods",))),
    "getPodLogs": _get("Request", GroupResources(resources=("pods/log",))),
    "any": _get("Request", GroupResources(resources=("*",))),
    "anyLog": _get("Request", GroupResources(resources=("*/log",))),
    "podsAny": _get("Request", GroupResources(resources=("pods/*",))),
    "getClusterRoles": _get("RequestResponse", GroupResources(group=RBAC, resources=("clusterroles",)), namespaces=("",)),
    "groupWild": Rule(
        level="RequestResponse", verbs=("update",), resources=(GroupResources(group="*", resources=("*/status",)),)
    ),
    "getLogs": Rule(level="RequestResponse", verbs=("get",), non_resource_urls=("/logs*",)),
    "getMetrics": Rule(level="Request", verbs=("get",), non_resource_urls=("/metrics",)),
    "clusterRoleEdit": Rule(
        level="Request",
        resources=(GroupResources(group=RBAC, resources=("clusterroles",), resource_names=("edit",)),),
    ),
    "omitReceived": Rule(level="Request", omit_stages=("RequestReceived",)),
    "onlyPanic": Rule(level="Request", omit_stages=("RequestReceived", "ResponseStarted", "ResponseComplete")),
}

NONE, META, REQ, RR = "None", "Metadata", "Request", "RequestResponse"
TABLE = {
    "namespaced": {
        "default": META, "create": NONE, "tims": META, "humans": META, "serviceAccounts": NONE, "getPods": RR,
        "getClusterRoles": NONE, "getLogs": NONE, "getMetrics": NONE, "getMetrics serviceAccounts default": META,
        "getMetrics getPods default": RR, "getPodLogs getPods": RR, "omitReceived getPods default": REQ,
        "onlyPanic getPods default": REQ,
    },
    "cluster": {
        "default": META, "create": NONE, "tims": META, "humans": META, "serviceAccounts": NONE, "getPods": NONE,
        "getClusterRoles": RR, "clusterRoleEdit getClusterRoles": REQ, "getLogs": NONE, "getMetrics": NONE,
        "getMetrics serviceAccounts default": META, "getMetrics getClusterRoles default": RR,
        "getPodLogs getPods": NONE,
    },
    "nonResource": {
        "default": META, "create": NONE, "tims": META, "humans": META, "serviceAccounts": NONE, "getPods": NONE,
        "getClusterRoles": NONE, "getLogs": RR, "getMetrics": NONE, "getMetrics serviceAccounts default": META,
        "getLogs getClusterRoles default": RR, "getPodLogs getPods": NONE,
    },
    "subresource": {"getPodLogs getPods": REQ, "any": REQ, "anyLog": REQ, "podsAny": REQ},
    "unauthorized": {"tims": NONE, "tims default": META, "humans": NONE, "humans default": META},
    "clusterRoleUpdate": {"groupWild": RR},
}  # fmt: skip


@pytest.mark.parametrize("policy_wide", [(), ("RequestReceived", "ResponseStarted")])
@pytest.mark.parametrize(
    ("request_name", "names", "level"),
    [(request, names, level) for request, rows in TABLE.items() for names, level in rows.items()],
)
def test_the_tables_of_kubernetes_come_out(request_name: str, names: str, level: str, policy_wide: tuple[Any, ...]) -> None:
    rules = tuple(RULES[name] for name in names.split())
    policy = Policy(rules=rules, omit_stages=policy_wide)
    decision = evaluate(policy, REQUESTS[request_name])
    assert decision.level == level
    decided = () if decision.rule is None else rules[decision.rule].omit_stages
    assert set(decision.omit_stages) == {*policy_wide, *decided}


@pytest.mark.parametrize(
    ("policy_wide", "rule", "expected"),
    [(False, None, False), (True, None, True), (True, False, False), (False, True, True)],
)
def test_a_rules_word_on_managed_fields_beats_the_policys(policy_wide: bool, rule: bool | None, expected: bool) -> None:
    rules = (Rule(level="RequestResponse", verbs=("get",), omit_managed_fields=rule),)
    policy = Policy(rules=rules, omit_managed_fields=policy_wide)
    assert evaluate(policy, {"verb": "get"}).omit_managed_fields is expected
    assert evaluate(policy, {"verb": "put"}).omit_managed_fields is policy_wide


def test_nothing_matched_is_nothing_logged() -> None:
    policy = Policy(rules=(RULES["create"],), omit_stages=("Panic",))
    assert evaluate(policy, REQUESTS["cluster"]) == Decision("None", ("Panic",), False, None)


def _matches(wanted: str, version: str = "1.36", **request: Any) -> bool:
    rule = Rule(level="Metadata", resources=(GroupResources(resources=(wanted,)),))
    return evaluate(Policy(rules=(rule,)), attributes(**request), version).rule == 0


@pytest.mark.parametrize(
    ("wanted", "plain", "log"),
    [
        ("pods", True, False),
        ("pods/log", False, True),
        ("pods/*", True, True),  # the surprise
        ("*/log", False, True),
        ("*/*", False, False),  # the other one
        ("*", True, True),
        ("pods/", False, False),
        ("po*", False, False),
        ("Pods", False, False),
    ],
)
def test_what_a_resource_in_a_rule_matches(wanted: str, plain: bool, log: bool) -> None:
    assert _matches(wanted, resource="pods") is plain
    assert _matches(wanted, resource="pods", subresource="log") is log


def test_older_releases_match_resources_their_way() -> None:
    def log(wanted: str, version: str) -> bool:
        return _matches(wanted, version, resource="pods", subresource="log")

    assert [log("pods", v) for v in ("1.7", "1.8", "1.36")] == [True, False, False]
    assert [log("pods/log", v) for v in ("1.7", "1.8")] == [False, True]
    assert [log("pods/*", v) for v in ("1.9", "1.10")] == [False, True]
    group = Rule(level="Metadata", resources=(GroupResources(group="*"),))
    asked = [evaluate(Policy(rules=(group,)), attributes(resource="pods"), v).rule for v in ("1.35", "1.36")]
    assert asked == [None, 0]


def test_before_1_9_a_request_without_a_user_passed_the_conditions_on_users() -> None:
    for rule in (RULES["tims"], RULES["humans"]):
        asked = [evaluate(Policy(rules=(rule,)), REQUESTS["unauthorized"], v).rule for v in ("1.8", "1.9")]
        assert asked == [0, None]


def test_a_user_with_an_empty_name_is_still_a_user() -> None:
    policy = Policy(rules=(Rule(level="Metadata", users=("",)),))
    assert evaluate(policy, {"user": ""}).rule == 0
    assert evaluate(policy, {"user": None}).rule is None


def test_namespaces_and_names_surprise() -> None:
    cluster = Policy(rules=(Rule(level="Metadata", namespaces=("",)),))
    assert evaluate(cluster, attributes(resource="pods", verb="list")).rule == 0  # of all namespaces
    assert evaluate(cluster, attributes(resource="namespaces", namespace="foo", name="foo")).rule is None
    assert evaluate(cluster, attributes(path="/healthz")).rule is None
    named = Policy(rules=(_get("Metadata", GroupResources(resources=("pods",), resource_names=("a",))),))
    assert evaluate(named, attributes(resource="pods", verb="get", name="a")).rule == 0
    assert evaluate(named, attributes(resource="pods", verb="get")).rule is None


@pytest.mark.parametrize(
    ("spec", "path", "matches"),
    [
        ("/healthz*", "/healthzzz", True),
        ("/healthz", "/healthz/", False),
        ("*", "", True),
        ("/*", "/x", True),
        ("/api**", "/api/v1", True),
    ],
)
def test_urls_match_as_text(spec: str, path: str, matches: bool) -> None:
    policy = Policy(rules=(Rule(level="Metadata", non_resource_urls=(spec,)),))
    assert (evaluate(policy, attributes(path=path)).rule == 0) is matches
    assert evaluate(policy, attributes(path=path, resource="pods")).rule is None


def test_an_explanation_says_of_each_rule_what_it_missed() -> None:
    rules = tuple(RULES[name] for name in ("create", "tims", "getLogs", "clusterRoleEdit", "getPods", "default", "any"))
    told = explain(Policy(rules=rules), attributes("bob", verb="get", resource="pods", name="web-1"))
    missed = [[miss.condition for miss in step.missed] for step in told.steps]
    assert missed == [["verbs"], ["users"], ["nonResourceURLs"], ["resources"], []]
    assert told.steps[-1].decides
    assert told.decision.rule == 4
    text = str(told)
    assert "rules[1] (<policy>:1) Metadata: users: 'bob' is not 'tim@k8s.io'" in text
    assert "API group 'core' is not 'rbac.authorization.k8s.io'" in text
    assert "rules[4] (<policy>:1) RequestResponse: matches, and decides" in text


def test_an_explanation_names_what_the_server_ignores_of_a_rule() -> None:
    text = """\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  users: [a]
  users: [b]
  resources:
  - {verbs: [get], apiGroup: apps}
- {level: Metadata, user: x, omitManagedFields: true}
"""
    told = explain(load(text), attributes("b", verb="get", resource="secrets"))
    assert told.decision.rule == 0
    assert told.steps[0].ignored == ("resources[0].apiGroup", "resources[0].verbs", "users of line 5, given again")
    assert "kube-apiserver ignores of this rule: resources[0].apiGroup, resources[0].verbs, users of line 5" in str(told)
    old = explain(load(text, "1.22"), attributes("c", verb="get", resource="secrets"), "1.22")
    assert [step.ignored for step in old.steps][1] == ("user", "omitManagedFields")


def test_an_explanation_tells_a_missing_name_from_a_wrong_resource() -> None:
    named = Rule(level="None", resources=(GroupResources(resources=("pods",), resource_names=("a", "b")),))
    policy = Policy(rules=(named,))
    create = str(explain(policy, attributes(verb="create", resource="pods")))
    assert "no name (unknown when the policy is asked), not one of 'a', 'b'" in create
    assert "'secrets' in group 'core' is not 'pods'" in str(explain(policy, attributes(resource="secrets")))
    assert "no rule matches: nothing is logged" in create


def test_a_request_given_by_its_path_alone_is_for_no_resource() -> None:
    """What is not said of a request is not made up: no resource, and nobody who is known."""
    policy = Policy(rules=(Rule(level="Request", non_resource_urls=("/logs*",)), Rule(level="Metadata")))
    assert evaluate(policy, Request(verb="get", path="/logs/a")).level == "Request"
    assert evaluate(Policy(rules=(Rule(level="Request", user_groups=("humans",)),)), Request(verb="get")).level == "None"
