"""Whatever stands in a body, no answer about objects dies of it: every part of one in turn is null, text, a number or a list."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

import auditlens
from auditlens import engine
from auditlens.answers.address import Address
from auditlens.forensics.diff import blame
from auditlens.forensics.state import state
from auditlens.forensics.tracer import Tracer
from auditlens.forensics.why import explain
from auditlens.lake import Lake

from .made import Log

ODD: tuple[Any, ...] = (None, "skipped-too-big-size-object", 7, [], [1, "x", None])


def story() -> list[dict[str, Any]]:
    """A pod of a replica set on a tainted node, from its making to its end, and a map that is patched in each way."""
    log = Log()
    refs = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "uid-rs", "controller": True}]
    pod = {"metadata": {"ownerReferences": refs, "labels": {"a": "b"}}, "spec": {"nodeName": "n1", "tolerations": [{"key": "t"}]}}
    log("ann", "create", "replicasets/rs", {"spec": {"replicas": 2}})
    log("*replicaset-controller", "create", "pods/p", pod)
    log(
        "system:node:n1",
        "patch",
        "pods/p/status",
        {**pod, "status": {"phase": "Running"}},
        request={"status": {"phase": "Running"}},
    )
    log("bob", "patch", "replicasets/rs", request={"spec": {"replicas": 1}}, level="Request", responseObject=None)
    log("ann", "create", "configmaps/c", {"data": {"x": "1"}, "metadata": {"finalizers": ["f"]}})
    log(
        "ann",
        "patch",
        "configmaps/c",
        request=[{"op": "add", "path": "/data/y", "value": "2"}],
        level="Request",
        responseObject=None,
    )
    log(
        "ann",
        "update",
        "configmaps/c",
        request={"data": {"z": "3"}, "metadata": {"name": "c"}},
        level="Request",
        responseObject=None,
    )
    going = {"deletionTimestamp": "2026-11-23T10:00:09Z", "deletionGracePeriodSeconds": 0}
    log(
        "eve", "delete", "configmaps/c", {"metadata": {**going, "finalizers": ["f"]}}, request={"propagationPolicy": "Foreground"}
    )
    log("eve", "patch", "configmaps/c", {"metadata": going}, request={"metadata": {"finalizers": None}})
    log("*replicaset-controller", "delete", "pods/p", {**pod, "metadata": {**pod["metadata"], **going}})
    log("*generic-garbage-collector", "delete", "replicasets/rs", {"metadata": {"ownerReferences": refs, **going}})
    return [json.loads(line) for line in log.lines]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from places(below, (*path, key))
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from places(below, (*path, i))


def spoiled() -> Iterator[list[dict[str, Any]]]:
    """The story once for each part of a body and each odd value."""
    whole = story()
    for n, event in enumerate(whole):
        for part in ("requestObject", "responseObject"):
            for path in places(event.get(part)) if event.get(part) is not None else ():
                for odd in ODD:
                    told = copy.deepcopy(whole)
                    at: Any = told[n]
                    *above, last = (part, *path)
                    for step in above:
                        at = at[step]
                    at[last] = odd
                    yield told


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_odd_bodies_spoil_no_answer(make_lake: Callable[..., Lake], every: int) -> None:
    lines = []
    for i, told in enumerate(islice(spoiled(), 0, None, every)):
        text = b"".join(json.dumps(e).encode() + b"\n" for e in told)
        lines.append(text.replace(b'"shop"', b'"ns-%d"' % i).replace(b'"auditID": "', b'"auditID": "%d-' % i))
    assert len(lines) > 100
    lake = make_lake(lines)
    assert auditlens.ask(lake, "who-deleted", limit=10**6).frame.height >= 3 * len(lines)
    assert state(lake).objects and state(lake, at="2026-11-23T10:00:04Z").objects
    assert blame(lake, "cm/c") is not None and auditlens.history(lake, "cm/c", limit=10**6).frame.height

    def explained(con: Any) -> int:
        tracer, count = Tracer(con), 0
        for name, resource, group in (("p", "pods", ""), ("c", "configmaps", ""), ("rs", "replicasets", "apps")):
            for life in tracer.lives(Address(group, (resource,), name)):
                one = tracer.exactly(life.key)
                tracer.warm({life.key: set()})
                for what in ("delete", "scale", "create", "metadata.labels", "data.x", None):
                    count += len(explain(tracer, one, what, None).links)
        return count

    assert engine.with_snapshot(lake, explained) > len(lines)
