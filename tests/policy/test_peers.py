"""What Kubernetes' own code said about tables, 78 real policies and 500 random ones; skipped where that data is not."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from auditlens.policy import PolicyError, convert, evaluate, lint, load, request_of

from .helpers import SHARED, needs_shared

pytestmark = needs_shared

POLICIES = sorted((SHARED / "policies").glob("*.yaml")) if SHARED.is_dir() else []
REFUSED = {
    "aws+eks-anywhere-expected_cluster_api_server_cert_san_domain_name.yaml": "v1beta1",
    "aws-eks-best-practices.yaml": "v1beta1",
    "cncf+apisnoop-policy.yaml": "v1beta1",
    "cncf-apisnoop-e2e-k8s.yaml": "v1beta1",
    "ferozsalam+k8s-audit-log-inspector-kube-api-audit-policy-all.yaml": "v1beta1",
    "ferozsalam+k8s-audit-log-inspector-kube-api-audit-policy-gke.yaml": "v1beta1",
    "gardener+gardener-add_test.go.2.yaml": 'Unsupported value: "FakeLevel"',
    "gardener+gardener-add_test.go.3.yaml": "v1alpha1",
    "gardener+gardener-auditpolicy_test.go.3.yaml": 'Unsupported value: "InvalidLevel"',
    "gardener+gardener-auditpolicy_test.go.4.yaml": 'Invalid value: "InvalidStage"',
}


def _read(path: str) -> Any:
    return json.loads((SHARED / path).read_text())


def test_the_checkers_table() -> None:
    table = _read("k8s-tests/policy_checker.json")
    assert len(table["cases"]) == 104
    for case in table["cases"]:
        request = dict(table["requests"][case["request"]])
        user = request.pop("user")
        request["user"] = user and user["username"]
        request["groups"] = user and user["groups"]
        decision = evaluate(load(json.dumps(case["policy"])), request)
        assert decision.level == case["expected"]["level"]
        assert sorted(decision.omit_stages) == sorted(case["expected"]["omitStages"])
    for case in table["omitManagedFields"]:
        decision = evaluate(load(json.dumps(case["policy"])), case["attributes"])
        assert decision.omit_managed_fields is case["expected"]["omitManagedFields"]


def test_the_validations_table() -> None:
    cases = _read("k8s-tests/policy_validation.json")["cases"]
    assert len(cases) == 22
    for case in cases:
        try:
            load(json.dumps(case["policy"]))
            told = []
        except PolicyError as error:
            told = [problem.message for problem in error.problems if problem.code != "no-rules"]
        assert told == [error["message"] for error in case["actual_errors_of_real_validator"]]


def test_the_random_policies() -> None:
    with gzip.open(SHARED / "policy-random" / "cases.json.gz") as file:
        cases = json.load(file)
    requests = [request_of(attributes) for attributes in cases["attributes"]]
    judged = 0
    for name, case in cases["policies"].items():
        text = json.dumps(case["policy"])
        try:
            policy = load(text)
            assert case["load_ok"], name
        except PolicyError as error:
            assert not case["load_ok"], name
            assert error.kubernetes_message == case["load_error"]
            if not case.get("results"):
                continue
            policy = load(convert(text))  # judged although refused: only the apiVersion is too old
        for request, result in zip(requests, case["results"], strict=True):
            decision = evaluate(policy, request)
            assert [decision.level, sorted(decision.omit_stages), decision.omit_managed_fields] == result, name
            judged += 1
    assert judged == 95_500


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_a_real_policy_loads_or_is_refused_as_by_the_apiserver(path: Path) -> None:
    if path.name in REFUSED:
        with pytest.raises(PolicyError) as error:
            load(path.read_text())
        assert REFUSED[path.name] in error.value.kubernetes_message
    else:
        policy = load(path.read_text())
        manifest = {entry["file"]: entry for entry in _read("policies/_manifest.json")}
        assert len(policy.rules) == manifest[path.name]["rules"]


def test_of_the_real_policies_68_load() -> None:
    assert len(POLICIES) == 78
    assert len(REFUSED) == 10


def _strict_warnings() -> dict[str, list[str]]:
    if not SHARED.is_dir():
        return {}
    lines = (SHARED / "policies" / "_strict_warnings.txt").read_text().splitlines()
    return {name: text.split(", ") for name, _, text in (line.partition(": ") for line in lines if line)}


def test_unknown_fields_are_warned_about_as_by_the_apiserver_and_found_by_lint() -> None:
    expected = _strict_warnings()
    for path in POLICIES:
        text = path.read_text().replace("/v1beta1", "/v1").replace("/v1alpha1", "/v1")
        try:
            warned = [warning.message for warning in load(text).warnings]
        except PolicyError:
            warned = []
        assert warned == expected.get(path.name, []), path.name
        found = [finding for finding in lint(text) if finding.id == "AP201"]
        assert len(found) == len(warned)
        for warning, finding in zip(warned, found, strict=True):
            field = warning.removeprefix('unknown field "').removesuffix('"')
            message, _, consequence = finding.message.partition(": ")
            assert message == f"unknown field {field}"
            assert len(consequence) > 20


def test_lint_takes_no_time() -> None:
    start = time.monotonic()
    for path in POLICIES:
        assert lint(path.read_text(), file=path.name) is not None
    assert time.monotonic() - start < 5


def test_openshifts_misspelt_resources_are_found() -> None:
    text = (SHARED / "policies" / "openshift+library-go-allrequestbodies.yaml").read_text()
    [finding] = [f for f in lint(text) if f.id == "AP201"]
    assert (finding.line, finding.rule) == (38, 2)
    assert "takes every resource of group machineconfiguration.openshift.io" in finding.message
    assert finding.fix == "Write resources."
