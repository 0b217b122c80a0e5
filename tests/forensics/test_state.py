"""The state at a time is what the cluster's own dump says, and never claims to know more than the log shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from auditlens.forensics.state import State, state
from auditlens.lake import Lake
from auditlens.redact import Redactor

from .conftest import dump, lines, plain


def compare(found: State, wanted: dict[tuple[str, str | None, str], dict[str, Any]]) -> dict[str, list[str]]:
    """Names of objects: equal, different, claimed exact but different, not in the dump, absent here."""
    left = dict(wanted)
    out: dict[str, list[str]] = {"equal": [], "different": [], "wrong": [], "beyond": [], "exact": [], "open": []}
    for known in found.objects:
        key = (known.key.resource, known.key.namespace, known.key.name)
        if key not in left:  # what may or may not be there is not claimed to be
            out["open" if known.fidelity == "unknown" else "beyond"].append(str(key))
            continue
        same = plain(known.object) == left.pop(key)
        out["equal" if same else "different"].append(str(key))
        if known.fidelity == "exact":
            out["exact" if same else "wrong"].append(str(key))
    out["absent"] = [str(k) for k in left]
    return out


@pytest.mark.parametrize(("capture", "equal"), [("full", 325), ("everything", 327)])
def test_final_state_equals_the_dump(capture: str, equal: int, request: pytest.FixtureRequest, redactor: Redactor) -> None:
    at, wanted = dump(capture, redactor)
    found = state(request.getfixturevalue(capture), at=at)
    result = compare(found, wanted)
    assert len(result["equal"]) >= equal, result["different"]
    assert result["beyond"] == [] and result["wrong"] == [] and result["absent"] == []


def test_a_create_of_unknown_outcome_is_said_and_not_claimed(full: Lake, everything: Lake, redactor: Redactor) -> None:
    """In one run they were made, in the other not, and no log tells: the store's revisions are a hint only."""
    for lake, capture, made in ((everything, "everything", True), (full, "full", False)):
        at, wanted = dump(capture, redactor)
        found = {k.key.name: k for k in state(lake, "configmaps", namespace="default", at=at).objects}
        for name in ("to1", "gone"):
            assert (("configmaps", "default", name) in wanted) == made
            assert found[name].fidelity == "unknown" and found[name].object is None
            note = found[name].note or ""
            assert "504" in note and "or not" in note and ("one write more" in note) == made, note


@pytest.mark.parametrize("capture", ["full", "everything"])
def test_half_a_log_still_says_only_what_is_true(capture: str, make_lake: Callable[..., Lake], redactor: Redactor) -> None:
    at, wanted = dump(capture, redactor)
    whole = lines(capture)
    result = compare(state(make_lake(whole[len(whole) // 2 :], name="half"), at=at), wanted)
    assert len(result["exact"]) >= 75
    assert result["wrong"] == [] and result["beyond"] == []


def test_the_order_of_import_repeats_and_compaction_change_nothing(full: Lake, shuffled: Lake, redactor: Redactor) -> None:
    at, _ = dump("full", redactor)

    def seen(lake: Lake) -> list[Any]:
        return [
            (str(k.key), k.uid, k.fidelity, k.event.audit_id, json.dumps(k.object, sort_keys=True))
            for k in state(lake, at=at).objects
        ]

    assert seen(full) == seen(shuffled)


def test_dry_runs_and_refusals_leave_no_trace(full: Lake) -> None:
    assert state(full, "cm/dry", namespace="shop").objects == []
    assert state(full, "deploy/huge").objects == []
    labels = state(full, "cm/ssa-cm", namespace="shop").objects[0].object["metadata"].get("labels")  # type: ignore[index]
    assert labels is None


def test_what_never_was_is_not_there_and_that_is_said(full: Lake) -> None:
    nothing = state(full, "pod/never-was", namespace="shop")
    assert nothing.objects == [] and nothing.limits


def test_the_past_is_the_past(full: Lake, truth: dict[str, Any]) -> None:
    then = state(full, "deploy/frontend", namespace="shop", at=truth["S07"]["scaled_at"]).objects[0]
    now = state(full, "deploy/frontend", namespace="shop").objects[0]
    assert then.object and then.object["spec"]["replicas"] == 100 and then.event.time < now.event.time
    assert now.object and now.object["spec"]["replicas"] == 3
    assert state(full, "pods", namespace="doomed", at=truth["S04"]["end"]).objects == []


def test_metadata_only_is_marked(full: Lake) -> None:
    secrets = state(full, "secrets", namespace="shop").objects
    assert {s.key.name for s in secrets} == {"builder-legacy", "db"}
    assert {s.fidelity for s in secrets} == {"metadata"} and all(s.object is None for s in secrets)


def test_output_has_the_promised_shape(full: Lake) -> None:
    row = state(full, "deploy/cart", namespace="shop").as_dicts()[0]
    assert {"ref", "fidelity", "audit_id", "object"} <= row.keys()
    assert {"group", "kind", "namespace", "name", "uid"} <= row["ref"].keys()
    assert row["ref"]["kind"] == "Deployment" and row["ref"]["group"] == "apps"


def whole_lists(capture: str) -> list[dict[str, Any]]:
    found = []
    for line in lines(capture):
        e = json.loads(line)
        body, ref = e.get("responseObject") or {}, e.get("objectRef") or {}
        kept = e["verb"] == "list" and e["stage"] == "ResponseComplete" and ref.get("resource") != "events"
        if kept and body.get("items") and body["kind"].endswith("List") and body["kind"] != "PartialObjectMetadataList":
            found.append(e)
    return found


def withheld(capture: str, one: dict[str, Any], make_lake: Callable[..., Lake], redactor: Redactor) -> tuple[int, int, list[str]]:
    """Items of a list that was left out of the log, those the state of its moment has, and what was wrongly called exact."""
    rest = [line for line in lines(capture) if one["auditID"].encode() not in line]
    ref, body = one["objectRef"], one["responseObject"]
    kind = f"{ref['resource']}.{ref['apiGroup']}" if ref.get("apiGroup") else ref["resource"]
    found = state(make_lake(rest, name="withheld"), kind, at=one["stageTimestamp"], namespace=ref.get("namespace"))
    known = {(k.key.namespace, k.key.name): k for k in found.objects}
    equal, wrong = 0, []
    for item in body["items"]:
        wanted = {"kind": body["kind"][:-4], "apiVersion": body["apiVersion"], **item}
        wanted = plain(json.loads(redactor.body(json.dumps(wanted).encode()))) or {}
        got = known.pop((item["metadata"].get("namespace"), item["metadata"]["name"]), None)
        if got is not None and plain(got.object) == wanted:
            equal += 1
        elif got is not None and got.fidelity == "exact":
            # the list may have been read before, or at another version of the API than the write
            mine, theirs = got.object or {}, wanted
            later = int(mine["metadata"]["resourceVersion"]) > int(body["metadata"]["resourceVersion"])
            if not later and mine["apiVersion"] == theirs["apiVersion"]:
                wrong.append(f"{got.key}: {mine['metadata']['resourceVersion']} for {theirs['metadata']['resourceVersion']}")
    if not re.search("[?&](labelSelector|fieldSelector|limit|continue)=[^&]", one["requestURI"]):
        wrong += [f"{k.key} is too much" for k in known.values() if k.fidelity == "exact"]
    return len(body["items"]), equal, wrong


@pytest.mark.parametrize("nth", range(0, 75, 25))
def test_a_withheld_list_is_rebuilt(nth: int, make_lake: Callable[..., Lake], redactor: Redactor) -> None:
    count, equal, wrong = withheld("full", whole_lists("full")[nth], make_lake, redactor)
    assert wrong == [] and equal >= count - 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("capture", ["full", "everything"])
def test_withheld_lists_are_rebuilt(capture: str, make_lake: Callable[..., Lake], redactor: Redactor) -> None:
    results = [withheld(capture, one, make_lake, redactor) for one in whole_lists(capture)]
    count, equal = sum(r[0] for r in results), sum(r[1] for r in results)
    assert equal >= 0.98 * count, f"{equal} of {count}"
    # a patch sent as YAML leaves no trace at all where RequestReceived is omitted: nothing can show that it happened
    assert [w for r in results for w in r[2] if "configmaps/conf" not in w] == []
