"""Every chain ends at the user and the request that the clients themselves reported, or says why it cannot; nobody else is named."""

from __future__ import annotations

from typing import Any

import pytest

import auditlens
from auditlens.errors import UsageError
from auditlens.forensics.impact import impact
from auditlens.forensics.why import Chain, why
from auditlens.lake import Lake

from .conftest import asked

GC = "system:serviceaccount:kube-system:generic-garbage-collector"
NAMESPACES = "system:serviceaccount:kube-system:namespace-controller"


def root(chain: Chain) -> tuple[str | None, str | None]:
    return (chain.root.event.username, chain.root.event.audit_id) if chain.root else (None, None)


def actors(chain: Chain) -> list[str | None]:
    return [x.event.username for x in chain.links]


# scenario, object, namespace, event, whose step, words of its command
ROOTS = [
    ("S01", "pod/web-1", "shop", "delete", "alice", ("delete pod web-1",)),
    ("S02", "pod/web-2", "shop", "delete", "alice", ("delete pod web-2",)),
    ("S03", "pod/batch-0", "pay", "delete", "bob", ("DELETE", "labelSelector")),
    ("S03", "pod/batch-3", "pay", "delete", "bob", ("DELETE", "labelSelector")),
    ("S04", "secret/s1", "doomed", "delete", "admin", ("delete ns doomed",)),
    ("S04", "deploy/old", "doomed", "delete", "admin", ("delete ns doomed",)),
    ("S04", "ns/doomed", None, "delete", "admin", ("delete ns doomed",)),
    ("S04", "sa/default", "doomed", "create", "admin", ()),  # from S00
    ("S05", "rs/api-654f75d7cb", "pay", "delete", "bob", ("delete deployment api",)),
    ("S06", "rs/fore-788bdcf59d", "pay", "delete", "bob", ("delete deployment fore",)),
    ("S06", "deploy/orph", "pay", "delete", "bob", ("delete deployment orph",)),
    ("S06", "rs/orph-f4c6f7c8f", "pay", "metadata.ownerReferences", "bob", ("delete deployment orph",)),
    ("S08", "deploy/cart", "shop", "scale", "bob", ("autoscale deployment cart",)),
    ("S08", "rs/cart-855d678d94", "shop", "scale", "bob", ("autoscale deployment cart",)),
    ("S09", "deploy/frontend", "shop", "spec.template.spec.containers", "alice", ("set image",)),
    ("S12", "clusterrolebinding/eve-admin", None, "create", "eve", ("create clusterrolebinding eve-admin",)),
    ("S12", "clusterrolebinding/eve-crb-creator", None, "create", "admin", ("create clusterrolebinding eve-crb-creator",)),
    ("S27", "deploy/frontend", "shop", "spec.template.metadata.annotations", "alice", ("patch deployment frontend",)),
    ("S29", "csr/mallory", None, "status.certificate", "admin", ("certificate approve mallory",)),
    ("S31", "widgets/w1", "shop", "delete", "admin", ("DELETE", "widgets/w1")),
    ("S31", "widget.example.com/w2", "shop", "delete", "admin", ("delete crd",)),
    ("S33", "pod/ss-0", "pay", "create", "bob", ("apply",)),
    ("S33", "pod/ss-0", "pay", "delete", "bob", ("delete statefulset/ss",)),
    ("S33", "job/j1", "pay", "delete", "bob", ("delete job/j1",)),
    ("S33", "ipaddresses/10.96.36.110", None, "delete", "bob", ("delete service/svc1",)),
    ("S35", "secret/token-x", "pay", "delete", "bob", ("delete secret token-x",)),
    ("S37", "node/node-x", None, "delete", "admin", ("delete node node-x",)),
]


@pytest.mark.parametrize(("scenario", "object", "namespace", "event", "user", "words"), ROOTS)
def test_a_chain_ends_at_who_began_it(
    full: Lake,
    truth: dict[str, Any],
    scenario: str,
    object: str,
    namespace: str | None,
    event: str,
    user: str,
    words: tuple[str, ...],
) -> None:
    chain = why(full, object, namespace=namespace, event=event)
    if words:
        # of a command with several requests the right one is among them
        ids = {
            r["auditID"] for s in truth[scenario]["steps"] if s["who"] == user
            and all(w in (s.get("cmd") or s.get("raw") or "") for w in words) for r in s["requests"]
        }  # fmt: skip
        assert root(chain)[0] == user and root(chain)[1] in ids, chain.as_dict()
    else:
        assert root(chain) == (user, asked(truth["S00"], "create ns doomed"))
    assert chain.root is chain.links[-1]
    for link in chain.links:
        assert link.event.audit_id and link.event.source and link.event.line and link.rule and link.sure


def test_pods_of_a_deployment_go_by_way_of_the_garbage_collector(full: Lake, truth: dict[str, Any]) -> None:
    for name in truth["S05"]["pods"]:
        chain = why(full, f"pod/{name}", namespace="pay", event="delete")
        assert actors(chain) == [GC, GC, "bob"] and root(chain)[1] == asked(truth["S05"], "delete deployment api")


def test_pods_of_a_namespace_go_by_way_of_its_controller(full: Lake, truth: dict[str, Any]) -> None:
    for name in truth["S04"]["pods"]:
        chain = why(full, f"pod/{name}", namespace="doomed", event="delete")
        assert actors(chain) == [NAMESPACES, "admin"] and root(chain)[1] == asked(truth["S04"], "delete ns doomed")


def test_a_replica_set_of_a_hundred_is_bobs_at_that_moment(full: Lake, truth: dict[str, Any]) -> None:
    at = truth["S07"]["scaled_at"]
    for object in ("rs/frontend-7cd5c87d85", "deploy/frontend"):
        chain = why(full, object, namespace="shop", event="scale", at=at)
        assert root(chain) == ("bob", asked(truth["S07"], "--replicas=100"))
        later = why(full, object, namespace="shop", event="scale", at="2026-11-23T04:57:00Z")
        assert root(later) == ("alice", asked(truth["S07"], "--replicas=3"))
    rows = auditlens.ask(full, "who-changed", "deploy/frontend", namespace="shop", until=at).frame
    assert rows.filter(rows["subresource"] == "scale")["username"].to_list() == ["bob"]


def test_an_evicted_pod_and_what_replaced_it(full: Lake, truth: dict[str, Any]) -> None:
    pod = truth["S28"]["evicted_pod"]
    chain = why(full, f"pod/{pod}", namespace="shop", event="delete")
    assert root(chain) == ("alice", asked(truth["S28"], f"{pod}/eviction"))
    drained = why(full, "pod/p1", namespace="quota", event="delete")
    assert root(drained)[0] == "admin" and drained.links[-1].event.subresource == "eviction"


NEVER = [
    ("pod/dbg", "shop", "delete"), ("deploy/blocked", "quota", "scale"), ("pod/never-was", "shop", "delete"), ("node/node-1", None, "delete"),
    ("cm/dry", "shop", "create"), ("deploy/frontend", "shop", "delete"), ("rs/warned-648747cd4f", "psa", "scale"), ("svc/kubernetes", "default", "delete"),
]  # fmt: skip


@pytest.mark.parametrize(("object", "namespace", "event"), NEVER)
def test_what_never_happened_has_no_chain(full: Lake, object: str, namespace: str | None, event: str) -> None:
    chain = why(full, object, namespace=namespace, event=event)
    assert chain.links == [] and chain.root is None and chain.limits


def test_before_it_happened_it_had_not(full: Lake, truth: dict[str, Any]) -> None:
    assert why(full, "pod/web-1", namespace="shop", event="delete", at=truth["S01"]["start"]).links == []


def test_the_missing_cause_is_named_with_what_would_have_shown_it(full: Lake, make_lake: Any) -> None:
    from .conftest import lines

    kept = [line for line in lines("full") if b'"resource":"deployments"' not in line]
    lake = make_lake(kept, name="no-deployments")
    names = auditlens.ask(lake, "who-deleted", "pod/api-*", namespace="pay").frame["name"].unique().sort().to_list()
    chain = why(lake, f"pod/{names[0]}", namespace="pay", event="delete")
    assert chain.root is None and len(chain.links) == 2
    assert any("Deployment/api" in note and "at Metadata" in note for note in chain.limits), chain.limits


def test_the_order_of_import_changes_no_chain(full: Lake, shuffled: Lake) -> None:
    def told(lake: Lake, object: str, namespace: str, event: str) -> list[Any]:
        return [(x.effect, x.event.audit_id, x.rule, x.sure) for x in why(lake, object, namespace=namespace, event=event).links]

    for case in (
        ("pod/api-654f75d7cb-6flwc", "pay", "delete"),
        ("rs/cart-855d678d94", "shop", "scale"),
        ("secret/s1", "doomed", "delete"),
    ):
        assert told(full, *case) == told(shuffled, *case)


def test_several_objects_are_not_mixed(full: Lake) -> None:
    with pytest.raises(UsageError, match="objects fit"):
        why(full, "pod/old-*", namespace="doomed", event="delete")


def test_impact_is_why_backwards(full: Lake, truth: dict[str, Any]) -> None:
    scale = impact(full, asked(truth["S07"], "--replicas=100"))
    made = [
        x.event
        for x, _, _ in scale.effects
        if x.event.verb == "create" and x.event.key.resource == "pods" and not x.event.subresource
    ]
    assert len(made) == 98
    assert {e.username for e in made} == {"system:serviceaccount:kube-system:replicaset-controller"}
    gone = impact(full, asked(truth["S05"], "delete deployment api"))
    deleted = {x.event.key.name for x, _, _ in gone.effects if x.event.key.resource == "pods"}
    assert deleted == set(truth["S05"]["pods"])
    assert impact(full, asked(truth["S26"], "delete deployment frontend")).effects == []
    with pytest.raises(UsageError):
        impact(full, "no-such-request")
