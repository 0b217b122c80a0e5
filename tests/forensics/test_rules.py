"""Rules that no capture holds: each with what makes it fire, and with a near miss after which nobody may be named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditlens.forensics.why import why
from auditlens.lake import Lake

from .made import Log, root, told


def pod(node: str | None = None, **more: Any) -> dict[str, Any]:
    return {"spec": {"nodeName": node} if node else {}, "status": {}, **more}


def taints(*effects: str) -> dict[str, Any]:
    return {"spec": {"taints": [{"key": e.partition("=")[0], "effect": e.partition("=")[2]} for e in effects]}}


def test_a_noexecute_taint_deletes_pods(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "pods/web", pod("n1"))
    log("*kube-admin", "create", "nodes/n1", taints())
    id = log("bob", "patch", "nodes/n1", taints("gone=NoExecute"))
    log("zoe", "patch", "nodes/n1", taints("gone=NoExecute", "busy=NoSchedule"))
    log("zoe", "patch", "nodes/n1", taints("gone=NoExecute"))
    log("*taint-eviction-controller", "delete", "pods/web", pod("n1"))
    assert root(why(make_lake(log.lines), "pod/web", namespace="shop", event="delete")) == ("bob", id)


def test_without_such_a_taint_nobody_is_named(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "pods/web", pod("n1"))
    log("ann", "create", "nodes/n1", taints())
    log("ann", "create", "nodes/n2", taints("gone=NoExecute"))
    log("zoe", "patch", "nodes/n1", taints("busy=NoSchedule"))
    log("*taint-eviction-controller", "delete", "pods/web", pod("n1"))
    chain = why(make_lake(log.lines), "pod/web", namespace="shop", event="delete")
    assert root(chain) is None and any("NoExecute taint of nodes/n1" in x for x in chain.limits), chain.limits


def test_pods_of_a_node_that_is_gone(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "pods/web", pod("n1"))
    log("ann", "create", "pods/api", pod("n2"))
    log("ann", "create", "nodes/n1", taints())
    log("ann", "create", "nodes/n2", taints())
    id = log("bob", "delete", "nodes/n1", taints())
    log("*pod-garbage-collector", "delete", "pods/web", pod("n1"))
    log("*pod-garbage-collector", "delete", "pods/api", pod("n2"))
    lake = make_lake(log.lines)
    assert root(why(lake, "pod/web", namespace="shop", event="delete")) == ("bob", id)
    chain = why(lake, "pod/api", namespace="shop", event="delete")
    assert root(chain) is None and any("delete of nodes at Metadata" in x for x in chain.limits)


def test_pods_of_a_node_that_is_out_of_service(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "pods/web", pod("n1"))
    log("ann", "create", "nodes/n1", taints())
    id = log("bob", "patch", "nodes/n1", taints("node.kubernetes.io/out-of-service=NoExecute"))
    log("*pod-garbage-collector", "delete", "pods/web", pod("n1"))
    assert root(why(make_lake(log.lines), "pod/web", namespace="shop", event="delete")) == ("bob", id)


def preemption(log: Log) -> str:
    """Two pods are nominated at the same time, each to a node of its own; returns who made room on n1 necessary."""
    log("ann", "create", "pods/small", pod("n1"))
    log("ann", "create", "pods/other", pod("n2"))
    id = log("bob", "create", "pods/big", pod())
    log("zoe", "create", "pods/vast", pod())
    for name, node in (("big", "n1"), ("vast", "n2")):
        status = {"status": {"nominatedNodeName": node}}
        log("*scheduler", "patch", f"pods/{name}/status", {**pod(), **status}, request=status)
    log("*scheduler", "delete", "pods/small", pod("n1"))
    return id


def test_a_pod_gives_way_to_the_one_nominated_to_its_node(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    id = preemption(log)
    chain = why(make_lake(log.lines), "pod/small", namespace="shop", event="delete")
    assert told(chain)[-1] == ("bob", id, "preemption") and root(chain) == ("bob", id)


def test_a_nomination_to_another_node_names_nobody(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    preemption(log)
    rest = [line for line in log.lines if b'"name": "big"' not in line]
    chain = why(make_lake(rest), "pod/small", namespace="shop", event="delete")
    assert root(chain) is None and any("pods/status at Request" in x for x in chain.limits), chain.limits


def test_a_finished_job_goes_when_its_time_is_over(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "jobs/once", {"spec": {}})
    id = log("bob", "patch", "jobs/once", {"spec": {"ttlSecondsAfterFinished": 5}})
    log("zoe", "patch", "jobs/once", {"spec": {"ttlSecondsAfterFinished": 5, "suspend": False}})
    log("*ttl-after-finished-controller", "delete", "jobs/once", {"spec": {"ttlSecondsAfterFinished": 5, "suspend": False}})
    assert root(why(make_lake(log.lines), "job/once", namespace="shop", event="delete")) == ("bob", id)


def owned(kind: str, name: str) -> dict[str, Any]:
    ref = {"apiVersion": "batch/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
    return {"metadata": {"ownerReferences": [ref]}}


def test_jobs_and_pods_of_a_cronjob_are_of_who_made_it(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    id = log("ann", "create", "cronjobs/tick", {"spec": {"schedule": "* * * * *"}})
    log("*cronjob-controller", "create", "jobs/tick-1", {"spec": {}, **owned("CronJob", "tick")})
    log("*job-controller", "create", "pods/tick-1-x", {**pod(), **owned("Job", "tick-1")})
    by_hand = log("bob", "create", "jobs/manual", {"spec": {}, **owned("CronJob", "tick")})
    lake = make_lake(log.lines)
    assert root(why(lake, "pod/tick-1-x", namespace="shop", event="create")) == ("ann", id)
    assert root(why(lake, "job/manual", namespace="shop", event="create")) == ("bob", by_hand)


def test_of_two_taints_the_one_that_is_not_borne_counts(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    borne = pod("n1")
    borne["spec"]["tolerations"] = [{"key": "mine", "operator": "Exists", "effect": "NoExecute"}]
    log("ann", "create", "pods/web", borne)
    log("ann", "create", "nodes/n1", taints())
    id = log("bob", "patch", "nodes/n1", taints("gone=NoExecute"))
    log("zoe", "patch", "nodes/n1", taints("gone=NoExecute", "mine=NoExecute"))
    log("*taint-eviction-controller", "delete", "pods/web", borne)
    assert root(why(make_lake(log.lines), "pod/web", namespace="shop", event="delete")) == ("bob", id)


def test_of_two_taints_that_both_drive_it_away_nobody_is_named(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    waits = pod("n1")
    waits["spec"]["tolerations"] = [{"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]
    log("ann", "create", "pods/web", waits)
    log("ann", "create", "nodes/n1", taints())
    log("bob", "patch", "nodes/n1", taints("gone=NoExecute"))
    log("zoe", "patch", "nodes/n1", taints("gone=NoExecute", "too=NoExecute"))
    log("*taint-eviction-controller", "delete", "pods/web", waits)
    chain = why(make_lake(log.lines), "pod/web", namespace="shop", event="delete")
    assert root(chain) is None and any("bob" in x and "zoe" in x for x in chain.limits), chain.limits


def test_of_two_pods_nominated_to_its_node_nobody_is_named(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "pods/small", pod("n1"))
    log("bob", "create", "pods/big", pod())
    log("zoe", "create", "pods/vast", pod())
    for name in ("big", "vast"):
        status = {"status": {"nominatedNodeName": "n1"}}
        log("*scheduler", "patch", f"pods/{name}/status", {**pod(), **status}, request=status)
    log("*scheduler", "delete", "pods/small", pod("n1"))
    chain = why(make_lake(log.lines), "pod/small", namespace="shop", event="delete")
    assert root(chain) is None and any("pods/big" in x and "pods/vast" in x for x in chain.limits), chain.limits


def test_pods_of_two_people_nominated_by_one_controller_are_of_two_people(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "pods/small", pod("n1"))
    for who, name in (("bob", "big"), ("zoe", "vast")):
        log(who, "create", f"jobs/{name}", {"spec": {}})
        log("*job-controller", "create", f"pods/{name}-x", {**pod(), **owned("Job", name)})
    for name in ("big", "vast"):
        status = {"status": {"nominatedNodeName": "n1"}}
        log("*scheduler", "patch", f"pods/{name}-x/status", {**pod(), **status, **owned("Job", name)}, request=status)
    log("*scheduler", "delete", "pods/small", pod("n1"))
    chain = why(make_lake(log.lines), "pod/small", namespace="shop", event="delete")
    assert root(chain) is None and any("pods/big-x" in x and "pods/vast-x" in x for x in chain.limits), chain.limits


def test_an_autoscaler_of_another_kind_of_that_name_is_not_it(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "deployments/web", {"spec": {"replicas": 1}})
    for user, name, kind in (("bob", "a", "StatefulSet"), ("carol", "b", "Deployment")):
        ref = {"apiVersion": "apps/v1", "kind": kind, "name": "web"}
        id = log(user, "create", f"horizontalpodautoscalers/{name}", {"spec": {"scaleTargetRef": ref, "minReplicas": 3}})
    log("*horizontal-pod-autoscaler", "update", "deployments/web/scale", {"spec": {"replicas": 3}})
    log("*deployment-controller", "update", "deployments/web", {"spec": {"replicas": 3}})
    chain = why(make_lake(log.lines), "deploy/web", namespace="shop", event="scale", at="2026-11-23T10:00:03.5Z")
    assert root(chain) == ("carol", id), chain.limits


def test_what_a_rollout_does_not_follow_is_not_its_cause(make_lake: Callable[..., Lake]) -> None:
    """Bob scales; alice's label and minReadySeconds come in between, and the controller acts after them."""
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-web", "controller": True}
    owned_by = {"metadata": {"ownerReferences": [ref]}}
    log = Log()
    log("ann", "create", "deployments/web", {"spec": {"replicas": 1}})
    log("*deployment-controller", "create", "replicasets/web-1", {"spec": {"replicas": 1}, **owned_by})
    id = log("bob", "patch", "deployments/web", {"spec": {"replicas": 9}})
    log("alice", "patch", "deployments/web", {"spec": {"replicas": 9, "minReadySeconds": 5}})
    log("*deployment-controller", "update", "replicasets/web-1", {"spec": {"replicas": 9}, **owned_by})
    assert root(why(make_lake(log.lines), "rs/web-1", namespace="shop", event="scale")) == ("bob", id)


def test_endpoints_change_with_pods_and_not_with_who_made_the_service(make_lake: Callable[..., Lake]) -> None:
    ref = {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "uid-web", "controller": True}
    owned_by = {"metadata": {"ownerReferences": [ref]}}
    log = Log()
    id = log("ann", "create", "services/web", {"spec": {}})
    log("*endpointslice-controller", "create", "endpointslices/web-1", {"endpoints": [], **owned_by})
    log("*endpointslice-controller", "update", "endpointslices/web-1", {"endpoints": [{"addresses": ["10.0.0.1"]}], **owned_by})
    lake = make_lake(log.lines)
    assert root(why(lake, "endpointslice/web-1", namespace="shop", event="create")) == ("ann", id)
    chain = why(lake, "endpointslice/web-1", namespace="shop", event="endpoints")
    assert root(chain) is None and len(chain.links) == 1


def test_rules_are_aggregated_from_roles_with_the_right_label(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    of = "rbac.authorization.k8s.io/aggregate-to-"
    log("ann", "create", "clusterroles/view", {"rules": []})
    id = log("bob", "create", "clusterroles/more", {"metadata": {"labels": {of + "view": "true"}}, "rules": [{"verbs": ["get"]}]})
    log("zoe", "create", "clusterroles/other", {"metadata": {"labels": {of + "admin": "true"}}, "rules": [{"verbs": ["*"]}]})
    log("*clusterrole-aggregation-controller", "patch", "clusterroles/view", {"rules": [{"verbs": ["get"]}]})
    assert root(why(make_lake(log.lines), "clusterrole/view", event="rules")) == ("bob", id)
