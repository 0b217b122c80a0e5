"""What a deletecollection took with it where its answer was not recorded, and what may have been taken by nobody that is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import auditlens
from auditlens.forensics.sweeps import chooses
from auditlens.forensics.why import why
from auditlens.lake import Lake

from .made import Log, root

MISSING = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "message": 'configmaps "a" not found',
    "code": 404,
}


def sweep(log: Log, user: str, resource: str = "configmaps", query: str = "") -> str:
    ref = {"resource": resource, "namespace": "shop", "apiVersion": "v1"}
    return log(
        user,
        "deletecollection",
        f"{resource}/x",
        level="Metadata",
        objectRef=ref,
        requestURI=f"/api/v1/namespaces/shop/{resource}{query}",
    )


def missing(log: Log) -> None:
    log("eve", "get", "configmaps/a", requestObject=None, responseStatus=MISSING, responseObject=MISSING)


def labelled(**labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [("", True), ("app=a", True), ("app==a,tier", True), ("app!=a", False), ("!tier", False), ("!other", True), ("tier in (x, y)", True),
     ("tier notin (x,y)", False), ("other notin (x)", True), ("app=b", False), ("app=a,tier in (z)", False), ("app=a;tier", False)],
)  # fmt: skip
def test_a_selector_chooses_as_the_server_does(selector: str, chosen: bool) -> None:
    assert chooses(selector, {"app": "a", "tier": "x"}) is chosen


def test_a_pod_of_a_collection_that_was_not_recorded(make_lake: Callable[..., Lake]) -> None:
    """The kubelet's word leads to the collection whose selector chooses the pod, not to the other."""
    log = Log()
    log("ann", "create", "pods/a", labelled(app="a"))
    sweep(log, "zoe", "pods", "?labelSelector=app%3Db")
    id = sweep(log, "bob", "pods", "?labelSelector=app+in+%28a%29")
    log.gone("system:node:n1", "pods/a")
    lake = make_lake(log.lines)
    assert root(why(lake, "pod/a", namespace="shop", event="delete")) == ("bob", id)
    rows = auditlens.ask(lake, "who-deleted", object="pod/a").frame.to_dicts()
    assert [r["root_username"] for r in rows if r["name"] == "a"] == ["bob"]


def test_two_people_swept_and_nobody_is_named(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", labelled(app="a"))
    sweep(log, "zoe")
    sweep(log, "bob")
    missing(log)
    chain = why(make_lake(log.lines), "cm/a", namespace="shop", event="delete")
    assert root(chain) is None and any("zoe" in x and "bob" in x for x in chain.limits), chain.limits


def test_what_was_gone_without_a_request_was_not_there_all_the_time(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", labelled(app="a"))
    sweep(log, "zoe", query="?labelSelector=app%3Db")
    missing(log)
    chain = why(make_lake(log.lines), "cm/a", namespace="shop", event="delete")
    assert root(chain) is None and any("was gone by" in x for x in chain.limits), chain.limits


def test_a_collection_that_what_was_missing_was_in(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    log("ann", "create", "configmaps/a", labelled(app="a"))
    id = sweep(log, "zoe")
    missing(log)
    assert root(why(make_lake(log.lines), "cm/a", namespace="shop", event="delete")) == ("zoe", id)
