"""Patches make of an object what the apiserver made of it: checked against every patch of the captures, and by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from auditlens.forensics.patches import PatchError, json_patch, merge_patch, strategic_patch, type_of
from auditlens.forensics.state import state
from auditlens.lake import Lake

from .conftest import dump, lines, plain

POD = type_of("v1", "Pod")


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": list(containers), **spec}}


def test_lists_merge_by_their_key() -> None:
    now = pod({"name": "a", "image": "1"}, {"name": "b", "image": "2"})
    out = strategic_patch(now, {"spec": {"containers": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]}}, POD)
    assert [(c["name"], c["image"]) for c in out["spec"]["containers"]] == [("a", "1"), ("b", "3"), ("c", "4")]
    assert now["spec"]["containers"][1]["image"] == "2", "the original is left alone"


def test_directives() -> None:
    now = pod({"name": "a", "image": "1"}, {"name": "b", "image": "2"})
    gone = strategic_patch(now, {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}, POD)
    assert [c["name"] for c in gone["spec"]["containers"]] == ["b"]
    new = strategic_patch(now, {"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}, POD)
    assert new["spec"]["containers"] == [{"name": "z"}]
    ordered = strategic_patch(now, {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}, POD)
    assert [c["name"] for c in ordered["spec"]["containers"]] == ["b", "a"]
    volume = {"name": "v", "emptyDir": {}}
    kept = strategic_patch(
        pod(volumes=[volume]),
        {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}},
        POD,
    )
    assert kept["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]
    meta = {"metadata": {"finalizers": ["a", "b"]}}
    assert strategic_patch(meta, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, POD) == {
        "metadata": {"finalizers": ["b"]}
    }
    assert strategic_patch(meta, {"metadata": {"finalizers": ["b", "c"]}}, POD) == {"metadata": {"finalizers": ["a", "b", "c"]}}
    assert strategic_patch({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, None) == {"a": {"c": 2}}


def test_what_has_no_key_is_replaced() -> None:
    now = pod({"name": "a", "command": ["x"]}, tolerations=[{"key": "a"}])
    out = strategic_patch(now, {"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "command": ["y"]}]}}, POD)
    assert out["spec"]["tolerations"] == [{"key": "b"}] and out["spec"]["containers"][0]["command"] == ["y"]


def test_merge_patch_is_rfc_7386() -> None:
    assert merge_patch({"a": {"b": 1, "c": [1]}}, {"a": {"b": None, "c": [2], "d": {"e": None}}}) == {"a": {"c": [2], "d": {}}}
    assert merge_patch(1, {"a": 1}) == {"a": 1} and merge_patch({"a": 1}, [1]) == [1]


def test_json_patch_is_rfc_6902() -> None:
    assert json_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}, {"op": "test", "path": "/a/1", "value": 2}]) == {
        "a": [1, 2]
    }
    for wrong in ([{"op": "remove", "path": "/nope"}], [{"op": "test", "path": "/a", "value": 1}], [{"no": "op"}], ["x"]):
        with pytest.raises(PatchError):
            json_patch({"a": [1]}, wrong)


def without_answers(line: bytes, verbs: tuple[str, ...]) -> bytes:
    """The line as a policy of level Request would have it, for some verbs; reads of these objects are left out."""
    e = json.loads(line)
    if e["verb"] in verbs and e.get("responseStatus", {}).get("code", 500) < 300:
        e.pop("responseObject", None)
        e["level"] = "Request"
    return json.dumps(e).encode() + b"\n"


def test_states_come_out_the_same_from_patches_alone(make_lake: Callable[..., Lake], redactor: Any) -> None:
    at, wanted = dump("full", redactor)
    kept = [without_answers(x, ("patch",)) for x in lines("full") if b'"verb":"get"' not in x and b'"verb":"list"' not in x]
    found = state(make_lake(kept, name="patches"), at=at).objects
    derived = [k for k in found if k.fidelity == "derived" and k.event.verb == "patch" and k.object is not None]
    assert len(derived) >= 20
    different = []
    for known in derived:
        want = wanted[(known.key.resource, known.key.namespace, known.key.name)]
        got = plain(known.object) or {}
        for body in (want, got):  # the store's and the server's defaults, not the patch's
            body.pop("status", None)
            for field in ("resourceVersion", "generation"):
                body["metadata"].pop(field, None)
        if got != want:
            different.append(str(known.key))
    assert len(different) <= len(derived) * 0.05, different
    assert not [
        k for k in found if k.fidelity == "exact" and plain(k.object) != wanted.get((k.key.resource, k.key.namespace, k.key.name))
    ]
