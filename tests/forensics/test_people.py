"""Situations in which several people, add-ons and controllers had a hand: who began it, and where the log does not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from auditlens.lake import Lake

from .scenes import GOING, Expected, Scene, Scenes, wrong

scenes = Scenes()
GC, NS, HPA, NODES = "*generic-garbage-collector", "*namespace-controller", "*horizontal-pod-autoscaler", "*node-controller"
DC, RC, STS = "*deployment-controller", "*replicaset-controller", "*statefulset-controller"
OPERATOR = "system:serviceaccount:ops:database-operator"


def cm(**data: str) -> dict[str, Any]:
    return {"data": data}


@scenes
def what_every_namespace_gets_comes_again_after_somebody_deleted_it(log: Scene) -> Expected:
    log("ann", "create", f"namespaces/{log.namespace}", {"spec": {}})
    log("*root-ca-cert-publisher", "create", "configmaps/kube-root-ca.crt", cm(a="1"))
    log("*service-account-controller", "create", "serviceaccounts/default", {})
    one = log.gone("bob", "configmaps/kube-root-ca.crt")
    two = log.gone("zoe", "serviceaccounts/default")
    log("*root-ca-cert-publisher", "create", "configmaps/kube-root-ca.crt", cm(a="1"), uid=log.uid("again"))
    log("*service-account-controller", "create", "serviceaccounts/default", {}, uid=log.uid("default-again"))
    return [("cm/kube-root-ca.crt", "create", one), ("sa/default", "create", two)]


@scenes
def what_every_namespace_gets_is_put_right_after_somebody_changed_it(log: Scene) -> Expected:
    log("ann", "create", f"namespaces/{log.namespace}", {"spec": {}})
    log("*root-ca-cert-publisher", "create", "configmaps/kube-root-ca.crt", cm(a="1"))
    spoilt = log("bob", "patch", "configmaps/kube-root-ca.crt", cm(a="2"), request={"data": {"a": "2"}})
    log("*root-ca-cert-publisher", "update", "configmaps/kube-root-ca.crt", cm(a="1"))
    return [("cm/kube-root-ca.crt", "data.a", spoilt)]


@scenes
def a_mirror_pod_is_of_the_nodes_files_and_not_of_who_cordoned_it(log: Scene) -> Expected:
    log("ann", "create", "nodes/mirror-node", {"spec": {}})
    log("bob", "patch", "nodes/mirror-node", {"spec": {"unschedulable": True}})
    log("system:node:mirror-node", "create", "pods/etcd-n", log.of("nodes/mirror-node", {"spec": {"nodeName": "mirror-node"}}))
    return [("pod/etcd-n", "create", None)]


@scenes
def a_node_that_went_silent_was_tainted_by_nobody(log: Scene) -> Expected:
    taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    pod = {"spec": {"nodeName": "silent-node"}}
    log("ann", "create", "pods/web", pod)
    log("ann", "create", "nodes/silent-node", {"spec": {}})
    log(NODES, "patch", "nodes/silent-node", {"spec": {"taints": [taint]}})
    log.drop("*taint-eviction-controller", "pods/web", pod)
    return [("pod/web", "delete", None)]


@scenes
def pods_that_two_taints_drove_away_are_replaced_by_nobody(log: Scene) -> Expected:
    """One controller deletes both, for two people: it is not the same cause."""
    for name, who in (("tainted-a", "bob"), ("tainted-b", "zoe")):
        log("ann", "create", f"nodes/{name}", {"spec": {}})
        log(who, "patch", f"nodes/{name}", {"spec": {"taints": [{"key": "out", "effect": "NoExecute"}]}})
    log("ann", "create", "replicasets/web-1", {"spec": {"replicas": 2}})
    pods = {n: log.of("replicasets/web-1", {"spec": {"nodeName": f"tainted-{n}"}}) for n in "ab"}
    for name, pod in pods.items():
        log(RC, "create", f"pods/web-1-{name}", pod)
    for name, pod in pods.items():
        log.drop("*taint-eviction-controller", f"pods/web-1-{name}", pod)
    log(RC, "create", "pods/web-1-new", log.of("replicasets/web-1", {"spec": {}}))
    return [("pod/web-1-new", "create", None)]


@scenes
def pods_that_one_taint_drove_away_are_replaced_by_who_set_it(log: Scene) -> Expected:
    log("ann", "create", "nodes/tainted-c", {"spec": {}})
    taint = log("bob", "patch", "nodes/tainted-c", {"spec": {"taints": [{"key": "out", "effect": "NoExecute"}]}})
    log("ann", "create", "replicasets/web-1", {"spec": {"replicas": 2}})
    pod = log.of("replicasets/web-1", {"spec": {"nodeName": "tainted-c"}})
    for name in "ab":
        log(RC, "create", f"pods/web-1-{name}", pod)
    for name in "ab":
        log.drop("*taint-eviction-controller", f"pods/web-1-{name}", pod)
    log(RC, "create", "pods/web-1-new", log.of("replicasets/web-1", {"spec": {}}))
    return [("pod/web-1-new", "create", taint)]


@scenes
def the_taint_of_a_cordoned_node_is_of_who_cordoned_it(log: Scene) -> Expected:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    log("ann", "create", "nodes/cordoned-node", {"spec": {}})
    cordon = log("bob", "patch", "nodes/cordoned-node", {"spec": {"unschedulable": True}})
    log("zoe", "patch", "nodes/cordoned-node", {"spec": {"unschedulable": True, "podCIDR": "10.0.0.0/24"}})
    log(NODES, "patch", "nodes/cordoned-node", {"spec": {"unschedulable": True, "podCIDR": "10.0.0.0/24", "taints": [taint]}})
    return [("node/cordoned-node", "spec.taints", cordon)]


@scenes
def a_request_that_was_approved_by_itself_is_of_who_made_it(log: Scene) -> Expected:
    asked = log("system:bootstrap:abcdef", "create", "certificatesigningrequests/auto", {"spec": {"signerName": "x/y"}})
    log("*certificate-controller", "update", "certificatesigningrequests/auto/approval",
        {"spec": {"signerName": "x/y"}, "status": {"conditions": [{"type": "Approved"}]}})  # fmt: skip
    log("*certificate-controller", "update", "certificatesigningrequests/auto/status",
        {"spec": {"signerName": "x/y"}, "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}})  # fmt: skip
    return [("csr/auto", "status.certificate", asked)]


@scenes
def a_volume_goes_with_its_claim(log: Scene) -> Expected:
    ref = {"kind": "PersistentVolumeClaim", "namespace": log.namespace, "name": "data", "uid": log.uid("data")}
    log("bob", "create", "persistentvolumeclaims/data", {"spec": {"volumeName": "pv-data"}})
    log("ann", "create", "persistentvolumes/pv-data", {"spec": {"claimRef": ref, "persistentVolumeReclaimPolicy": "Delete"}})
    gone = log.gone("zoe", "persistentvolumeclaims/data")
    log.gone("*persistent-volume-binder", "persistentvolumes/pv-data")
    return [("pv/pv-data", "delete", gone)]


@scenes
def a_claim_of_a_stateful_set_is_of_who_asked_for_one_more(log: Scene) -> Expected:
    claims = [{"metadata": {"name": "data"}}]
    log("ann", "create", "statefulsets/other", {"spec": {"replicas": 1, "volumeClaimTemplates": claims}})
    log("ann", "create", "statefulsets/web", {"spec": {"replicas": 1, "volumeClaimTemplates": claims}})
    more = log("bob", "patch", "statefulsets/web", {"spec": {"replicas": 2, "volumeClaimTemplates": claims}})
    log(STS, "create", "persistentvolumeclaims/data-web-1", {"spec": {}})
    log(STS, "create", "persistentvolumeclaims/logs-web-1", {"spec": {}})
    return [("pvc/data-web-1", "create", more), ("pvc/logs-web-1", "create", None)]


@scenes
def what_a_component_notes_for_itself_was_asked_for_by_nobody(log: Scene) -> Expected:
    log("ann", "create", "leases/lock", {"spec": {"holderIdentity": "x"}})
    log("*scheduler", "update", "leases/lock", {"spec": {"holderIdentity": "y"}})
    return [("lease/lock", "spec.holderIdentity", None)]


@scenes
def a_token_goes_with_its_service_account(log: Scene) -> Expected:
    log("ann", "create", "serviceaccounts/robot", {})
    log("ann", "create", "secrets/robot-token", {"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {
        "kubernetes.io/service-account.name": "robot", "kubernetes.io/service-account.uid": log.uid("robot")}}})  # fmt: skip
    gone = log.gone("zoe", "serviceaccounts/robot")
    log.gone("system:kube-controller-manager", "secrets/robot-token",
             userAgent="kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/98b3519/tokens-controller")  # fmt: skip
    return [("secret/robot-token", "delete", gone)]


@scenes
def an_operator_does_what_its_custom_resource_asks_for(log: Scene) -> Expected:
    """What it makes and changes after somebody changed the resource is of them; what it does later is its own."""
    asked = log("alice", "create", "databases/main", {"spec": {"size": 1}})
    own = log.of("databases/main", {"spec": {"replicas": 1}})
    log(OPERATOR, "create", "statefulsets/main", own)
    log(STS, "create", "pods/main-0", log.of("statefulsets/main", {"spec": {}}))
    more = log("bob", "patch", "databases/main", {"spec": {"size": 3}})
    log(OPERATOR, "update", "statefulsets/main", {**own, "spec": {"replicas": 3}})
    log(STS, "create", "pods/main-1", log.of("statefulsets/main", {"spec": {}}))
    itself = log(OPERATOR, "update", "statefulsets/main", {**own, "spec": {"replicas": 3, "minReadySeconds": 9}})
    return [("pod/main-0", "create", asked), ("pod/main-1", "create", more), ("sts/main", "spec.minReadySeconds", itself)]


@scenes
def an_operator_that_made_something_again_did_so_for_who_deleted_it_or_nobody(log: Scene) -> Expected:
    log("alice", "create", "databases/main", {"spec": {"size": 1}})
    log(OPERATOR, "create", "configmaps/main", log.of("databases/main", cm(a="1")))
    log.gone("zoe", "configmaps/main")
    itself = log(OPERATOR, "create", "configmaps/main", log.of("databases/main", cm(a="1")), uid=log.uid("again"))
    return [("cm/main", "create", itself)]


@scenes
def of_two_who_wrote_out_of_sight_nobody_is_named(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", {"spec": {"replicas": 1}})
    log(DC, "create", "replicasets/web-1", log.of("deployments/web", {"spec": {"replicas": 1}}))
    log("alice", "patch", "deployments/web", level="Metadata", requestObject=None)
    log("bob", "patch", "deployments/web", level="Metadata", requestObject=None)
    log(DC, "update", "replicasets/web-1", log.of("deployments/web", {"spec": {"replicas": 5}}))
    return [("rs/web-1", "scale", None)]


@scenes
def the_only_one_who_wrote_out_of_sight_is_named(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", {"spec": {"replicas": 1}})
    log(DC, "create", "replicasets/web-1", log.of("deployments/web", {"spec": {"replicas": 1}}))
    id = log("bob", "patch", "deployments/web", level="Metadata", requestObject=None)
    log(DC, "update", "replicasets/web-1", log.of("deployments/web", {"spec": {"replicas": 5}}))
    return [("rs/web-1", "scale", id)]


@scenes
def a_log_without_bodies_leads_through_what_controllers_wrote(log: Scene) -> Expected:
    """Names and order are all there is: bob's scale, then the set's, then the pod's end."""
    bare: dict[str, Any] = {"level": "Metadata", "requestObject": None}
    log("ann", "create", "deployments/web", **bare)
    log(DC, "create", "replicasets/web-1", **bare)
    scale = log("bob", "patch", "deployments/web/scale", **bare)
    log(DC, "update", "replicasets/web-1", **bare)
    log(RC, "delete", "pods/web-1-a", **bare)
    return [("pod/web-1-a", "delete", scale)]


@scenes
def endpoints_follow_a_selector_that_somebody_changed(log: Scene) -> Expected:
    """A slice that changes when the Service just has is of who changed it; a later change is of its pods."""
    log("ann", "create", "services/web", {"spec": {"selector": {"app": "a"}, "clusterIP": "10.0.0.1"}})
    log(
        "*endpointslice-controller",
        "create",
        "endpointslices/web-1",
        log.of("services/web", {"endpoints": [{"addresses": ["1"]}]}),
    )
    id = log("bob", "patch", "services/web", {"spec": {"selector": {"app": "b"}, "clusterIP": "10.0.0.1"}})
    log(
        "*endpointslice-controller",
        "update",
        "endpointslices/web-1",
        log.of("services/web", {"endpoints": [{"addresses": ["2"]}]}),
    )
    log(
        "*endpointslice-controller",
        "update",
        "endpointslices/web-1",
        log.of("services/web", {"endpoints": [{"addresses": ["2"]}], "ports": []}),
    )
    return [("endpointslice/web-1", "endpoints", id), ("endpointslice/web-1", "ports", None)]


@scenes
def a_finalizer_that_was_taken_away_by_hand(log: Scene) -> Expected:
    held = {"metadata": {"finalizers": ["x/y"]}}
    log("ann", "create", "configmaps/a", held)
    asked = log("bob", "delete", "configmaps/a", {"metadata": {**GOING, "deletionGracePeriodSeconds": 0, "finalizers": ["x/y"]}})
    log(
        "zoe",
        "patch",
        "configmaps/a",
        {"metadata": {**GOING, "deletionGracePeriodSeconds": 0}},
        request={"metadata": {"finalizers": None}},
    )
    return [("cm/a", "delete", asked)]


@scenes
def an_orphan_goes_with_the_owner_that_took_it_in(log: Scene) -> Expected:
    log("ann", "create", "replicasets/one", {"spec": {"replicas": 1}})
    log(RC, "create", "pods/p", log.of("replicasets/one", {"spec": {}}))
    log(
        "alice",
        "delete",
        "replicasets/one",
        {"metadata": {"finalizers": ["orphan"], **GOING}},
        request={"propagationPolicy": "Orphan"},
    )
    log(GC, "patch", "pods/p", {"spec": {}}, request={"metadata": {"ownerReferences": []}})
    log(GC, "patch", "replicasets/one", {"metadata": {**GOING, "deletionGracePeriodSeconds": 0}})
    made = log("bob", "create", "replicasets/two", {"spec": {"replicas": 1}})
    log("zoe", "patch", "replicasets/two", {"spec": {"replicas": 1, "minReadySeconds": 1}})
    adopted = log(RC, "patch", "pods/p", log.of("replicasets/two", {"spec": {}}))
    assert adopted
    gone = log.gone("carol", "replicasets/two")
    log.gone(GC, "pods/p")
    return [("pod/p", "delete", gone), ("pod/p", "metadata.ownerReferences", made)]


@scenes
def one_was_refused_by_the_budget_and_another_was_not(log: Scene) -> Expected:
    log("ann", "create", "pods/a", {"spec": {"nodeName": "n1"}})
    busy = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "TooManyRequests", "code": 429}
    log("bob", "create", "pods/a/eviction", request={"kind": "Eviction"}, answer=busy, responseStatus=busy)
    done = log.evict("zoe", "a")
    log.gone("system:node:n1", "pods/a")
    return [("pod/a", "delete", done)]


@scenes
def what_a_gitops_controller_puts_back_is_its_own(log: Scene) -> Expected:
    argo = "system:serviceaccount:argocd:argocd-application-controller"
    log(argo, "create", "configmaps/a", cm(x="1"))
    log("bob", "patch", "configmaps/a", cm(x="2"), request={"data": {"x": "2"}})
    back = log(argo, "patch", "configmaps/a", cm(x="1"), request={"data": {"x": "1"}})
    return [("cm/a", "data.x", back)]


@scenes
def a_whole_put_that_carries_stale_replicas_changed_them(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", {"spec": {"replicas": 3}})
    scale = {"spec": {"replicas": 10}}
    log("bob", "update", "deployments/web/scale", scale, answer={"kind": "Scale", "apiVersion": "autoscaling/v1", **scale})
    put = log("carol", "update", "deployments/web", {"spec": {"replicas": 3, "paused": True}})
    log("zoe", "update", "deployments/web", {"spec": {"replicas": 3, "paused": True}})
    return [("deploy/web", "scale", put)]


@scenes
def an_autoscaler_that_was_pointed_elsewhere(log: Scene) -> Expected:
    def to(name: str) -> dict[str, Any]:
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        return {"spec": {"scaleTargetRef": ref, "minReplicas": 3, "maxReplicas": 9}}

    log("ann", "create", "deployments/b", {"spec": {"replicas": 1}})
    log("ann", "create", "horizontalpodautoscalers/h", to("a"))
    turned = log("bob", "patch", "horizontalpodautoscalers/h", to("b"))
    scale = {"spec": {"replicas": 3}}
    log(HPA, "update", "deployments/b/scale", scale, answer={"kind": "Scale", "apiVersion": "autoscaling/v1", **scale})
    return [("deploy/b", "scale", turned)]


@scenes
def pods_of_a_job_whose_time_was_over(log: Scene) -> Expected:
    log("ann", "create", "jobs/once", {"spec": {}})
    log("*job-controller", "create", "pods/once-x", log.of("jobs/once", {"spec": {}}))
    ttl = log("bob", "patch", "jobs/once", {"spec": {"ttlSecondsAfterFinished": 5}})
    going = {"metadata": {**GOING, "finalizers": ["foregroundDeletion"]}, "spec": {"ttlSecondsAfterFinished": 5}}
    log("*ttl-after-finished-controller", "delete", "jobs/once", going, request={"propagationPolicy": "Foreground"})
    log.gone(GC, "pods/once-x")
    return [("pod/once-x", "delete", ttl)]


@scenes
def a_name_that_two_people_made_and_two_deleted(log: Scene) -> Expected:
    log("ann", "create", "configmaps/a", cm(x="1"))
    log.gone("bob", "configmaps/a")
    made = log("carol", "create", "configmaps/a", cm(x="2"), uid=log.uid("second"))
    gone = log.gone("zoe", "configmaps/a", uid=log.uid("second"))
    return [("cm/a", "create", made), ("cm/a", "delete", gone)]


@scenes
def what_was_asked_for_before_the_log_began_is_of_nobody(log: Scene) -> Expected:
    pod = log.of("replicasets/web-1", {"spec": {}})
    log(RC, "create", "pods/web-1-a", pod)
    log.drop(RC, "pods/web-1-a", pod)
    return [("pod/web-1-a", "create", None), ("pod/web-1-a", "delete", None)]


@scenes
def a_dry_run_and_a_conflict_are_no_cause(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", {"spec": {"replicas": 1}})
    log(DC, "create", "replicasets/web-1", log.of("deployments/web", {"spec": {"replicas": 1}}))
    id = log("bob", "patch", "deployments/web", {"spec": {"replicas": 5}})
    log("zoe", "patch", "deployments/web", {"spec": {"replicas": 9}}, requestURI="/x?dryRun=All")
    refused = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409}
    log("eve", "update", "deployments/web", request={"spec": {"replicas": 7}}, answer=refused, responseStatus=refused)
    log(DC, "update", "replicasets/web-1", log.of("deployments/web", {"spec": {"replicas": 5}}))
    return [("rs/web-1", "scale", id)]


@scenes
def a_namespace_that_waits_for_a_finalizer_still_goes_by_who_deleted_it(log: Scene) -> Expected:
    name = log.namespace
    log("ann", "create", f"namespaces/{name}", {"spec": {"finalizers": ["kubernetes"]}})
    log("ann", "create", "configmaps/a", cm(x="1"))
    asked = log("bob", "delete", f"namespaces/{name}", {"metadata": GOING, "spec": {"finalizers": ["kubernetes"]}})
    log.gone(NS, "configmaps/a")
    log("zoe", "update", f"namespaces/{name}/finalize", {"metadata": {**GOING, "deletionGracePeriodSeconds": 0}, "spec": {}})
    return [("cm/a", "delete", asked), (f"ns/{name}", "delete", asked)]


@pytest.fixture(scope="module")
def lake(make_lake: Callable[..., Lake]) -> Lake:
    return make_lake(scenes.lines()[0], name="people")


@pytest.mark.parametrize("name", scenes.made)
def test_the_right_person_is_named(lake: Lake, name: str) -> None:
    assert wrong(lake, *scenes.lines()[1][name]) == []
