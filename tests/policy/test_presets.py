"""Every preset loads strictly on every supported release, is clean, and keeps its promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditlens.policy import Policy, as_text, evaluate, lint, load

from .helpers import attributes

PRESETS = sorted((Path(__file__).resolve().parents[2] / "policies").glob("*.yaml"))
KNOWN = {"user": "jane", "groups": ("system:authenticated",)}
NODE = {"user": "system:node:n1", "groups": ("system:nodes", "system:authenticated")}


def _preset(name: str) -> Policy:
    path = next(path for path in PRESETS if path.stem == name)
    return load(path.read_text(), file=path.name)


def test_the_presets_are_these() -> None:
    assert [path.stem for path in PRESETS] == ["cost", "forensic", "metadata", "minimal", "security"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_loads_strictly_and_is_clean(path: Path) -> None:
    text = path.read_text()
    for version in ("1.24", "1.26", "1.30", "1.36"):
        assert load(text, version).warnings == ()
        assert as_text(lint(text, version, path.name)) == ""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("  - level:"):
            above = [other for other in lines[:index] if other.strip()][-1]
            assert above.startswith(("  #", "    ")), f"{path.name}:{index + 1}: a rule without a reason"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_no_preset_writes_a_secret_or_loses_a_failed_login(path: Path) -> None:
    policy = load(path.read_text())
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    for resource, subresource, group in (
        ("secrets", "", ""),
        ("configmaps", "", ""),
        ("serviceaccounts", "token", ""),
        ("tokenreviews", "", "authentication.k8s.io"),
    ):
        for who in (KNOWN, NODE, {"user": "system:apiserver"}, {"user": None}):
            for verb in verbs:
                request = attributes(**who, verb=verb, resource=resource, subresource=subresource, apiGroup=group)
                assert evaluate(policy, request).level in ("None", "Metadata")
    for request in (
        attributes(None, verb="get", resource="pods", namespace="default"),
        attributes(None, verb="create", resource="deployments", apiGroup="apps"),
        attributes(None, verb="get", path="/api"),
    ):
        decision = evaluate(policy, request)
        assert decision.level != "None"
        assert "ResponseStarted" not in decision.omit_stages


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_sees_who_reads_secrets_and_who_goes_into_pods(path: Path) -> None:
    policy = load(path.read_text())
    for verb in ("get", "create"):
        request = attributes(**KNOWN, verb=verb, resource="pods", subresource="exec", namespace="a", name="b")
        assert evaluate(policy, request).level != "None"
    for verb in ("get", "list", "watch", "delete"):
        assert evaluate(policy, attributes(**KNOWN, verb=verb, resource="secrets", namespace="a")).level == "Metadata"
    for verb in ("delete", "deletecollection"):
        assert evaluate(policy, attributes(**KNOWN, verb=verb, resource="events", namespace="a")).level != "None"


LEVELS: list[tuple[str, dict[str, Any], str]] = [
    ("forensic", attributes(**KNOWN, verb="patch", resource="widgets", apiGroup="example.com"), "RequestResponse"),
    ("forensic", attributes(**KNOWN, verb="get", resource="widgets", apiGroup="example.com"), "Metadata"),
    ("forensic", attributes(**NODE, verb="patch", resource="pods", subresource="status"), "Request"),
    ("security", attributes(**KNOWN, verb="create", resource="pods", namespace="a"), "Request"),
    ("security", attributes(**KNOWN, verb="patch", resource="roles", apiGroup="rbac.authorization.k8s.io"), "RequestResponse"),
    ("security", attributes(**NODE, verb="get", resource="secrets", namespace="a", name="b"), "Metadata"),
    ("cost", attributes(**KNOWN, verb="list", resource="pods"), "None"),
    ("cost", attributes(**KNOWN, verb="patch", resource="deployments", apiGroup="apps"), "Metadata"),
    ("cost", attributes("system:anonymous", ("system:unauthenticated",), verb="list", resource="pods"), "Metadata"),
    ("metadata", attributes("system:kube-scheduler", verb="list", resource="pods"), "None"),
    ("metadata", attributes("system:kube-scheduler", verb="create", resource="pods", subresource="binding"), "Metadata"),
    ("minimal", attributes(**KNOWN, verb="get", path="/metrics"), "Metadata"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_", "level"), LEVELS)
def test_a_preset_writes_at_the_level_it_says(name: str, request_: dict[str, Any], level: str) -> None:
    assert evaluate(_preset(name), request_).level == level
