"""`who-deleted` and `why` name the same root for every deletion: rows explained together, and objects explained one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import auditlens
from auditlens import engine
from auditlens.errors import UsageError
from auditlens.forensics.events import Key
from auditlens.forensics.tracer import Tracer
from auditlens.forensics.why import explain
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake

from .conftest import CAPTURES, SHARED, needs_captures
from .made import Log

BIG = ("full", "everything", "bulk")


def disagreements(lake: Lake) -> tuple[int, list[str]]:
    """How many objects were deleted, and those of which the two say different things."""
    rows = auditlens.ask(lake, "who-deleted", limit=10**7).frame.to_dicts()
    last: dict[Key, dict[str, Any]] = {}
    for row in rows:
        if row["name"] is not None:
            namespace = None if row["resource"] == "namespaces" else row["namespace"]
            last[Key(row["cluster"], row["api_group"] or "", row["resource"], namespace, row["name"])] = row

    def run(con: Any) -> list[str]:
        tracer, found = Tracer(con), []
        for key, row in last.items():
            chain = explain(tracer, tracer.exactly(key), "delete", None)
            told = (chain.root.event.actor, chain.root.event.audit_id) if chain.root else (None, None)
            if told != (row["root_username"], row["root_audit_id"]):
                found.append(
                    f"{key}: who-deleted {row['root_username']} {row['root_audit_id']} {row['root_limit']}, why {told} {chain.limits}"
                )
        return found

    return len(last), engine.with_snapshot(lake, run)


@pytest.mark.parametrize("capture", ["full", "everything"])
def test_the_two_agree_on_every_deletion_of_a_capture(request: pytest.FixtureRequest, capture: str) -> None:
    count, found = disagreements(request.getfixturevalue(capture))
    assert count > 100 and found == []


def logs() -> list[Path]:
    found = [p for p in sorted(CAPTURES.glob("*/audit*.log*")) if p.parent.name not in BIG]
    return [*found, *sorted((SHARED / "field").glob("*/*.log"))] if SHARED.is_dir() else []


@needs_captures
@pytest.mark.slow
@pytest.mark.parametrize("log", logs(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_the_two_agree_on_every_log(log: Path, tmp_path: Path) -> None:
    try:
        import_files([log], tmp_path / "lake")
    except UsageError:
        pytest.skip("no audit log")
    assert disagreements(Lake(tmp_path / "lake"))[1] == []


def test_the_first_of_several_requests_for_an_end_is_the_root(make_lake: Callable[..., Lake]) -> None:
    """Bob's pod deletion hurries up what alice asked for, the kubelet finishes it; zoe's pod of that name is another."""
    log = Log()
    going = {"deletionTimestamp": "2026-11-23T10:00:31Z", "deletionGracePeriodSeconds": 30}
    pod = {"spec": {"nodeName": "n1"}}
    log("ann", "create", "pods/a", pod)
    first = log("alice", "delete", "pods/a", {**pod, "metadata": going})
    log("bob", "delete", "pods/a", {**pod, "metadata": going})
    log("system:node:n1", "delete", "pods/a", {**pod, "metadata": going}, request={"gracePeriodSeconds": 0})
    log("ann", "create", "pods/a", pod, uid="uid-anew")
    second = log("zoe", "delete", "pods/a", {**pod, "metadata": going}, uid="uid-anew")
    lake = make_lake(log.lines)
    rows = auditlens.ask(lake, "who-deleted", object="pod/a").frame.to_dicts()
    assert [(r["username"], r["root_username"], r["root_audit_id"]) for r in rows] == [
        ("alice", "alice", first), ("bob", "alice", first), ("system:node:n1", "alice", first), ("zoe", "zoe", second),
    ]  # fmt: skip
    assert disagreements(lake) == (1, [])


def test_an_eviction_tells_no_uid_and_is_the_root_all_the_same(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    pod = {"spec": {"nodeName": "n1"}}
    log("ann", "create", "pods/a", pod)
    answer = {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}
    id = log("alice", "create", "pods/a/eviction", answer=answer, requestObject={"kind": "Eviction", "metadata": {"name": "a"}})
    gone = {"deletionTimestamp": "2026-11-23T10:00:31Z", "deletionGracePeriodSeconds": 30}
    log("system:node:n1", "delete", "pods/a", {**pod, "metadata": gone}, request={"gracePeriodSeconds": 0})
    rows = auditlens.ask(make_lake(log.lines), "who-deleted", object="pod/a").frame.to_dicts()
    assert [(r["how"], r["root_username"], r["root_audit_id"]) for r in rows] == [
        ("eviction", "alice", id),
        ("kubelet", "alice", id),
    ]


@pytest.mark.parametrize("level", ["Metadata", "Request"])
def test_a_kubelets_word_leads_to_who_asked_at_every_level(make_lake: Callable[..., Lake], level: str) -> None:
    log = Log()
    log("ann", "create", "pods/a", level="Metadata")
    id = log("alice", "delete", "pods/a", level=level)
    log("system:node:n1", "delete", "pods/a", level=level)
    rows = auditlens.ask(make_lake(log.lines), "who-deleted", object="pod/a").frame.to_dicts()
    assert [(r["how"], r["root_username"], r["root_audit_id"]) for r in rows] == [
        ("direct", "alice", id),
        ("kubelet", "alice", id),
    ]


def test_what_led_to_a_deletion_may_be_older_than_the_window(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "configmaps/one", {"data": {}})
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": "uid-one"}
    log("ann", "create", "configmaps/child", {"metadata": {"ownerReferences": [ref]}})
    id = log.gone("bob", "configmaps/one")
    log.first += 50
    log.gone("*generic-garbage-collector", "configmaps/child")
    (row,) = auditlens.ask(make_lake(log.lines), "who-deleted", since="2026-11-23T10:00:30Z").frame.to_dicts()
    assert (row["name"], row["root_username"], row["root_audit_id"]) == ("child", "bob", id)
