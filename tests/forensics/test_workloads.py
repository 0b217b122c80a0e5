"""Pods and what makes them, in situations with more than one person who could be named: who is, and where nobody may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from auditlens.lake import Lake

from .scenes import GOING, Expected, Scene, Scenes, wrong

scenes = Scenes()
STS, DS, DC, RC, JC, CC = ("*statefulset-controller", "*daemon-set-controller", "*deployment-controller", "*replicaset-controller",
                           "*job-controller", "*cronjob-controller")  # fmt: skip
GC, HPA, KUBELET = "*generic-garbage-collector", "*horizontal-pod-autoscaler", "system:node:n1"


def workload(replicas: int | None = None, image: str = "a:1", **spec: Any) -> dict[str, Any]:
    made = {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}, **spec}
    return {"spec": made if replicas is None else {"replicas": replicas, **made}}


def on(node: str = "n1") -> dict[str, Any]:
    """A DaemonSet's pod, which asks for its node by affinity."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    return {"spec": {"affinity": affinity}}


def stateful(log: Scene, replicas: int) -> dict[str, Any]:
    log("ann", "create", "statefulsets/web", workload(replicas))
    pod = log.of("statefulsets/web", {"spec": {"nodeName": "n1"}})
    for i in range(replicas):
        log(STS, "create", f"pods/web-{i}", pod)
    return pod


@scenes
def a_stateful_set_is_scaled_down_while_it_rolls(log: Scene) -> Expected:
    """By ordinal: those above the number go by the scale, the others by the template, whatever came last."""
    pod = stateful(log, 3)
    scale = log("bob", "patch", "statefulsets/web", workload(2), request={"spec": {"replicas": 2}})
    image = log("alice", "patch", "statefulsets/web", workload(2, "a:2"), request={"spec": {"template": {}}})
    log.drop(STS, "pods/web-2", pod)
    log.drop(STS, "pods/web-1", pod)
    return [("pod/web-2", "delete", scale), ("pod/web-1", "delete", image)]


@scenes
def a_pod_of_a_stateful_set_comes_again_after_somebody_deleted_it(log: Scene) -> Expected:
    pod = stateful(log, 2)
    log("carol", "patch", "statefulsets/web", workload(2, minReadySeconds=5))
    gone = log.drop("zoe", "pods/web-1", pod)
    log(KUBELET, "delete", "pods/web-1", {**pod, "metadata": {**pod["metadata"], **GOING}}, request={"gracePeriodSeconds": 0})
    log(STS, "create", "pods/web-1", pod, uid=log.uid("again"))
    return [("pod/web-1", "create", gone)]


@scenes
def a_pod_of_a_rolling_stateful_set_comes_again_by_the_template(log: Scene) -> Expected:
    pod = stateful(log, 2)
    image = log("alice", "patch", "statefulsets/web", workload(2, "a:2"))
    log.drop(STS, "pods/web-1", pod)
    log(KUBELET, "delete", "pods/web-1", {**pod, "metadata": {**pod["metadata"], **GOING}}, request={"gracePeriodSeconds": 0})
    log(STS, "create", "pods/web-1", pod, uid=log.uid("again"))
    return [("pod/web-1", "create", image)]


@scenes
def a_pod_that_was_scaled_away_comes_again_by_the_next_scale(log: Scene) -> Expected:
    pod = stateful(log, 2)
    log("bob", "patch", "statefulsets/web", workload(1))
    log.drop(STS, "pods/web-1", pod)
    log(KUBELET, "delete", "pods/web-1", {**pod, "metadata": {**pod["metadata"], **GOING}}, request={"gracePeriodSeconds": 0})
    more = log("carol", "patch", "statefulsets/web", workload(2))
    log(STS, "create", "pods/web-1", pod, uid=log.uid("again"))
    return [("pod/web-1", "create", more)]


@scenes
def a_failed_pod_is_deleted_by_its_stateful_set_and_by_nobody(log: Scene) -> Expected:
    """The controller deletes a failed pod; the only thing anybody ever asked for was three of them."""
    pod = stateful(log, 3)
    log.drop(STS, "pods/web-1", pod)
    return [("pod/web-1", "delete", None)]


@scenes
def a_partition_that_is_lowered_lets_the_pods_below_go(log: Scene) -> Expected:
    pod = stateful(log, 3)
    held = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}
    freed = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}
    log("ann", "patch", "statefulsets/web", workload(3, **held))
    log("alice", "patch", "statefulsets/web", workload(3, "a:2", **held))
    low = log("bob", "patch", "statefulsets/web", workload(3, "a:2", **freed))
    log.drop(STS, "pods/web-2", pod)
    return [("pod/web-2", "delete", low)]


@scenes
def a_daemon_set_rolls_by_its_template_alone(log: Scene) -> Expected:
    log("ann", "create", "daemonsets/agent", workload())
    log(DS, "create", "pods/agent-x", log.of("daemonsets/agent", on()))
    image = log("alice", "patch", "daemonsets/agent", workload(image="a:2"))
    log("zoe", "patch", "daemonsets/agent", workload(image="a:2", minReadySeconds=5))
    log.drop(DS, "pods/agent-x", log.of("daemonsets/agent", on()))
    log(DS, "create", "pods/agent-y", log.of("daemonsets/agent", on()))
    return [("pod/agent-x", "delete", image), ("pod/agent-y", "create", image)]


@scenes
def a_daemon_sets_pod_on_a_new_node_is_of_who_added_the_node(log: Scene) -> Expected:
    log("carol", "create", "nodes/old-node", {"spec": {}})
    log("ann", "create", "daemonsets/agent", workload())
    log(DS, "create", "pods/agent-x", log.of("daemonsets/agent", on("old-node")))
    node = log("bob", "create", "nodes/new-node", {"spec": {}})
    log(DS, "create", "pods/agent-y", log.of("daemonsets/agent", on("new-node")))
    return [("pod/agent-y", "create", node)]


@scenes
def a_daemon_sets_failed_pod_is_deleted_and_made_again_by_nobody(log: Scene) -> Expected:
    log("ann", "create", "daemonsets/agent", workload())
    log(DS, "create", "pods/agent-x", log.of("daemonsets/agent", on()))
    log.drop(DS, "pods/agent-x", log.of("daemonsets/agent", on()))
    log(DS, "create", "pods/agent-y", log.of("daemonsets/agent", on()))
    return [("pod/agent-x", "delete", None), ("pod/agent-y", "create", None)]


@scenes
def a_daemon_sets_pod_comes_again_after_somebody_deleted_it(log: Scene) -> Expected:
    log("ann", "create", "daemonsets/agent", workload())
    log(DS, "create", "pods/agent-x", log.of("daemonsets/agent", on()))
    gone = log.drop("zoe", "pods/agent-x", log.of("daemonsets/agent", on()))
    log(DS, "create", "pods/agent-y", log.of("daemonsets/agent", on()))
    return [("pod/agent-y", "create", gone)]


def deployed(log: Scene, replicas: int, name: str = "web-1") -> dict[str, Any]:
    log("ann", "create", "deployments/web", workload(replicas))
    log(DC, "create", f"replicasets/{name}", replicas_of(log, replicas, replicas))
    pod = log.of(f"replicasets/{name}", {"spec": {"nodeName": "n1"}})
    for i in range(replicas):
        log(RC, "create", f"pods/{name}-{i}", pod)
    return pod


def replicas_of(log: Scene, size: int, desired: int, image: str = "a:1") -> dict[str, Any]:
    """A ReplicaSet with the note of how many its Deployment wanted when it was sized last."""
    note = {"annotations": {"deployment.kubernetes.io/desired-replicas": str(desired)}}
    return log.of("deployments/web", {**workload(size, image), "metadata": note})


@scenes
def an_evicted_pod_is_replaced_by_who_drained_the_node(log: Scene) -> Expected:
    """The replacement is made when the eviction is granted, before the kubelet's own deletion."""
    pod = deployed(log, 2)
    drain = log.evict("bob", "web-1-0")
    log(RC, "create", "pods/web-1-new", pod)
    log(KUBELET, "delete", "pods/web-1-0", {**pod, "metadata": {**pod["metadata"], **GOING}}, request={"gracePeriodSeconds": 0})
    return [("pod/web-1-new", "create", drain), ("pod/web-1-0", "delete", drain)]


@scenes
def two_drain_at_once_and_nobody_is_named_for_what_comes_instead(log: Scene) -> Expected:
    pod = deployed(log, 2)
    one, two = log.evict("bob", "web-1-0"), log.evict("zoe", "web-1-1")
    log(RC, "create", "pods/web-1-n1", pod)
    log(RC, "create", "pods/web-1-n2", pod)
    return [("pod/web-1-0", "delete", one), ("pod/web-1-1", "delete", two), ("pod/web-1-n1", "create", None),
            ("pod/web-1-n2", "create", None)]  # fmt: skip


@scenes
def each_replacement_is_of_the_deletion_it_follows(log: Scene) -> Expected:
    pod = deployed(log, 2)
    one = log.drop("bob", "pods/web-1-0", pod)
    log(RC, "create", "pods/web-1-n1", pod)
    two = log.drop("zoe", "pods/web-1-1", pod)
    log(RC, "create", "pods/web-1-n2", pod)
    return [("pod/web-1-n1", "create", one), ("pod/web-1-n2", "create", two)]


@scenes
def a_pod_under_pressure_is_replaced_by_nobody(log: Scene) -> Expected:
    """The kubelet fails a pod by its status; no request deleted it."""
    pod = deployed(log, 2)
    log(KUBELET, "patch", "pods/web-1-0/status", {**pod, "status": {"phase": "Failed", "reason": "Evicted"}})
    log(RC, "create", "pods/web-1-new", pod)
    return [("pod/web-1-new", "create", None)]


@scenes
def what_was_there_before_the_log_may_count(log: Scene) -> Expected:
    """How many there were before bob scaled is not told: the third may be of him, or in place of the one zoe deleted."""
    pod = log.of("replicasets/web-1", {"spec": {"nodeName": "n1"}})
    scale = log("bob", "patch", "replicasets/web-1", {"spec": {"replicas": 5}})
    log(RC, "create", "pods/web-1-a", pod)
    log(RC, "create", "pods/web-1-b", pod)
    log.drop("zoe", "pods/web-1-b", pod)
    log(RC, "create", "pods/web-1-c", pod)
    return [("pod/web-1-a", "create", scale), ("pod/web-1-c", "create", None)]


@scenes
def of_what_was_there_before_a_scale_only_the_rest_is_made(log: Scene) -> Expected:
    """Bob's scale from 3 to 5 made two pods; the third is in place of the one zoe deleted."""
    label = {"metadata": {"labels": {"a": "b"}}}
    log("eve", "patch", "replicasets/web-1", {"spec": {"replicas": 3}, **label}, request=label)
    pod = log.of("replicasets/web-1", {"spec": {"nodeName": "n1"}})
    scale = log("bob", "patch", "replicasets/web-1", {"spec": {"replicas": 5}})
    log(RC, "create", "pods/web-1-a", pod)
    log(RC, "create", "pods/web-1-b", pod)
    gone = log.drop("zoe", "pods/web-1-b", pod)
    log(RC, "create", "pods/web-1-c", pod)
    return [("pod/web-1-a", "create", scale), ("pod/web-1-c", "create", gone)]


@scenes
def pods_come_later_than_the_next_step_of_a_rollout(log: Scene) -> Expected:
    """The set was made larger twice before its controller made the first pod: neither is one too many."""
    rs = log.of("deployments/web", {"spec": {"replicas": 1}})
    made = log("ann", "create", "deployments/web", workload(2))
    log(DC, "create", "replicasets/web-1", rs)
    log(DC, "update", "replicasets/web-1", {**rs, "spec": {"replicas": 2}})
    log(RC, "create", "pods/web-1-a", log.of("replicasets/web-1", {"spec": {}}))
    log(RC, "create", "pods/web-1-b", log.of("replicasets/web-1", {"spec": {}}))
    return [("pod/web-1-a", "create", made), ("pod/web-1-b", "create", made)]


@scenes
def a_pod_that_somebody_took_out_of_its_set_is_replaced_by_them(log: Scene) -> Expected:
    """`kubectl label pod web-1-0 app-`: the set lets it go and makes another; its size changed by nobody."""
    pod = deployed(log, 1)
    label = log("zoe", "patch", "pods/web-1-0", {**pod, "metadata": {**pod["metadata"], "labels": {"app": "aside"}}})
    log(RC, "patch", "pods/web-1-0", {"spec": pod["spec"], "metadata": {"labels": {"app": "aside"}}})
    log(RC, "create", "pods/web-1-new", pod)
    return [("pod/web-1-0", "metadata.ownerReferences", label), ("pod/web-1-new", "create", label)]


@scenes
def a_scale_in_the_middle_of_a_rollout(log: Scene) -> Expected:
    """Alice restarts, bob scales before the controller has done anything: the new set is of alice, the sizes of both."""
    deployed(log, 3)
    restart = log("alice", "patch", "deployments/web", workload(3, "a:2"))
    log("bob", "patch", "deployments/web", workload(5, "a:2"))
    log(DC, "create", "replicasets/web-2", replicas_of(log, 1, 5, "a:2"))
    log(DC, "update", "replicasets/web-1", replicas_of(log, 5, 5))
    log(DC, "update", "replicasets/web-1", replicas_of(log, 4, 5))
    return [("rs/web-2", "create", restart), ("rs/web-1", "scale", restart)]


@scenes
def a_rollout_step_after_a_scale_that_was_carried_out(log: Scene) -> Expected:
    deployed(log, 3)
    log("alice", "patch", "deployments/web", workload(3, "a:2"))
    log(DC, "create", "replicasets/web-2", replicas_of(log, 1, 3, "a:2"))
    scale = log("bob", "patch", "deployments/web", workload(5, "a:2"))
    log(DC, "update", "replicasets/web-2", replicas_of(log, 2, 5, "a:2"))
    return [("rs/web-2", "scale", scale)]


@scenes
def an_old_replica_set_is_cleaned_up_by_the_rollout(log: Scene) -> Expected:
    deployed(log, 1)
    image = log("alice", "patch", "deployments/web", workload(1, "a:2"))
    log("zoe", "patch", "deployments/web", workload(1, "a:2", minReadySeconds=9))
    log.gone(DC, "replicasets/web-1")
    return [("rs/web-1", "delete", image)]


@scenes
def an_old_replica_set_is_cleaned_up_by_the_limit(log: Scene) -> Expected:
    deployed(log, 1)
    log("alice", "patch", "deployments/web", workload(1, "a:2"))
    limit = log("carol", "patch", "deployments/web", workload(1, "a:2", revisionHistoryLimit=0))
    log("bob", "patch", "deployments/web", workload(4, "a:2", revisionHistoryLimit=0))
    log.gone(DC, "replicasets/web-1")
    return [("rs/web-1", "delete", limit)]


@scenes
def a_replica_set_comes_again_after_somebody_deleted_it(log: Scene) -> Expected:
    deployed(log, 1)
    log("carol", "patch", "deployments/web", workload(1, minReadySeconds=3))
    gone = log.gone("zoe", "replicasets/web-1")
    log(DC, "create", "replicasets/web-1", replicas_of(log, 1, 1), uid=log.uid("again"))
    return [("rs/web-1", "create", gone)]


@scenes
def who_asks_while_the_controller_is_writing_is_not_its_cause(log: Scene) -> Expected:
    """Bob's request came in when the controller's had: it cannot be what the controller acted on."""
    deployed(log, 1)
    image = log("alice", "patch", "deployments/web", workload(1, "a:2"))
    n = log.first + len(log.lines)
    at = f"2026-11-23T10:{n // 60:02}:{n % 60:02}"
    times = [{"requestReceivedTimestamp": f"{at}.{a}00000Z", "stageTimestamp": f"{at}.{b}00000Z"} for a, b in ("14", "23")]
    log(DC, "create", "replicasets/web-2", replicas_of(log, 1, 1, "a:2"), **times[0])
    log("bob", "patch", "deployments/web", workload(1, "a:3"), **times[1])
    return [("rs/web-2", "create", image)]


@scenes
def a_finished_job_goes_by_the_history_limit(log: Scene) -> Expected:
    spec = {"schedule": "* * * * *", "successfulJobsHistoryLimit": 3, "suspend": False}
    log("ann", "create", "cronjobs/tick", {"spec": spec})
    job = log.of("cronjobs/tick", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    log(CC, "create", "jobs/tick-1", job)
    limit = log("bob", "patch", "cronjobs/tick", {"spec": {**spec, "successfulJobsHistoryLimit": 0}})
    later = log("carol", "patch", "cronjobs/tick", {"spec": {**spec, "successfulJobsHistoryLimit": 0, "schedule": "1 * * * *"}})
    log.gone(CC, "jobs/tick-1")
    log("zoe", "patch", "cronjobs/tick", {"spec": {**spec, "successfulJobsHistoryLimit": 7, "schedule": "1 * * * *"}})
    log(CC, "create", "jobs/tick-2", job)
    return [("job/tick-1", "delete", limit), ("job/tick-2", "create", later)]


@scenes
def a_suspended_job_loses_its_pods_and_a_resumed_one_gets_them(log: Scene) -> Expected:
    log("ann", "create", "jobs/once", {"spec": {"parallelism": 1, "suspend": False}})
    pod = log.of("jobs/once", {"spec": {}})
    log(JC, "create", "pods/once-a", pod)
    stop = log("bob", "patch", "jobs/once", {"spec": {"parallelism": 1, "suspend": True}})
    log.drop(JC, "pods/once-a", pod)
    go = log("carol", "patch", "jobs/once", {"spec": {"parallelism": 1, "suspend": False}})
    log("zoe", "patch", "jobs/once", {"spec": {"parallelism": 1, "suspend": False, "ttlSecondsAfterFinished": 9}})
    log(JC, "create", "pods/once-b", pod)
    return [("pod/once-a", "delete", stop), ("pod/once-b", "create", go)]


@scenes
def a_job_that_failed_loses_its_pods_by_nobody(log: Scene) -> Expected:
    log("ann", "create", "jobs/once", {"spec": {"parallelism": 2}})
    pod = log.of("jobs/once", {"spec": {}})
    log(JC, "create", "pods/once-a", pod)
    log.drop(JC, "pods/once-a", pod)
    return [("pod/once-a", "delete", None)]


@scenes
def more_replicas_are_no_reason_to_delete(log: Scene) -> Expected:
    log("ann", "create", "replicasets/web-1", {"spec": {"replicas": 1}})
    pod = log.of("replicasets/web-1", {"spec": {}})
    log(RC, "create", "pods/web-1-a", pod)
    log("bob", "patch", "replicasets/web-1", {"spec": {"replicas": 5}})
    log.drop(RC, "pods/web-1-a", pod)
    return [("pod/web-1-a", "delete", None)]


@scenes
def of_two_autoscalers_of_one_target_the_one_with_that_bound_counts(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", workload(1))
    ref = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    log("bob", "create", "horizontalpodautoscalers/a", {"spec": {**ref, "minReplicas": 2, "maxReplicas": 4}})
    two = log("carol", "create", "horizontalpodautoscalers/b", {"spec": {**ref, "minReplicas": 6, "maxReplicas": 9}})
    scale = {"spec": {"replicas": 6}}
    log(HPA, "update", "deployments/web/scale", scale, answer={"kind": "Scale", "apiVersion": "autoscaling/v1", **scale})
    return [("deploy/web", "scale", two)]


@scenes
def of_two_autoscalers_that_may_both_have_meant_it_nobody_is_named(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", workload(1))
    ref = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    log("bob", "create", "horizontalpodautoscalers/a", {"spec": {**ref, "minReplicas": 2, "maxReplicas": 9}})
    log("carol", "create", "horizontalpodautoscalers/b", {"spec": {**ref, "minReplicas": 3, "maxReplicas": 9}})
    scale = {"spec": {"replicas": 5}}
    log(HPA, "update", "deployments/web/scale", scale, answer={"kind": "Scale", "apiVersion": "autoscaling/v1", **scale})
    return [("deploy/web", "scale", None)]


@scenes
def the_bound_that_was_reached_names_who_set_it(log: Scene) -> Expected:
    log("ann", "create", "deployments/web", workload(1))
    ref = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    log("ann", "create", "horizontalpodautoscalers/a", {"spec": {**ref, "minReplicas": 1, "maxReplicas": 4}})
    low = log("bob", "patch", "horizontalpodautoscalers/a", {"spec": {**ref, "minReplicas": 3, "maxReplicas": 4}})
    log("zoe", "patch", "horizontalpodautoscalers/a", {"spec": {**ref, "minReplicas": 3, "maxReplicas": 40}})
    scale = {"spec": {"replicas": 3}}
    log(HPA, "update", "deployments/web/scale", scale, answer={"kind": "Scale", "apiVersion": "autoscaling/v1", **scale})
    return [("deploy/web", "scale", low)]


@pytest.fixture(scope="module")
def lake(make_lake: Callable[..., Lake]) -> Lake:
    return make_lake(scenes.lines()[0], name="workloads")


@pytest.mark.parametrize("name", scenes.made)
def test_the_right_person_is_named(lake: Lake, name: str) -> None:
    assert wrong(lake, *scenes.lines()[1][name]) == []
