"""Fields that a mutating webhook set within somebody's request: the request is named, and that it did not ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable

from auditlens.forensics.diff import blame, diff
from auditlens.forensics.why import why
from auditlens.lake import Lake

from .made import Log, root


def patched(*ops: tuple[str, object]) -> dict[str, str]:
    patch = [{"op": "add", "path": path, "value": value} for path, value in ops]
    note = {"configuration": "labeler", "webhook": "labeler.example.com", "patch": patch, "patchType": "JSONPatch"}
    return {
        "authorization.k8s.io/decision": "allow",
        "mutation.webhook.admission.k8s.io/round_0_index_0": json.dumps({**note, "patch": None, "mutated": True}),
        "patch.webhook.admission.k8s.io/round_0_index_0": json.dumps(note),
    }


def test_a_label_that_a_webhook_set_is_not_what_the_person_asked_for(make_lake: Callable[..., Lake]) -> None:
    log = Log()
    asked = {"metadata": {"labels": {"app": "web"}}, "spec": {"x": 1}}
    answered = {"metadata": {"labels": {"app": "web", "team": "red"}}, "spec": {"x": 1}}
    log(
        "ann",
        "create",
        "pods/a",
        answered,
        request=asked,
        annotations=patched(("/metadata/labels", answered["metadata"]["labels"])),
    )
    later = {**answered, "spec": {"x": 2, "y": 7}}
    id = log("bob", "patch", "pods/a", later, request={"spec": {"x": 2}}, annotations=patched(("/spec/y", 7)))
    log(
        "zoe",
        "patch",
        "pods/a",
        {**later, "spec": {"x": 2, "y": 8}},
        request={"spec": {"y": 8}},
        annotations=patched(("/spec/y", 8)),
    )
    lake = make_lake(log.lines)
    told = {r["path"]: (r["username"], r["limit"]) for r in blame(lake, "pod/a", at="2026-11-23T10:00:01.5Z")}
    assert told["metadata.labels.app"] == ("ann", None)
    assert (
        told["metadata.labels.team"][0] == "ann"
        and "labeler.example.com (configuration labeler)" in told["metadata.labels.team"][1]
    )
    assert told["spec.x"] == ("bob", None) and told["spec.y"][0] == "bob" and "webhook" in told["spec.y"][1]
    assert {r["path"]: r["limit"] for r in blame(lake, "pod/a")}["spec.y"] is None, "zoe asked for what it also set"
    chain = why(lake, "pod/a", namespace="shop", event="spec.y", at="2026-11-23T10:00:01.5Z")
    assert root(chain) == ("bob", id) and any("labeler.example.com" in x for x in chain.limits)
    assert {c["path"]: c["limit"] for c in diff(lake, "pod/a", until="2026-11-23T10:00:01.5Z").as_dicts()}["spec.x"] is None
