"""Forensics on made-up events: what must hold without any capture at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditlens.errors import UsageError
from auditlens.forensics.changes import changes, flatten, words
from auditlens.forensics.completeness import completeness
from auditlens.forensics.diff import blame, diff
from auditlens.forensics.state import state
from auditlens.forensics.why import why
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake

from .made import Log


def event(
    n: int, verb: str, name: str, *, user: str = "ann", code: int = 200, level: str = "RequestResponse", **more: Any
) -> bytes:
    at = f"2026-11-23T10:00:{n:02}.000000Z"
    made = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level, "auditID": f"id-{n}", "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/shop/configmaps/{name}{more.pop('query', '')}", "verb": verb, "user": {"username": user},
        "sourceIPs": ["10.0.0.7"], "userAgent": "kubectl/v1.36",
        "objectRef": {"resource": "configmaps", "namespace": "shop", "name": name, "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": code}, **more, "requestReceivedTimestamp": at, "stageTimestamp": at,
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }  # fmt: skip
    return json.dumps(made).encode() + b"\n"


def body(version: int, uid: str = "u1", **data: str) -> dict[str, Any]:
    meta = {"name": "a", "namespace": "shop", "uid": uid, "resourceVersion": str(version)}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": data}


GONE = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "details": {"name": "a", "kind": "configmaps", "uid": "u1"},
}


def test_two_lives_of_a_name(make_lake: Callable[..., Lake]) -> None:
    lake = make_lake([
        event(1, "create", "a", code=201, responseObject=body(1, x="1")),
        event(2, "update", "a", user="bob", responseObject=body(2, x="2")),
        event(3, "delete", "a", user="eve", responseObject=GONE),
        event(4, "create", "a", user="zoe", code=201, responseObject=body(9, "u2", x="3")),
    ])  # fmt: skip
    assert [(k.uid, k.fidelity, k.object["data"]) for k in state(lake, "cm/a").objects if k.object] == [
        ("u2", "exact", {"x": "3"})
    ]
    assert [k.uid for k in state(lake, "cm/a", at="2026-11-23T10:00:02.5Z").objects] == ["u1"]
    assert state(lake, "cm/a", at="2026-11-23T10:00:03.5Z").objects == []
    chain = why(lake, "cm/a", namespace="shop", event="delete")
    assert chain.root and (chain.root.event.username, chain.root.event.audit_id) == ("eve", "id-3")
    change = diff(lake, "cm/a", until="2026-11-23T10:00:02.5Z").as_dicts()
    assert [(c["path"], c["old"], c["new"], c["username"]) for c in change] == [("data.x", "1", "2", "bob")]


def test_late_reads_dry_runs_and_refusals_change_nothing(make_lake: Callable[..., Lake]) -> None:
    lake = make_lake([
        event(1, "create", "a", code=201, responseObject=body(1, x="1")),
        event(2, "update", "a", responseObject=body(2, x="2")),
        event(3, "get", "a", query="?resourceVersion=0", responseObject=body(1, x="1")),
        event(4, "update", "a", query="?dryRun=All", responseObject=body(2, x="dry")),
        event(5, "delete", "a", query="?dryRun=All", responseObject=GONE),
        event(6, "delete", "a", user="eve", code=403, responseObject={"kind": "Status", "status": "Failure"}),
    ])  # fmt: skip
    known = state(lake, "cm/a").objects[0]
    assert known.fidelity == "exact" and known.object and known.object["data"] == {"x": "2"} and known.event.audit_id == "id-2"
    assert why(lake, "cm/a", namespace="shop", event="delete").links == []


def test_request_level_is_derived_and_metadata_is_marked(make_lake: Callable[..., Lake]) -> None:
    sent = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "shop"}, "data": {"x": "1", "y": "1"}}
    lake = make_lake([
        event(1, "create", "a", code=201, level="Request", requestObject=sent),
        event(2, "patch", "a", level="Request", requestObject={"data": {"x": "2", "y": None}}),
        event(3, "patch", "a", level="Request", requestObject=[{"op": "add", "path": "/data/z", "value": "3"}]),
        event(4, "create", "b", code=201, level="Metadata"),
    ])  # fmt: skip
    found = {k.key.name: k for k in state(lake, "cm").objects}
    assert found["a"].fidelity == "derived" and found["a"].object and found["a"].object["data"] == {"x": "2", "z": "3"}
    assert found["b"].fidelity == "metadata" and found["b"].object is None


def test_a_404_or_a_full_list_ends_what_was_not_seen_to_end(make_lake: Callable[..., Lake]) -> None:
    first = event(1, "create", "a", code=201, responseObject=body(1, x="1"))
    missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
    status = {"metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404}
    assert (
        state(make_lake([first, event(2, "get", "a", code=404, responseObject=missing, responseStatus=status)]), "cm").objects
        == []
    )
    listed = json.loads(
        event(
            3,
            "list",
            "x",
            responseObject={"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": []},
        )
    )
    del listed["objectRef"]["name"]
    listed["requestURI"] = "/api/v1/namespaces/shop/configmaps"
    assert state(make_lake([first, json.dumps(listed).encode() + b"\n"]), "cm").objects == []
    listed["requestURI"] += "?labelSelector=a%3Db"
    assert len(state(make_lake([first, json.dumps(listed).encode() + b"\n"]), "cm").objects) == 1


def test_changes_are_named_by_keys() -> None:
    old = {
        "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}], "replicas": 3},
        "metadata": {"resourceVersion": "1"},
    }
    new = {
        "spec": {"containers": [{"name": "b", "image": "3"}, {"name": "a", "image": "1"}], "replicas": 100},
        "metadata": {"resourceVersion": "2"},
    }
    assert words(changes(old, new)) == "spec.containers[name=b].image 2 → 3; spec.replicas 3 → 100"
    assert flatten({"a": {}, "b": []}) == {"a": {}, "b": []} and changes({"a": None}, {}) != []


def test_the_same_name_in_two_clusters_is_two_objects(tmp_path: Path) -> None:
    for cluster, eve in (("A", "eve"), ("B", "bob")):
        log = tmp_path / cluster / "audit.log"
        log.parent.mkdir()
        log.write_bytes(
            event(1, "create", "a", code=201, responseObject=body(1)) + event(2, "delete", "a", user=eve, responseObject=GONE)
        )
        import_files([log], tmp_path / "lake", cluster=cluster)
    with pytest.raises(UsageError, match=r"in cluster A.*in cluster B"):
        why(tmp_path / "lake", "cm/a", namespace="shop")
    with pytest.raises(UsageError, match=r"in cluster A.*in cluster B"):
        diff(tmp_path / "lake", "cm/a", namespace="shop")
    root = why(tmp_path / "lake", "cm/a", namespace="shop", cluster="B").root
    assert root and root.as_dict()["username"] == "bob"
    assert {row["cluster"] for row in blame(tmp_path / "lake", "cm/a", cluster="A")} == {"A"}


def test_a_difference_backwards_is_refused(make_lake: Callable[..., Lake]) -> None:
    lake = make_lake([event(1, "create", "a", code=201, responseObject=body(1))])
    with pytest.raises(UsageError, match="backwards"):
        diff(lake, "cm/a", since="2026-11-23T10:00:05Z", until="2026-11-23T10:00:01Z")


def test_a_gap_is_found_in_a_log_of_few_events(make_lake: Callable[..., Lake]) -> None:
    """Of 180 events the longest silence is above the 99.9th percentile of all, so it may not set the measure."""

    def at(second: int) -> bytes:
        made = json.loads(event(0, "update", "a", responseObject=body(second)))
        made["auditID"] = f"id-{second}"
        made["requestReceivedTimestamp"] = made["stageTimestamp"] = (
            f"2026-11-23T1{second // 3600}:{second // 60 % 60:02}:{second % 60:02}.000000Z"
        )
        return json.dumps(made).encode() + b"\n"

    found = completeness(make_lake([at(s) for s in range(0, 3600, 10) if not 600 <= s < 2400])).findings
    assert [(f.kind, f.what) for f in found if f.kind == "gap"] == [("gap", "nothing for 1810 s")]
    assert not [f for f in completeness(make_lake([at(s) for s in range(0, 3600, 10)])).findings if f.kind == "gap"]


@pytest.mark.parametrize(("grace", "left"), [(0, []), (1, ["web"]), (30, ["web"]), (None, ["web"])])
def test_a_pod_whose_deletion_shows_no_answer_stops_first_unless_it_was_forced(
    make_lake: Callable[..., Lake], grace: int | None, left: list[str]
) -> None:
    """At level Request; what has no grace period is gone in any case (registry/core/pod/strategy.go, CheckGracefulDelete)."""
    log = Log()
    options = {"kind": "DeleteOptions", "apiVersion": "v1"} | ({} if grace is None else {"gracePeriodSeconds": grace})
    for thing in ("pods/web", "configmaps/web"):
        log("ann", "create", thing, {"spec": {"nodeName": "n1"}})
        log("eve", "delete", thing, level="Request", request=options)
    lake = make_lake(log.lines)
    assert [k.key.name for k in state(lake, "pod").objects] == left
    assert state(lake, "cm").objects == []
