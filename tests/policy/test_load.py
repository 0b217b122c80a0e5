"""load() refuses and warns as kube-apiserver does, and every complaint knows its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.errors import AuditlensError, UsageError
from auditlens.policy import PolicyError, load
from auditlens.policy.apiserver.document import scalar

from .helpers import HEAD

RULES = HEAD + "rules:\n"
OK = "- level: Metadata\n"
SCHEME = 'in scheme "k8s.io/apiserver/pkg/audit/scheme.go:30"'
LEVELS = 'supported values: "None", "Metadata", "Request", "RequestResponse"'
STAGES = "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"

# What the validation tests of Kubernetes hold invalid (formats: message, line:column of it), as small texts.
REFUSED = [
    ("- verbs: [get]\n", "rules[0].level: Required value", "4:3"),
    ("- level:\n", "rules[0].level: Required value", "4:9"),
    ("- {}\n", "rules[0].level: Required value", "4:3"),
    ("-\n", "rules[0].level: Required value", "4:2"),
    ("- level: FooBar\n", f'rules[0].level: Unsupported value: "FooBar": {LEVELS}', "4:10"),
    (
        "- level: None\n  nonResourceURLs: [/logs*]\n  namespaces: [default]\n",
        'rules[0].nonResourceURLs: Invalid value: ["/logs*"]: rules cannot apply to both regular resources and non-resource URLs',
        "5:20",
    ),
    (
        "- level: None\n  nonResourceURLs: [/a, '/b<']\n  resources: [{resources: [secrets]}]\n",
        'rules[0].nonResourceURLs: Invalid value: ["/a","/b\\u003c"]: rules cannot apply to both regular resources and '
        "non-resource URLs",
        "5:20",
    ),
    (
        "- level: None\n  nonResourceURLs:\n  - /ok\n  - logs\n",
        "rules[0].nonResourceURLs[1]: Invalid value: \"logs\": non-resource URL rules must begin with a '/' character",
        "7:5",
    ),
    (
        "- level: None\n  nonResourceURLs: ['']\n",
        "rules[0].nonResourceURLs[0]: Invalid value: \"\": non-resource URL rules must begin with a '/' character",
        "5:21",
    ),
    (
        "- level: None\n  nonResourceURLs: [/logs/*.log]\n",
        'rules[0].nonResourceURLs[0]: Invalid value: "/logs/*.log": '
        "non-resource URL wildcards '*' must be the final character of the rule",
        "5:21",
    ),
    (
        "- level: None\n  resources:\n  - resourceNames: [leader]\n",
        'rules[0].resources.resourceNames: Invalid value: ["leader"]: using resourceNames requires at least one resource',
        "6:20",
    ),
    (
        "- level: None\n  omitStages: [Panic, foo]\n",
        f'rules[0].omitStages[1]: Invalid value: "foo": {STAGES}',
        "5:23",
    ),
    (OK * 5 + "- level: ''\n", "rules[5].level: Required value", "9:10"),
    ("", "loaded illegal policy with 0 rules", "3:7"),
    (
        "- level: off\n",
        "failed decoding: json: cannot unmarshal bool into Go struct field PolicyRule.rules.level of type v1.Level",
        "4:10",
    ),
    (
        "- level: None\n  users: [alice, 17]\n",
        "failed decoding: json: cannot unmarshal number into Go struct field PolicyRule.rules.users of type string",
        "5:18",
    ),
    (
        "- level: None\n  verbs: get\n",
        "failed decoding: json: cannot unmarshal string into Go struct field PolicyRule.rules.verbs of type []string",
        "5:10",
    ),
    ("- all\n", "failed decoding: json: cannot unmarshal string into Go struct field Policy.rules of type v1.PolicyRule", "4:3"),
    (
        "- level: None\n  resources: [{group: yes}]\n",
        "failed decoding: json: cannot unmarshal bool into Go struct field GroupResources.rules.resources.group of type string",
        "5:23",
    ),
]


@pytest.mark.parametrize(("rules", "message", "place"), REFUSED)
def test_a_refused_policy_has_the_servers_message_and_its_place(rules: str, message: str, place: str) -> None:
    with pytest.raises(PolicyError) as error:
        load(RULES + rules, file="p.yaml")
    assert error.value.kubernetes_message == message
    assert str(error.value).splitlines()[0] == f"p.yaml:{place}: {message}"


HEADS = [
    ("rules: []", "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy"),
    ("", "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy"),
    ("kind: Policy", "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy"),
    ("apiVersion: audit.k8s.io/v2", f'failed decoding: no kind "Policy" is registered for version "audit.k8s.io/v2" {SCHEME}'),
    ("apiVersion: v1", f'failed decoding: no kind "Policy" is registered for version "v1" {SCHEME}'),
    ("apiVersion: a/b/c", "failed decoding: unexpected GroupVersion string: a/b/c"),
    (
        "apiVersion: audit.k8s.io/v1\nkind: Polizei",
        f'failed decoding: no kind "Polizei" is registered for version "audit.k8s.io/v1" {SCHEME}',
    ),
    (
        "apiVersion: audit.k8s.io/v1\nkind: Event",
        "failed decoding: converting (v1.Event) to (audit.Policy): unknown conversion",
    ),
    (
        "apiVersion: 1",
        "failed decoding: couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field "
        ".apiVersion of type string",
    ),
    ("a: b: c", "failed decoding: yaml: mapping values are not allowed in this context"),
    ("\na: b: c", "failed decoding: yaml: line 2: mapping values are not allowed in this context"),
    ("a: [b\nc: d", "failed decoding: yaml: line 1: did not find expected ',' or ']'"),
    ("a: &x [*x]", "failed decoding: yaml: anchor 'x' value contains itself"),
    ("a: *x", "failed decoding: yaml: unknown anchor 'x' referenced"),
    (
        "{apiVersion: audit.k8s.io/v1}",
        "failed decoding: couldn't get version/kind; json parse error: invalid character 'a' looking for beginning of "
        "object key string",
    ),
    (
        '{"rules": [}',
        "failed decoding: couldn't get version/kind; json parse error: invalid character '}' looking for beginning of value",
    ),
    (
        '{"rules": "\\x"}',
        "failed decoding: couldn't get version/kind; json parse error: invalid character 'x' in string escape code",
    ),
    ('{"rules": ', "failed decoding: couldn't get version/kind; json parse error: unexpected end of JSON input"),
]


@pytest.mark.parametrize(("text", "message"), HEADS)
def test_a_text_that_is_no_policy_is_refused_in_the_servers_words(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        load(text)
    assert error.value.kubernetes_message == message


def test_an_apiserver_before_v1_and_after_beta_is_honoured() -> None:
    text = "apiVersion: audit.k8s.io/{}\nkind: Policy\nrules:\n- level: Metadata\n"
    served = {
        "v1alpha1": ["1.7", "1.8", "1.23"],
        "v1beta1": ["1.8", "1.12", "1.23"],
        "v1": ["1.12", "1.23", "1.24", "1.36", "v1.31.4+k3s1", "1.40"],
    }
    refused = {"v1alpha1": ["1.24"], "v1beta1": ["1.7", "1.24", "1.36"], "v1": ["1.7", "1.11"]}
    for version, releases in served.items():
        for release in releases:
            assert load(text.format(version), release).rules
    for version, releases in refused.items():
        for release in releases:
            with pytest.raises(PolicyError, match="no kind"):
                load(text.format(version), release)


def test_the_group_wildcard_comes_with_1_36() -> None:
    text = RULES + "- level: Metadata\n  resources: [{group: '*'}]\n"
    assert load(text).rules[0].resources[0].group == "*"
    with pytest.raises(PolicyError, match=r"rules\[0\].resources.group: Invalid value"):
        load(text, "1.35")


def test_equal_complaints_are_told_once_and_several_in_brackets() -> None:
    entry = "- level: None\n  resources: [{group: a_b}, {group: a_b}]\n  nonResourceURLs: ['**']\n"
    with pytest.raises(PolicyError) as error:
        load(RULES + entry)
    message = error.value.kubernetes_message
    assert message.startswith("[rules[0].nonResourceURLs[0]: ")
    assert message.count("a_b") == 1
    assert len(error.value.problems) == 5  # each with its own place


def test_a_first_release_checks_little() -> None:
    text = "apiVersion: audit.k8s.io/v1alpha1\nkind: Policy\nrules: "
    assert load(text + "[]", "1.7").rules == ()
    assert load(text + "[{level: None, nonResourceURLs: [logs]}]", "1.7").rules
    with pytest.raises(PolicyError, match="Required value"):
        load(text + "[{}]", "1.7")


def test_fields_newer_than_the_release_are_forgotten() -> None:
    text = RULES + "- level: Metadata\n  omitManagedFields: true\nomitManagedFields: true\n"
    assert load(text, "1.23").omit_managed_fields
    old = load(text, "1.22")
    assert not old.omit_managed_fields
    assert old.rules[0].omit_managed_fields is None


def test_unknown_fields_are_warned_about_from_1_26() -> None:
    text = RULES + "- level: None\n  resources:\n  - group: x.io\n    resource: [a]\n  Verbs: [get]\n"
    policy = load(text)
    assert [(w.message, w.position.line, w.position.column) for w in policy.warnings] == [
        ('unknown field "rules[0].Verbs"', 8, 3),
        ('unknown field "rules[0].resources[0].resource"', 7, 5),
    ]
    assert policy.server_warning == (
        "Audit policy contains errors, falling back to lenient decoding: strict decoding error: "
        'unknown field "rules[0].Verbs", unknown field "rules[0].resources[0].resource"'
    )
    assert policy.rules[0].verbs == ()
    assert load(text, "1.25").warnings == ()
    assert load(RULES + OK).server_warning is None


def test_of_a_key_given_twice_the_last_counts() -> None:
    policy = load(RULES + "- level: None\n  level: Request\n  users: [a]\n")
    assert policy.rules[0].level == "Request"
    assert policy.warnings[0].message == 'yaml: unmarshal errors:\n  line 5: key "level" already set in map'
    twice = load('{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","level":"Request"}]}')
    assert twice.rules[0].level == "Request"
    assert [w.message for w in twice.warnings] == ['duplicate field "rules[0].level"']


def test_a_missing_kind_is_filled_in_and_names_of_the_head_go_in_any_case() -> None:
    assert load("apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n").kind == "Policy"
    odd = load("APIVersion: audit.k8s.io/v1\nKIND: Policy\nrules:\n- level: None\n")
    assert [w.message for w in odd.warnings] == ['unknown field "APIVersion"', 'unknown field "KIND"']


def test_yaml_is_read_as_go_reads_it() -> None:
    rules = """\
- &base
  level: None
  users: [null, '1', !!str 2, 2001-01-01, 1:30, "on", None, \\x]
- <<: *base
  level: Request
- *base
---
rules: []
"""
    policy = load(RULES + rules)
    assert policy.rules[0].users == ("", "1", "2", "2001-01-01", "1:30", "on", "None", "\\x")
    assert policy.rules[1].users == policy.rules[0].users
    assert [rule.level for rule in policy.rules] == ["None", "Request", "None"]


@pytest.mark.parametrize(
    ("text", "kind", "literal"),
    [
        ("y", "bool", "true"),
        ("Off", "bool", "false"),
        ("oN", "string", "oN"),
        ("~", "null", ""),
        ("0b11", "number", "3"),
        ("0x1F", "number", "31"),
        ("010", "number", "8"),
        ("0o10", "number", "8"),
        ("08", "number", "8"),
        ("1_000", "number", "1000"),
        ("+1", "number", "1"),
        ("-.5", "number", "-0.5"),
        (".5", "number", "0.5"),
        ("1e3", "number", "1000"),
        ("-", "string", "-"),
        (".", "string", "."),
        ("1:30", "string", "1:30"),
        ("2020-1-2", "string", "2020-1-2"),
        ("system:masters", "string", "system:masters"),
    ],
)
def test_a_scalar_is_what_go_yaml_says(text: str, kind: str, literal: str) -> None:
    assert scalar(text) == (kind, literal)


def test_json_and_yaml_load_to_the_same() -> None:
    text = RULES + "- level: Request\n  resources: [{group: apps, resources: [deployments], resourceNames: [a]}]\n"
    policy = load(text)
    again = load(json.dumps(policy.model_dump(by_alias=True, mode="json", exclude_none=True)))
    assert again.rules == policy.rules


def test_a_bomb_of_aliases_and_a_deep_text_are_refused() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(PolicyError, match="excessive aliasing"):
        load(bomb)
    for deep in ("[" * 100_000, "{" + '"a":{' * 100_000, "- " * 100_000, '{"a":' + "[" * 100_000):
        with pytest.raises(PolicyError):
            load(deep)


def test_a_version_that_is_none_is_a_usage_error() -> None:
    for version in ("1.6", "2.0", "", "one", "1", "1.36; drop"):
        with pytest.raises(UsageError):
            load(RULES + OK, version)


@given(st.text(alphabet=st.sampled_from("{}[]:,-&*!|>'\"%@#?~ \n\tarulesv1eN\\\0\x85\ufeff😀"), max_size=60))
def test_any_text_loads_or_is_refused(text: str) -> None:
    for whole in (text, RULES + text, HEAD.replace("\n", ",").join("{}") + text):
        try:
            load(whole)
        except AuditlensError as error:
            assert str(error)
