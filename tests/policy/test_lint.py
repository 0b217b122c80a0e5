"""Every check finds its fault where it stands, and nothing in a policy without it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.policy import Finding, as_json, as_sarif, as_text, lint
from auditlens.policy.lint import FAMILIES, checks

from .helpers import HEAD

CLEAN = """\
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: [/healthz*, /livez*, /readyz*]
- level: None
  resources:
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
  - {group: coordination.k8s.io, resources: [leases]}
"""
REST = "- level: Metadata\n"


def rules(text: str) -> str:
    """A policy that is clean but for these rules."""
    return HEAD + CLEAN + text + REST


BODIES = "- level: RequestResponse\n  resources: [{group: apps}]\n"

# id, a text with the fault, what stands where the finding points to, words of its message, a text like it without the fault
CASES: list[tuple[str, str, str, str, str]] = [
    ("AP101", HEAD + "rules: [", "4: ", "failed decoding: yaml", rules("")),
    ("AP102", rules("- level: Request\n  verbs: get\n"), "14: get", "into Go struct field PolicyRule.rules.verbs", rules("")),
    ("AP103", "rules: []", "1: rules:", "unknown group version field", rules("")),
    ("AP104", rules("").replace("/v1", "/v1beta1"), "1: audit.k8s.io/v1beta1", "no kind", rules("")),
    ("AP105", HEAD + "rules: []", "3: []", "0 rules", rules("")),
    ("AP106", rules("- verbs: [get]\n"), "13: verbs:", "rules[2].level: Required", rules("")),
    ("AP107", rules("- level: Meta\n"), "13: Meta", "Unsupported value", rules("")),
    ("AP108", rules("- {level: None, omitStages: [End]}\n"), "13: End", "allowed stages", rules("")),
    ("AP109", rules("- {level: None, nonResourceURLs: [a]}\n"), "13: a]}", "begin with", rules("")),
    ("AP110", rules("- {level: None, resources: [{group: A/v1}]}\n"), "13: A/v1", "RFC 1123", rules("")),
    ("AP111", rules("- {level: None, resources: [{resourceNames: [a]}]}\n"), "13: [a", "at least one resource", rules("")),
    (
        "AP112",
        rules("- {level: None, namespaces: [a], nonResourceURLs: [/b]}\n"),
        "13: [/b",
        "cannot apply to both",
        rules("- {level: None, namespaces: [a]}\n"),
    ),
    (
        "AP201",
        rules("- level: None\n  resources:\n  - group: x.io\n    resource: [a]\n"),
        "16: resource:",
        "takes every resource of group x.io and all their subresources, at level None",
        rules("- level: None\n  resources:\n  - group: x.io\n    resources: [a]\n"),
    ),
    ("AP202", rules("- level: None\n  users: [a]\n  users: [b]\n"), "15: users:", "the value of line 14 is lost", rules("")),
    ("AP203", rules("") + "---\na: b\n", "14: ---", "never read", rules("") + "...\n"),
    ("AP204", rules("").replace("kind: Policy\n", ""), "1: audit.k8s.io/v1", "no kind", rules("")),
    ("AP205", rules("- level: None\n  users:\n  verbs: [get]\n"), "14: ", "every request passes", rules("")),
    (
        "AP301",
        rules("- {level: Request, resources: [{group: events.k8s.io, resources: [events]}]}\n"),
        "13: {level:",
        "rules[1] (line 8) matches all it does, so its level Request never comes about",
        rules(""),
    ),
    (
        "AP302",
        rules("- {level: None, users: [a]}\n- {level: None, users: [b]}\n- {level: None, users: [a, b]}\n"),
        "15: {level:",
        "rules[2] (line 13) and rules[3] (line 14) together",
        rules("- {level: None, users: [a, b]}\n"),
    ),
    (
        "AP303",
        rules("- {level: None, resources: [{group: x.io, resources: ['*/*']}]}\n"),
        "13: '*/*'",
        "'*/*' matches no request; rules[2] can match no request at all",
        rules("- {level: None, resources: [{resources: ['*/log']}]}\n"),
    ),
    (
        "AP304",
        rules("- level: None\n  verbs: [create]\n  resources: [{resources: [pods], resourceNames: [a]}]\n"),
        "15: [a",
        "never match for create: rules[2] can match no request",
        rules("- level: None\n  verbs: [get]\n  resources: [{resources: [pods], resourceNames: [a]}]\n"),
    ),
    (
        "AP305",
        rules("- {level: None, nonResourceURLs: [/api/v1/pods*]}\n"),
        "13: /api/v1/pods*",
        "URL of a resource",
        rules("- {level: None, nonResourceURLs: [/api*, /apis/apps/v1, /openapi/v3/a/b]}\n"),
    ),
    ("AP306", rules("- {level: None, nonResourceURLs: ['/openapi?x']}\n"), "13: '/openapi?x'", "no '?'", rules("")),
    (
        "AP307",
        rules("- {level: None, namespaces: [a], resources: [{resources: [nodes]}]}\n"),
        "13: nodes",
        "has no namespace",
        rules("- {level: None, namespaces: [a], resources: [{resources: [pods, namespaces]}]}\n"),
    ),
    (
        "AP401",
        rules("- {level: None, resources: [{resources: [deployments]}]}\n"),
        "13: deployments",
        "not in group core but in apps",
        rules("- {level: None, resources: [{group: apps, resources: [deployments]}]}\n"),
    ),
    (
        "AP402",
        rules("- {level: None, resources: [{resources: [Pod]}]}\n"),
        "13: Pod",
        "no resource 'Pod'",
        rules("- {level: None, resources: [{group: example.com, resources: [Pod]}]}\n"),
    ),
    (
        "AP403",
        rules("- {level: None, resources: [{resources: [pods/logs]}]}\n"),
        "13: pods/logs",
        "no subresource 'logs'",
        rules("- {level: None, resources: [{resources: [pods/log, pods/status]}]}\n"),
    ),
    (
        "AP404",
        rules("- {level: None, verbs: [replace]}\n"),
        "13: replace",
        "no request has the verb 'replace'",
        rules("- {level: None, verbs: [update, post]}\n"),
    ),
    (
        "AP405",
        rules("- {level: None, verbs: [list], nonResourceURLs: [/x]}\n"),
        "13: list",
        "'list' is no verb of requests for other",
        rules("- {level: None, verbs: [head], nonResourceURLs: [/x]}\n"),
    ),
    ("AP406", rules("- {level: None, users: ['system:node:*']}\n"), "13: 'system:node:*'", "letter for letter", rules("")),
    (
        "AP407",
        rules("- {level: None, resources: [{resources: [pods/*]}]}\n"),
        "13: pods/*",
        "matches plain pods too",
        rules("- {level: None, resources: [{resources: [pods, pods/*]}]}\n"),
    ),
    (
        "AP408",
        rules("- {level: None, verbs: [create], resources: [{resources: [pods/exec]}]}\n"),
        "13: pods/exec",
        "sessions opened by get",
        rules("- {level: None, verbs: [create, get], resources: [{resources: [pods/exec]}]}\n"),
    ),
    (
        "AP409",
        rules("- {level: None, users: ['system:masters']}\n"),
        "13: 'system:masters'",
        "is a group",
        rules("- {level: None, userGroups: ['system:masters']}\n"),
    ),
    (
        "AP410",
        rules("- {level: None, resources: [{group: core}]}\n"),
        "13: core",
        "no API group 'core'",
        rules("- {level: None, resources: [{group: metrics.k8s.io}]}\n"),
    ),
    (
        "AP411",
        rules("- {level: None, users: ['system:node']}\n"),
        "13: 'system:node'",
        "no user and no group is named 'system:node'",
        rules("- {level: None, users: ['system:node:a'], userGroups: ['system:nodes', 'system:openshift:x']}\n"),
    ),
    (
        "AP501",
        rules("- {level: Request, resources: [{resources: [secrets]}]}\n"),
        "13: Request",
        "content of secrets at level Request",
        rules(
            "- {level: Metadata, resources: [{resources: [secrets]}]}\n- {level: Request, resources: [{resources: [secrets]}]}\n"
        ),
    ),
    (
        "AP502",
        rules("- {level: RequestResponse, verbs: [get], resources: [{resources: [configmaps]}]}\n"),
        "13: RequestResponse",
        "configmaps",
        rules("- {level: Request, verbs: [get], resources: [{resources: [configmaps]}]}\n"),
    ),
    (
        "AP503",
        rules("- {level: RequestResponse, verbs: [create], resources: [{resources: ['*/token']}]}\n"),
        "13: RequestResponse",
        "content of serviceaccounts/token",
        rules("- {level: Request, verbs: [create], resources: [{resources: ['*/token']}]}\n"),
    ),
    (
        "AP601",
        rules("").replace("[RequestReceived]", "[RequestReceived, ResponseStarted]"),
        "3: ResponseStarted",
        "every failed login",
        rules("- {level: Metadata, users: [a], omitStages: [ResponseStarted]}\n"),
    ),
    (
        "AP602",
        HEAD + CLEAN + "- {level: Metadata, users: [a]}\n",
        "13: {level:",
        "no rule for the requests",
        HEAD + CLEAN + "- {level: Metadata, resources: [{group: '*'}]}\n- {level: None, nonResourceURLs: ['*']}\n",
    ),
    ("AP603", HEAD + CLEAN, "6: None", "logs nothing", rules("")),
    (
        "AP604",
        rules("").replace("[RequestReceived]", "[RequestReceived, ResponseComplete]"),
        "3: ResponseComplete",
        "how requests ended",
        rules(""),
    ),
    ("AP605", rules("- {level: None, users: [a], omitStages: [Panic]}\n"), "13: [Panic", "no effect", rules("")),
    (
        "AP606",
        rules("- {level: Metadata, users: [a], omitStages: [ResponseStarted, ResponseComplete, Panic]}\n"),
        "13: {level:",
        "writes nothing",
        rules(""),
    ),
    ("AP651", rules("").replace("events.k8s.io", "example.com"), "13: level:", "the other group is dropped", rules("")),
    ("AP652", rules("").replace("leases", "gloves"), "13: level:", "leader election", rules("")),
    ("AP653", rules("").replace("/livez*", "/livers"), "13: level:", "writes /livez", rules("")),
    ("AP654", rules("").replace("omitStages: [RequestReceived]", "omitStages: [Panic]"), "13: level:", "two events", rules("")),
    ("AP655", rules(BODIES).replace("omitManagedFields: true\n", "\n"), "13: RequestResponse", "managedFields", rules(BODIES)),
    (
        "AP656",
        rules("- {level: RequestResponse, resources: [{resources: [nodes/status]}]}\n"),
        "13: {level:",
        "nodes/status by kubelets",
        rules("- {level: Request, resources: [{resources: [nodes/status]}]}\n"),
    ),
    (
        "AP702",
        rules("- {level: None, resources: [{group: extensions, resources: [ingresses]}]}\n"),
        "13: extensions",
        "not served since 1.22",
        rules(""),
    ),
    ("AP703", rules("- {level: None, users: ['system:unsecured']}\n"), "13: 'system:unsecured'", "any more", rules("")),
]

# Checks that need another release than the newest.
CASES_OF_OLD: list[tuple[str, str, str, str, str, str]] = [
    ("AP206", "1.22", rules(""), "4: true", "came with Kubernetes 1.23", "1.23"),
    ("AP701", "1.20", rules("").replace("/v1", "/v1beta1"), "1: audit.k8s.io/v1beta1", "refused from 1.24", "1.36"),
]


def _found(text: str, identity: str, version: str = "1.36") -> list[Finding]:
    return [finding for finding in lint(text, version, "p.yaml") if finding.id == identity]


def _at(text: str, finding: Finding) -> str:
    """What stands where a finding points to, after the number of its line."""
    line = [*text.split("\n"), ""][finding.line - 1]
    return f"{finding.line}: {line[finding.column - 1 :]}"


@pytest.mark.parametrize(("identity", "bad", "place", "words", "good"), CASES, ids=[case[0] for case in CASES])
def test_a_check_finds_its_fault_and_only_that(identity: str, bad: str, place: str, words: str, good: str) -> None:
    found = _found(bad, identity)
    assert found, [finding.id for finding in lint(bad)]
    assert _at(bad, found[0]).startswith(place)
    assert words in found[0].message
    assert found[0].why
    assert found[0].fix
    assert not _found(good, identity)


@pytest.mark.parametrize(("identity", "version", "bad", "place", "words", "clean_version"), CASES_OF_OLD)
def test_a_check_for_old_releases_finds_its_fault(
    identity: str, version: str, bad: str, place: str, words: str, clean_version: str
) -> None:
    found = _found(bad, identity, version)
    assert _at(bad, found[0]).startswith(place)
    assert words in found[0].message
    assert not _found(bad, identity, clean_version)


def test_every_check_has_a_case() -> None:
    tested = {case[0] for case in CASES} | {case[0] for case in CASES_OF_OLD}
    assert {check.id for check in checks()} == tested


def test_ids_are_in_their_families() -> None:
    assert len(FAMILIES) == 8
    numbers = [check.id for check in checks()]
    assert numbers == sorted(set(numbers))
    assert all(check.why.endswith((".", "…'.")) for check in checks())


def test_a_clean_policy_has_no_findings() -> None:
    assert lint(rules("")) == []
    assert as_text([]) == ""


@pytest.mark.parametrize(
    ("rule", "words", "fix"),
    [
        ("- level: None\n  verb: [get]\n", "takes every request at level None, and rules[3] and later", "Write verbs."),
        ("- level: None\n  users: [a]\n  codes: [200]\n", "its other conditions (users)", "asked before the answer"),
        ("- level: Metadata\n  users: [a]\n  stages: [Panic]\n", "writes every stage", "There is only omitStages"),
        (
            "- level: None\n  resources:\n  - group: apps\n    verbs: [get]\n",
            "takes every resource of group apps",
            "Move verbs out of the resources entry",
        ),
        (
            "- level: None\n  resources:\n  - resources: [pods]\n    username: x\n",
            "takes all pods, whatever",
            "Write users, and put it at the rule",
        ),
        ("- level: None\n  userGroup: [a]\n", "takes every request", "Write userGroups."),
        ("- level: None\n  Users: [a]\n", "takes every request", "Write users."),
    ],
)
def test_an_unknown_field_is_told_with_what_follows_from_it(rule: str, words: str, fix: str) -> None:
    [finding] = _found(rules(rule), "AP201")
    assert words in finding.message
    assert fix in finding.fix


def test_a_refused_policy_is_linted_as_far_as_it_can_be_read() -> None:
    ids = {f.id for f in lint("apiVersion: audit.k8s.io/v1beta1\nrules:\n- level: X\n  verbs: [replace]\n")}
    assert {"AP104", "AP107", "AP404"} <= ids


def test_the_three_outputs_hold_the_same_findings() -> None:
    text = rules('- {level: None, verbs: ["re\\u001b[31mplace"]}\n- {level: Meta}\n')
    findings = lint(text, file="dir/p q.yaml")
    assert {f.severity for f in findings} == {"error", "warning"}
    shown = as_text(findings)
    assert "dir/p q.yaml:14:11: error AP107 rules[3].level: Unsupported value" in shown
    assert "\x1b" not in shown
    assert [f["id"] for f in json.loads(as_json(findings))] == [f.id for f in findings]
    sarif = json.loads(as_sarif(findings))
    run = sarif["runs"][0]
    assert sarif["version"] == "2.1.0"
    assert [r["ruleId"] for r in run["results"]] == [f.id for f in findings]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {check.id for check in checks()}
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        location = result["locations"][0]["physicalLocation"]
        assert location["artifactLocation"]["uri"] == "dir/p%20q.yaml"
        assert location["region"]["startLine"] >= 1


def test_lint_starts_quickly_and_needs_no_database(tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(rules(""))
    code = (
        "import sys; from auditlens.policy import lint; lint(open(sys.argv[1]).read()); "
        "print(sorted({'duckdb', 'polars', 'pyarrow', 'deltalake'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, policy], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # of CPU: what else the machine does must not fail this
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert done.stdout == "[]\n"


PIECES = ["level: None", "level: X", "verbs: [replace, '*']", "resources:", "- group: ''", "resources: [pods/*, '*/*']", "x: y"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([*PIECES, "- level: Request", "users: []"])), max_size=12))
def test_any_policy_can_be_linted(lines: list[tuple[int, str]]) -> None:
    text = HEAD + "rules:\n" + "".join(f"{'  ' * depth}{line}\n" for depth, line in lines)
    for version in ("1.36", "1.9", "1.7"):
        findings = lint(text, version)
        assert as_sarif(findings)
        assert findings == sorted(findings, key=lambda f: (f.line, f.column, f.id))


def test_a_rule_for_one_verb_of_sessions_is_right_where_another_says_as_much_of_the_other() -> None:
    one = "- {level: Metadata, verbs: [get], resources: [{resources: [pods/exec]}]}\n"
    dropped = "- {level: None, verbs: [create], resources: [{resources: [pods/exec]}]}\n"
    head = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"
    assert "AP408" not in [f.id for f in lint(f"{head}{one}- {{level: Request}}\n")]
    assert "AP408" in [
        f.id for f in lint(f"{head}{one}{dropped}- {{level: Request}}\n") if "sessions opened by create" in f.message
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("deployment", "Write 'deployments' in an entry with `group: apps`"),
        ("deploy", "Write 'deployments' in an entry with `group: apps`"),
        ("deploymnets", "Write 'deployments' in an entry with `group: apps`"),
        ("StatefulSet/scale", "Write 'statefulsets/scale' in an entry with `group: apps`"),
        ("ing", "Write 'ingresses' in an entry with `group: networking.k8s.io`"),
        ("persistentvolume", "Write 'persistentvolumes'."),
        ("po", "Write 'pods'."),
        ("widgets", "Look it up"),
    ],
)
def test_a_word_for_a_kind_is_traced_to_its_group(written: str, meant: str) -> None:
    text = rules(f"- {{level: None, resources: [{{resources: [{written}]}}]}}\n")
    assert [meant in f.fix for f in lint(text) if f.id == "AP402"] == [True]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("system:node", "system:nodes in userGroups"),
        ("system:serviceaccount", "system:serviceaccounts:NAMESPACE in userGroups"),
        ("system:serviceaccount:shop", "system:serviceaccount:shop:NAME in users"),
        ("system:master", "system:masters in userGroups"),
        ("system:kube-schedular", "system:kube-scheduler in users"),
        ("system:controller:job-controller", "system:serviceaccount:kube-system:job-controller"),
        ("system:node:node-1", None),
        ("system:serviceaccount:shop:web", None),
        ("system:admins", None),
        ("system:cluster-admins", None),
        ("system:gke-master", None),
        ("eks:node-manager", None),
        ("admin", None),
    ],
)
def test_a_system_name_nobody_has_is_told_from_one_that_somebody_may_have(name: str, meant: str | None) -> None:
    hits = [f for f in lint(rules(f"- {{level: None, users: ['{name}']}}\n")) if f.id == "AP411"]
    assert len(hits) == (meant is not None)
    assert meant is None or meant in hits[0].fix
