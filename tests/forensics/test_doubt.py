"""What the log leaves open stays open: writes of unknown outcome, bodies in other API versions, lists, caches, statuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import auditlens
from auditlens import history
from auditlens.forensics.diff import blame, diff
from auditlens.forensics.state import state
from auditlens.forensics.why import why
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake

from .conftest import SHARED
from .made import Log, root

Make = Callable[..., Lake]
FIELD = SHARED / "field" / "90-real-cluster"
TIMEOUT = {"responseStatus": {"metadata": {}, "status": "Failure", "reason": "Timeout", "code": 504}, "responseObject": None}
MISSING = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "message": 'configmaps "a" not found',
    "code": 404,
}
NOT_FOUND = {"responseStatus": MISSING, "responseObject": MISSING}


def cm(**data: str) -> dict[str, Any]:
    return {"data": data}


def known(make: Make, log: Log, object: str = "cm/a", **params: Any) -> list[tuple[str, Any]]:
    return [(k.fidelity, (k.object or {}).get("data")) for k in state(make(log.lines), object, **params).objects]


def listed(
    log: Log, *names: str, uri: str = "", name: str | None = None, kind: str = "ConfigMapList", version: int | None = None
) -> str:
    """A list of configmaps of the namespace."""
    items = [{"metadata": {"name": n, "namespace": "shop", "uid": f"uid-{n}", "resourceVersion": "101"}} for n in names]
    answer: dict[str, Any] = {
        "kind": kind,
        "apiVersion": "v1",
        "metadata": {"resourceVersion": str(version or log.version + 1)},
        "items": items,
    }
    if kind == "Table":
        answer = {**answer, "rows": [{"cells": [], "object": {"kind": "PartialObjectMetadata", **i}} for i in items]}
        del answer["items"]
    ref = {"resource": "configmaps", "namespace": "shop", "apiVersion": "v1", "name": name}
    return log(
        "eve", "list", "configmaps/x", answer=answer, requestObject=None, requestURI=f"/api/v1/namespaces/shop/configmaps{uri}",
        objectRef={k: v for k, v in ref.items() if v},
    )  # fmt: skip


# Writes that others saw before they were answered


def bind(log: Log, **fields: Any) -> None:
    """The scheduler puts pod a on node n1."""
    answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    node = {"kind": "Node", "name": "n1"}
    log("*scheduler", "create", "pods/a/binding", request={"kind": "Binding", "target": node}, answer=answer, **fields)


def test_a_binding_set_the_node_and_the_condition_though_a_list_shows_them_before_it_is_answered(make_lake: Make) -> None:
    log = Log()
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-11-23T10:00:01Z"}
    bound = {"spec": {"priority": 0, "nodeName": "n1"}, "status": {"phase": "Pending", "conditions": [condition]}}
    log("eve", "create", "pods/a", {"spec": {"priority": 0}, "status": {"phase": "Pending"}})
    log("system:node:n1", "get", "pods/a", bound, requestObject=None)
    at = {"requestReceivedTimestamp": "2026-11-23T10:00:00.500000Z"}
    bind(log, **at)
    log(
        "system:node:n1",
        "patch",
        "pods/a/status",
        {**bound, "status": {"phase": "Running", "conditions": [condition]}},
        request={},
    )
    lake = make_lake(log.lines)
    scheduled = "status.conditions[type=PodScheduled]"
    assert [r["changed"] for r in history(lake, "pod/a").frame.iter_rows(named=True)][1:] == [
        f"spec.nodeName + n1; {scheduled}.status + True; {scheduled}.type + PodScheduled", "status.phase Pending → Running"
    ]  # fmt: skip
    told = {r["path"]: r["username"] for r in auditlens.blame(lake, "pod/a").frame.iter_rows(named=True)}
    assert told["spec.nodeName"] == "system:kube-scheduler"


def test_a_read_of_the_version_before_a_binding_does_not_undo_it(make_lake: Make) -> None:
    log = Log()
    pod = {"spec": {"priority": 0}, "status": {"phase": "Pending"}, "metadata": {"resourceVersion": "101"}}
    log("eve", "create", "pods/a", pod)
    bind(log)
    log("eve", "get", "pods/a", pod, requestObject=None)
    (known,) = state(make_lake(log.lines), "pod/a").objects
    assert (known.fidelity, known.object["spec"]["nodeName"]) == ("derived", "n1")


# Writes of unknown outcome


def test_a_write_whose_end_the_log_does_not_hold_is_told_by_every_answer_about_the_object(make_lake: Make) -> None:
    log = Log()
    lost = {"stage": "RequestReceived", "responseStatus": None, "responseObject": None}
    log("eve", "create", "configmaps/a", cm(v="1"))
    log("mallory", "delete", "configmaps/a", **lost)
    log("mallory", "create", "configmaps/b", cm(v="1"), auditID="done", **lost)
    log("mallory", "create", "configmaps/b", cm(v="1"), auditID="done")
    log("mallory", "patch", "configmaps/b/status", **lost)
    lake = make_lake(log.lines)
    told = "the delete by mallory of 2026-11-23T10:00:01.000000Z (id-1) came in, and what became of it is not in the log: it may have been done"
    assert told in why(lake, "cm/a").limits
    assert told in auditlens.ask(lake, "who-deleted", object="cm/a").limits
    assert told in history(lake, "cm/a").limits
    assert not any("came in" in x for x in (*why(lake, "cm/b").limits, *history(lake, "cm/b").limits))


@pytest.mark.parametrize(
    "outcome",
    [
        TIMEOUT,
        {"responseStatus": {"metadata": {}, "code": 499}, "responseObject": None},
        {"responseStatus": {"metadata": {}, "status": "Failure", "reason": "Timeout", "code": 500}, "responseObject": None},
        {"stage": "Panic", "responseStatus": {"metadata": {}, "status": "Failure", "code": 500}, "responseObject": None},
        {"stage": "RequestReceived", "responseStatus": None, "responseObject": None},
    ],
    ids=["504", "499", "500", "panic", "lost"],
)
def test_a_create_of_unknown_outcome_may_be_there(make_lake: Make, outcome: dict[str, Any]) -> None:
    log = Log()
    log("alice", "create", "configmaps/a", cm(x="1"), **outcome)
    log("zoe", "create", "configmaps/other", cm())
    (found,) = state(make_lake(log.lines), "cm/a").objects
    assert found.fidelity == "unknown" and found.object is None and "or not" in (found.note or "")


def test_a_gap_in_the_revisions_is_a_hint_and_no_proof(make_lake: Make) -> None:
    log = Log()
    for i in range(60):
        log("zoe", "update", "configmaps/other", cm(x=str(i)))
    log("alice", "create", "configmaps/a", cm(x="1"), **TIMEOUT)
    for i in range(60):
        log("zoe", "update", "configmaps/other", cm(x=str(i)))
    (found,) = state(make_lake(log.lines), "cm/a").objects
    assert found.fidelity == "unknown" and "this one or another" in (found.note or "")


def test_later_evidence_decides_a_create(make_lake: Make) -> None:
    log = Log()
    log("alice", "create", "configmaps/a", cm(x="1"), **TIMEOUT)
    refused = {"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409}
    log("alice", "create", "configmaps/a", cm(x="1"), responseStatus=refused, responseObject=refused)
    assert known(make_lake, log) == [("exists", None)]
    log("alice", "get", "configmaps/a", cm(x="1"))
    assert known(make_lake, log) == [("exact", {"x": "1"})]


def test_a_create_that_was_not_done(make_lake: Make) -> None:
    log = Log()
    log("alice", "create", "configmaps/a", cm(x="1"), **TIMEOUT)
    log("alice", "get", "configmaps/a", requestObject=None, **NOT_FOUND)
    assert [k for k, _ in known(make_lake, log)] == ["unknown"], "a second later it may still be on its way"
    log.first += 60
    log("alice", "get", "configmaps/a", requestObject=None, **NOT_FOUND)
    assert known(make_lake, log) == []


def test_a_change_of_unknown_outcome_leaves_the_object_open(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    log("alice", "patch", "configmaps/a", cm(x="2"), **TIMEOUT)
    assert known(make_lake, log) == [("unknown", {"x": "1"})]
    log("bob", "get", "configmaps/a", cm(x="2"))
    assert known(make_lake, log) == [("exact", {"x": "2"})]


def test_who_wrote_next_did_not_change_what_another_may_have(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1", y="1"))
    log("alice", "update", "configmaps/a", cm(x="2", y="1"), **TIMEOUT)
    log("bob", "patch", "configmaps/a", cm(x="2", y="2"), request={"data": {"y": "2"}})
    lake = make_lake(log.lines)
    set_by = {r["path"]: r["username"] for r in blame(lake, "cm/a")}
    assert set_by["data.y"] == "bob" and set_by["data.x"] is None
    assert root(why(lake, "cm/a", namespace="shop", event="data.x")) is None
    assert {r["path"]: r["username"] for r in diff(lake, "cm/a").as_dicts()} == {"data.x": None, "data.y": "bob"}


def test_a_write_without_its_body_may_be_what_the_next_body_shows(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1", y="1"))
    log("alice", "update", "configmaps/a", level="Metadata", requestObject=None)
    log("bob", "update", "configmaps/a", cm(x="2", y="1"))
    lake = make_lake(log.lines)
    assert {r["username"] for r in blame(lake, "cm/a") if r["path"] == "data.x"} == {None}
    chain = why(lake, "cm/a", namespace="shop", event="data.x")
    assert root(chain) is None and any("alice" in x and "bob" in x for x in chain.limits), chain.limits


def test_a_deletion_of_unknown_outcome(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    id = log("alice", "delete", "configmaps/a", requestObject=None, **TIMEOUT)
    lake = make_lake(log.lines)
    chain = why(lake, "cm/a", namespace="shop", event="delete")
    assert root(chain) is None and any("alice" in x for x in chain.limits), chain.limits
    (row,) = auditlens.ask(lake, "who-deleted", object="cm/a").frame.to_dicts()
    assert (row["how"], row["audit_id"], row["root_username"]) == ("unknown", id, None)
    log.first += 60
    log("zoe", "get", "configmaps/a", requestObject=None, **NOT_FOUND)
    chain = why(make_lake(log.lines), "cm/a", namespace="shop", event="delete")
    assert root(chain) == ("alice", id) and chain.root and chain.root.sure == "likely"


def test_a_retry_is_the_deletion(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    log("alice", "delete", "configmaps/a", requestObject=None, **TIMEOUT)
    id = log.gone("bob", "configmaps/a")
    assert root(why(make_lake(log.lines), "cm/a", namespace="shop", event="delete")) == ("bob", id)


# Bodies of several API versions


def hpa(log: Log) -> None:
    v1 = {"minReplicas": 1, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50}
    log("alice", "create", "jobs/a", {"spec": v1}, api="autoscaling/v1")
    v2 = {"minReplicas": 4, "maxReplicas": 9, "metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]}
    log("bob", "patch", "jobs/a", {"spec": v2}, request={"spec": {"minReplicas": 4}}, api="autoscaling/v2")


def test_what_another_version_shows_nobody_changed(make_lake: Make) -> None:
    log = Log()
    hpa(log)
    lake = make_lake(log.lines)
    rows = {r["path"]: r for r in blame(lake, "job/a")}
    assert rows["spec.minReplicas"]["username"] == "bob"
    (metric,) = (r for p, r in rows.items() if p.startswith("spec.metrics") and p.endswith("name"))
    assert metric["username"] is None and "different API versions" in metric["limit"]
    told = diff(lake, "job/a")
    assert told.changes == [] and any("different API versions" in x for x in told.limits)
    words = history(lake, "job/a").frame["changed"].to_list()
    assert words[1].startswith("spec.minReplicas 1 → 4; the rest cannot be told")
    chain = why(lake, "job/a", namespace="shop", event="spec.metrics")
    assert root(chain) is None and any("different API versions" in x for x in chain.limits), chain.limits
    chain = why(lake, "job/a", namespace="shop", event="spec.minReplicas")
    assert root(chain) == ("bob", "id-1")


def test_back_in_the_first_version_the_other_writer_may_have_been_it(make_lake: Make) -> None:
    log = Log()
    hpa(log)
    spec = {"minReplicas": 4, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50}
    log("carol", "update", "jobs/a", {"spec": spec}, api="autoscaling/v1")
    rows = {r["path"]: r for r in blame(make_lake(log.lines), "job/a")}
    assert rows["spec.targetCPUUtilizationPercentage"]["username"] == "alice"
    assert rows["spec.maxReplicas"]["username"] == "carol", "bob's patch did not name it"
    assert rows["spec.minReplicas"]["username"] is None, "bob or carol"


def test_a_patch_in_another_version_is_not_applied(make_lake: Make) -> None:
    log = Log()
    log("alice", "create", "jobs/a", {"spec": {"parallelism": 1}}, api="batch/v1")
    log("bob", "patch", "jobs/a", request={"spec": {"x": 1}}, level="Request",
        objectRef={"resource": "jobs", "name": "a", "namespace": "shop", "apiGroup": "batch", "apiVersion": "v2"})  # fmt: skip
    (found,) = state(make_lake(log.lines), "job/a").objects
    assert found.fidelity == "metadata" and "batch/v2" in (found.note or "")


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field cases are not here")
def test_who_set_the_metrics_of_a_real_autoscaler(tmp_path: Path) -> None:
    import_files([FIELD / "r2-hpa-versions.log"], tmp_path)
    rows = [r for r in blame(str(tmp_path), "hpa/auto") if r["path"].startswith("spec.metrics")]
    assert rows and {r["username"] for r in rows} == {None}
    assert root(why(str(tmp_path), "hpa/auto", namespace="lab", event="spec.metrics")) is None


# What was there before the log


def test_who_writes_first_in_the_log_did_not_set_everything(make_lake: Make) -> None:
    log = Log()
    id = log("bob", "patch", "configmaps/a", cm(x="1", y="2"), request={"data": {"y": "2"}})
    rows = {r["path"]: r for r in blame(make_lake(log.lines), "cm/a")}
    assert rows["data.x"]["username"] is None and rows["data.x"]["seen_in"] == id


def test_a_wish_without_what_was_before_is_no_denial(make_lake: Make) -> None:
    log = Log()
    id = log("bob", "patch", "deployments/a", level="Request", request={"spec": {"replicas": 5}}, responseObject=None)
    chain = why(make_lake(log.lines), "deploy/a", namespace="shop", event="scale")
    assert root(chain) == ("bob", id) and chain.root and chain.root.sure == "likely"


def test_writes_without_bodies_are_no_denial(make_lake: Make) -> None:
    log = Log()
    log("bob", "update", "deployments/a", level="Metadata", requestObject=None, responseObject=None)
    chain = why(make_lake(log.lines), "deploy/a", namespace="shop", event="scale")
    assert root(chain) is None and any("cannot be told" in x and "bob" in x for x in chain.limits), chain.limits


# Lists, tables and caches


@pytest.mark.parametrize("kind", ["ConfigMapList", "Table", "PartialObjectMetadataList"])
def test_a_list_by_name_is_not_the_object(make_lake: Make, kind: str) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    log.gone("bob", "configmaps/a")
    listed(log, uri="?fieldSelector=metadata.name%3Da", name="a", kind=kind)
    assert known(make_lake, log) == []


@pytest.mark.parametrize("kind", ["ConfigMapList", "Table", "PartialObjectMetadataList"])
@pytest.mark.parametrize(
    ("uri", "name", "left"),
    [
        ("", None, 0),
        ("?fieldSelector=metadata.name%3Da", "a", 0),
        ("?fieldSelector=metadata.name%3Db", "b", 1),
        ("?labelSelector=x%3Dy", None, 1),
        ("?limit=500", None, 1),
        ("?fieldSelector=status.phase%3DRunning", None, 1),
        ("?includeObject=None", None, 1),
    ],
)
def test_a_whole_list_without_an_object_shows_that_it_is_gone(
    make_lake: Make, kind: str, uri: str, name: str | None, left: int
) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    listed(log, uri=uri, name=name, kind=kind)
    assert len(known(make_lake, log)) == left


def test_an_old_list_shows_nothing(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    listed(log, uri="?resourceVersion=0", version=99)
    assert known(make_lake, log) == [("exact", {"x": "1"})]


@pytest.mark.parametrize("uri", ["?resourceVersion=0", "?resourceVersion=100"])
def test_a_404_from_a_cache_proves_nothing(make_lake: Make, uri: str) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    log("zoe", "get", "configmaps/a", requestObject=None, requestURI=f"/api/v1/namespaces/shop/configmaps/a{uri}", **NOT_FOUND)
    assert known(make_lake, log) == [("exact", {"x": "1"})]


def test_a_404_of_an_api_that_is_not_served_proves_nothing(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    answer = {**MISSING, "message": "the server could not find the requested resource"}
    log("zoe", "get", "configmaps/a", requestObject=None, responseStatus=answer, responseObject=answer)
    assert known(make_lake, log) == [("exact", {"x": "1"})]


def test_a_kind_that_ends_in_list_is_an_object(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    line = json.loads(log.lines[0])
    line["responseObject"]["kind"] = "AllowList"
    log.lines = [json.dumps(line).encode() + b"\n"]
    assert known(make_lake, log) == [("exact", {"x": "1"})]


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field cases are not here")
def test_a_namespace_is_not_raised_by_an_empty_list(tmp_path: Path) -> None:
    import_files([FIELD / "r3-empty-list-resurrects.log"], tmp_path)
    assert state(str(tmp_path), "ns/cascade").objects == []


# Reads and writes at one resource version


def test_of_a_write_and_a_read_of_its_version_the_write_is_the_evidence(make_lake: Make) -> None:
    """The read was answered first, but it can only have seen what the write made."""
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    version = {"metadata": {"resourceVersion": "200"}}
    log("eve", "get", "configmaps/a", {**cm(x="2"), **version}, requestObject=None)
    id = log("bob", "update", "configmaps/a", {**cm(x="2"), **version}, requestReceivedTimestamp="2026-11-23T10:00:01.000000Z")
    lake = make_lake(log.lines)
    assert state(lake, "cm/a").objects[0].event.audit_id == id
    assert {r["username"] for r in blame(lake, "cm/a") if r["path"] == "data.x"} == {"bob"}


# Status


def test_who_wrote_a_status_is_followed(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "pods/a", {"spec": {}, "status": {"phase": "Pending"}})
    log("system:node:n1", "patch", "pods/a/status", {"spec": {}, "status": {"phase": "Running"}})
    id = log("bob", "patch", "pods/a/status", {"spec": {}, "status": {"phase": "Failed"}})
    log("zoe", "patch", "pods/a", {"spec": {}, "status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}})
    assert root(why(make_lake(log.lines), "pod/a", namespace="shop", event="status.phase")) == ("bob", id)


def test_a_kubelet_reports_for_nobody(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "replicasets/rs", {"spec": {"replicas": 1}})
    ref = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "uid-rs", "controller": True}]
    log("*replicaset-controller", "create", "pods/a", {"metadata": {"ownerReferences": ref}, "status": {"phase": "Pending"}})
    log("system:node:n1", "patch", "pods/a/status", {"metadata": {"ownerReferences": ref}, "status": {"phase": "Running"}})
    chain = why(make_lake(log.lines), "pod/a", namespace="shop", event="status.phase")
    assert root(chain) is None and len(chain.links) == 1 and any("reports" in x for x in chain.limits)


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field cases are not here")
def test_who_wrote_the_status_of_a_real_pod(tmp_path: Path) -> None:
    import_files([FIELD / "r4-status-phase.log"], tmp_path)
    found = root(why(str(tmp_path), "pod/tgt2", namespace="lab", event="status.phase"))
    assert found is not None and found[0] == "admin"


# Behind a proxy


def test_the_person_behind_a_proxy_acted(make_lake: Make) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", cm(x="1"))
    log("system:serviceaccount:kube-system:proxy", "patch", "configmaps/a", cm(x="2"), impersonatedUser={"username": "jane"})
    id = log.gone("system:serviceaccount:kube-system:proxy", "configmaps/a", impersonatedUser={"username": "jane"})
    lake = make_lake(log.lines)
    (row,) = auditlens.ask(lake, "who-deleted", object="cm/a").frame.to_dicts()
    assert (row["username"], row["root_username"], row["root_audit_id"]) == ("jane", "jane", id)
    assert row["impersonator"] == row["root_impersonator"] == "system:serviceaccount:kube-system:proxy"
    link = why(lake, "cm/a", namespace="shop", event="delete").as_dict()["root"]
    assert (link["username"], link["impersonator"]) == ("jane", "system:serviceaccount:kube-system:proxy")
    assert {r["username"] for r in blame(lake, "cm/a") if r["path"] == "data.x"} == {"jane"}
