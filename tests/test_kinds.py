"""Words for kinds find resources, and kind/name text becomes an address."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditlens.kinds import ObjectAddress, every, find, maturity, parse_object, resource_of, suggest

LISTING = Path(__file__).resolve().parents[2] / "shared" / "captures" / "api-facts" / "api-resources-1.36.txt"


def found(word: str) -> list[str]:
    return [f"{kind.resource}.{kind.group}" for kind in find(word)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("pod", ["pods."]),
        ("PODS", ["pods."]),
        ("po", ["pods."]),
        ("Deployment", ["deployments.apps", "deployments.extensions"]),
        ("deploy", ["deployments.apps", "deployments.extensions"]),
        ("deployments.apps", ["deployments.apps"]),
        ("deploy.v1.apps", ["deployments.apps"]),
        ("deploy.v1beta1", ["deployments.apps", "deployments.extensions"]),
        ("deploy.v9.apps", []),
        ("pods.v1.", ["pods."]),
        ("ing.networking", ["ingresses.networking.k8s.io"]),
        ("events", ["events.", "events.events.k8s.io"]),
        ("endpoints", ["endpoints."]),
        ("psp", ["podsecuritypolicies.policy", "podsecuritypolicies.extensions"]),
        ("crds", ["customresourcedefinitions.apiextensions.k8s.io"]),
        ("services.serving.knative.dev", []),
        ("widget", []),
        (".", []),
        ("", []),
    ],
)
def test_any_word_for_a_kind_finds_it(word: str, expected: list[str]) -> None:
    assert found(word) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pod/web-1", ObjectAddress("", ("pods",), "web-1", True)),
        ("pods/web-*", ObjectAddress("", ("pods",), "web-*", True)),
        ("deploy/web", ObjectAddress(None, ("deployments",), "web", True)),
        ("deployments.apps/web", ObjectAddress("apps", ("deployments",), "web", True)),
        (
            "ClusterRole/system:node",
            ObjectAddress("rbac.authorization.k8s.io", ("clusterroles",), "system:node", True),
        ),
        ("widgets.example.com/w1", ObjectAddress("example.com", ("widgets", "widgetses"), "w1", False)),
        ("Widget.v1beta1.example.com/w1", ObjectAddress("example.com", ("widget", "widgets"), "w1", False)),
        ("widget/w1", ObjectAddress(None, ("widget", "widgets"), "w1", False)),
        ("policy/p", ObjectAddress(None, ("policy", "policies"), "p", False)),
        ("gateway/g", ObjectAddress(None, ("gateway", "gateways"), "g", False)),
        ("mesh/m", ObjectAddress(None, ("mesh", "meshes"), "m", False)),
        (
            "service.serving.knative.dev/s",
            ObjectAddress("serving.knative.dev", ("service", "services"), "s", False),
        ),
    ],
)
def test_kind_and_name_become_an_address(text: str, expected: ObjectAddress) -> None:
    assert parse_object(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("web-1", "no '/'"),
        ("depoyment web", "nearest kinds: deployment"),
        ("shop/pod/web", "more than one '/'"),
        ("pod/", "the name is empty"),
        ("pod/web 1", "a space"),
        ("/web", "the kind is empty"),
        ("po*/web", "'po\\*' cannot be a kind"),
        ("", "no '/'"),
    ],
)
def test_text_that_is_not_kind_and_name_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_object(text)


def test_a_misspelt_kind_has_suggestions() -> None:
    assert suggest("secretes.v1")[0] == "secret"
    assert suggest("xyzzy") == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1", "GA"),
        ("v2beta2", "beta"),
        ("v1alpha1", "alpha"),
        ("v1gamma1", None),
        ("apps/v1", None),
        ("", None),
    ],
)
def test_a_version_tells_its_maturity(version: str, expected: str | None) -> None:
    assert maturity(version) == expected


def test_a_group_and_kind_have_one_resource() -> None:
    assert resource_of("apps", "Deployment") == "deployments"
    assert resource_of("", "Endpoints") == "endpoints"
    assert resource_of("", "Deployment") is None


def test_a_kind_carries_what_its_group_serves() -> None:
    (kind,) = find("cj")
    assert (kind.kind, kind.singular, kind.short_names) == ("CronJob", "cronjob", ("cj",))
    assert (kind.versions, kind.namespaced, kind.maturity) == (("v1", "v1beta1", "v2alpha1"), True, "GA")


def test_the_columns_that_follow_from_others_do() -> None:
    for kind in every():
        assert kind.singular == kind.kind.lower()
        assert kind.maturity == maturity(kind.versions[0])
        assert None not in map(maturity, kind.versions)
        assert kind in find(f"{kind.kind}.{kind.versions[-1]}.{kind.group}")


@pytest.mark.skipif(not LISTING.is_file(), reason="kubectl's listing is not here")
def test_the_table_holds_every_row_of_kubectl_api_resources() -> None:
    header, *lines = LISTING.read_text(encoding="utf-8").splitlines()
    starts = [header.index(title) for title in ("SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS")]
    for line in lines:
        cells = [line[a:b].strip() for a, b in zip([0, *starts], starts, strict=False)]
        resource, short_names, api_version, namespaced, kind = cells
        group, _, version = api_version.rpartition("/")
        (row,) = find(f"{resource}.{version}.{group}")
        assert (row.kind, row.singular, row.versions[0]) == (kind, kind.lower(), version)
        assert (",".join(row.short_names), str(row.namespaced).lower()) == (short_names, namespaced)
