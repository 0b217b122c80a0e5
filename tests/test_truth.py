"""What the answers say of a real cluster is what its clients did and saw: truth.json was written by the clients."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from capture import captures
from conftest import ask, content, imported, rows, write

from auditlens.lake import Lake
from auditlens.lake.maintenance import compact

FULL = captures() / "full"
NAMES = {"carol": "carol@example.com"}  # clients by the name of their certificate


@pytest.fixture(scope="module", params=["as imported", "compacted"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("truth") / "lake"
    imported(lake, FULL / "audit.log.gz")
    if request.param == "compacted":
        compact(Lake(lake))
    return lake


def truth() -> list[dict[str, Any]]:
    """One entry a request: the scenario's id, who, and the request with what the client saw."""
    scenarios = json.loads((FULL / "truth.json").read_text())["scenarios"]
    return [
        {"scenario": s["id"], "who": NAMES.get(step["who"], step["who"]), **request}
        for s in scenarios for step in s["steps"] for request in step.get("requests", []) if request.keys() >= {"code", "auditID"}
    ]  # fmt: skip


def deletions(lake: Path, **params: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in ask(str(lake), "who-deleted", limit=100_000, **params).to_dicts():
        found.setdefault(row["audit_id"], []).append(row)
    return found


def object_of(url: str) -> tuple[str | None, str, str]:
    """(namespace, resource, name) of the URL of an object."""
    parts = url.partition("?")[0].strip("/").split("/")
    parts = parts[2 if parts[0] == "api" else 3 :]
    if parts[0] == "namespaces" and len(parts) > 2:
        return parts[1], parts[2], parts[3]
    return (parts[1] if parts[0] == "namespaces" else None), parts[0], parts[1]


def test_every_direct_and_forced_deletion_names_its_user_object_and_request(lake: Path) -> None:
    found = deletions(lake)
    checked = 0
    for request in truth():
        url = request["url"]
        if request["method"] != "DELETE" or (request["code"] or 500) >= 300 or "labelSelector" in url:
            continue
        if request["scenario"] == "S26":
            assert request["auditID"] not in found  # a dry run: nothing was deleted
            continue
        (row,) = found[request["auditID"]]
        assert (row["impersonator"] or row["username"], row["verb"]) == (request["who"], "delete")
        assert (row["namespace"], row["resource"], row["name"]) == object_of(url)
        assert row["line"] in request["audit"]["lines"]
        checked += 1
    assert checked == 28


def test_a_collection_deletion_names_each_object_it_removed(lake: Path) -> None:
    (request,) = (r for r in truth() if r["scenario"] == "S03" and r["method"] == "DELETE")
    removed = deletions(lake)[request["auditID"]]
    assert {r["name"] for r in removed} == {f"batch-{i}" for i in range(4)}
    assert {(r["username"], r["verb"], r["how"], r["namespace"]) for r in removed} == {
        ("bob", "deletecollection", "collection", "pay")
    }
    assert len({r["uid"] for r in removed}) == 4
    for one in removed:
        by_name = ask(str(lake), "who-deleted", object=f"pod/{one['name']}", namespace="pay").to_dicts()
        assert request["auditID"] in {r["audit_id"] for r in by_name}
        by_uid = ask(str(lake), "who-deleted", uid=one["uid"]).to_dicts()
        assert request["auditID"] in {r["audit_id"] for r in by_uid}


def test_the_question_of_a_scenario_has_the_answer_of_its_scenario(lake: Path) -> None:
    for name, how in (("web-1", "direct"), ("web-2", "direct")):  # gracefully, by force
        answers = ask(str(lake), "who-deleted", object=f"pod/{name}", namespace="shop").to_dicts()
        first = answers[0]
        assert (first["username"], first["how"]) == ("alice", how)
        assert first["user_agent"].startswith("kubectl/")
        assert {r["username"] for r in answers} <= {"alice", "system:node:node-1", "system:node:node-2"}


def test_nobody_is_named_who_deleted_nothing(lake: Path) -> None:
    """Every row is a successful delete, deletecollection or eviction of the raw log, with its user; or says it is uncertain."""
    raw: dict[str, Counter[tuple[Any, ...]]] = {}
    for number, line in enumerate(content(FULL / "audit.log.gz").splitlines(), 1):
        one = json.loads(line)
        status, ref = one.get("responseStatus", {}).get("code", 500), one.get("objectRef", {})
        delete = one["verb"] in ("delete", "deletecollection") or ref.get("subresource") == "eviction"
        if one["stage"] == "ResponseComplete" and delete and status < 300 and "dryRun" not in line.decode():
            raw.setdefault(one["auditID"], Counter())[one["user"].get("username"), one["verb"], ref["resource"], number] += 1
    found = deletions(lake)
    uncertain = {a for a, rows in found.items() if {r["how"] for r in rows} == {"unknown"}}  # nobody knows what a timeout did
    assert all(r["code"] is None or r["code"] >= 500 for a in uncertain for r in found.pop(a))
    assert not found.keys() - raw.keys()
    for audit_id, some in found.items():
        assert {(r["impersonator"] or r["username"], r["verb"], r["resource"], r["line"]) for r in some} <= raw[audit_id].keys()
    missing = set(raw.keys() - found.keys())
    assert {verb for a in missing for (_, verb, _, _) in raw[a]} <= {"deletecollection"}  # those that found nothing to delete


def test_refused_deletions_and_dry_runs_are_shown_when_asked_for(lake: Path) -> None:
    shown = deletions(lake, attempts=True)
    (dry,) = (r for r in truth() if r["scenario"] == "S26" and r["method"] == "DELETE")
    (stale,) = (r for r in truth() if r["scenario"] == "S17" and r["method"] == "DELETE")
    assert [r["how"] for r in shown[dry["auditID"]]] == ["dry-run"]
    assert [(r["how"], r["username"], r["code"]) for r in shown[stale["auditID"]]] == [("refused", "alice", 409)]


# scenario, method, part of the URL, code -> outcome, decided_by
VERDICTS = [
    ("S10", "GET", "/secrets", 403, "forbidden", "authorization"),
    ("S11", "GET", "/secrets", 403, "forbidden", "authorization"),
    ("S11", "GET", "/metrics", 403, "forbidden", "authorization"),
    ("S11", "GET", "/api/v1/pods", 401, "unauthenticated", "authentication"),
    ("S11", "POST", "/pods", 401, "unauthenticated", "authentication"),
    ("S13", "GET", "kube-system/secrets", 403, "forbidden", "impersonation"),
    ("S13", "GET", "shop/secrets", 403, "forbidden", "authorization"),
    ("S14", "POST", "/exec?command=id&stdout", 400, "bad_request", "handler"),
    ("S14", "POST", "/exec?command=id&container", 403, "forbidden", "authorization"),
    ("S15", "GET", "/proxy/login", 403, "forbidden", "backend"),
    ("S16", "GET", "/nodes", 403, "forbidden", "authorization"),
    ("S17", "PUT", "/configmaps/conf", 409, "conflict", "storage"),
    ("S17", "POST", "/configmaps", 409, "already_exists", "storage"),
    ("S17", "DELETE", "/configmaps/conf", 409, "conflict", "storage"),
    ("S18", "POST", "/pods", 422, "invalid", "validation"),
    ("S18", "POST", "/pods", 400, "bad_request", "handler"),
    ("S18", "POST", "fieldValidation=Strict", 400, "bad_request", "handler"),
    ("S18", "GET", "/pods/nope", 404, "not_found", "storage"),
    ("S18", "GET", "/apis/nope.example.com", 404, "not_found", "handler"),
    ("S18", "POST", "/nodes/node-1", 405, "method_not_allowed", "handler"),
    ("S18", "PUT", "/pods", 405, "method_not_allowed", "handler"),
    ("S18", "GET", "/pods", 406, "not_acceptable", "handler"),
    ("S18", "POST", "/configmaps", 415, "unsupported_media_type", "handler"),
    ("S18", "PATCH", "/configmaps/conf", 415, "unsupported_media_type", "handler"),
    ("S18", "POST", "/configmaps", 413, "request_entity_too_large", "handler"),
    ("S18", "POST", "/configmaps", 422, "invalid", "validation"),
    ("S18", "GET", "labelSelector", 400, "bad_request", "handler"),
    ("S18", "GET", "resourceVersion=99999999", 504, "timeout", "timeout"),
    ("S19", "PATCH", "/scale", 422, "invalid", "admission"),
    ("S20", "POST", "/quota/pods", 403, "forbidden", "admission"),
    ("S21", "POST", "/psa/pods", 403, "forbidden", "admission"),
    ("S22", "POST", "/pay/pods", 403, "forbidden", "admission"),
    ("S22", "POST", "/pay/pods", 500, "error", "admission"),
    ("S25", "PATCH", "/ssa-cm", 409, "conflict", "storage"),
    ("S28", "POST", "/eviction", 429, "throttled", "handler"),
    ("S37", "PATCH", "/nodes/node-2/status", 403, "forbidden", "admission"),
    ("S37", "GET", "/secrets/db", 403, "forbidden", "authorization"),
]


@pytest.mark.parametrize(("scenario", "method", "url", "code", "outcome", "decided_by"), VERDICTS)
def test_a_failed_request_has_its_outcome_and_who_decided(
    lake: Path, scenario: str, method: str, url: str, code: int, outcome: str, decided_by: str
) -> None:
    wanted = [
        r for r in truth() if (r["scenario"], r["method"], r["code"]) == (scenario, method, code) and url in r["url"]
    ]  # fmt: skip
    assert wanted
    ids = ", ".join(f"'{r['auditID']}'" for r in wanted)
    found = rows(
        lake, f"select distinct code, outcome, decided_by from audit where audit_id in ({ids}) and stage <> 'RequestReceived'"
    )
    assert found == [(code, outcome, decided_by)]


def test_requests_that_the_flow_control_refused_say_so(tmp_path: Path) -> None:
    """Max-in-flight's 429s are plain text: no reason, no verdict of an authorizer."""
    log = FULL / "audit.log.gz"
    lines = [ln for ln in content(log).splitlines(keepends=True) if b'"code":429' in ln or b'"code":503' in ln]
    imported(tmp_path / "lake", write(tmp_path / "a.log", b"".join(lines)))
    found = rows(tmp_path / "lake", "select code, status_reason is null, decision is null, decided_by from audit group by all")
    for code, no_reason, no_verdict, decided_by in found:
        if code == 429 and no_reason and no_verdict:
            assert decided_by == "flow_control"
        if code == 503 and no_reason and not no_verdict:
            assert decided_by in ("aggregator", "backend")


def test_the_codes_of_the_log_are_those_its_clients_saw(lake: Path) -> None:
    codes = dict(
        rows(
            lake,
            "select audit_id, code from audit where stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401)",
        )
    )
    requests = [r for r in truth() if "audit" in r and len(r["audit"]["stages"]) > 1 and r["auditID"] != "dup-id"]
    assert len(requests) > 300
    # kubectl repeats the audit id of an answer it has in its cache, with another code than today's
    assert [r["url"] for r in requests if codes[r["auditID"]] != r["code"] and not r["url"].startswith("/openapi")] == []


# FACTS, section 1


def test_a_failed_login_is_one_event_and_not_missed(lake: Path) -> None:
    logins = [r["auditID"] for r in truth() if r["code"] == 401]
    denied = ask(str(lake), "denied", limit=10_000)
    found = denied.filter(denied["audit_id"].is_in(logins)).to_dicts()
    assert len(found) == len(logins) == 4
    assert {(r["username"], r["decided_by"]) for r in found} == {(None, "authentication")}
    assert {s for (s,) in rows(lake, "select stage from audit where code = 401")} == {"ResponseStarted"}
    assert ask(str(lake), "errors", code=401)["requests"].sum() == 4
    assert ask(str(lake), "top", by="code").filter(ask(str(lake), "top", by="code")["value"] == "401")["requests"].to_list() == [
        4
    ]


def test_two_users_requests_under_one_audit_id_are_two(lake: Path) -> None:
    found = ask(str(lake), "requests", audit_id="dup-id").to_dicts()
    assert len({r["username"] for r in found}) == 2
    assert Counter(r["stage"] for r in found) == {"RequestReceived": 2, "ResponseComplete": 2}
    assert ask(str(lake), "requests", audit_id="not-a-uuid-1").height == 2


def test_a_request_whose_completion_the_log_lost_is_shown_as_such(lake: Path) -> None:
    lost = [r for r in truth() if r.get("audit", {}).get("stages") == ["RequestReceived"]]
    assert {r["scenario"] for r in lost} == {"S27"}
    story = ask(str(lake), "history", object="cm/conf", namespace="shop").to_dicts()
    for request in lost:
        (row,) = (r for r in story if r["audit_id"] == request["auditID"])
        assert (row["stage"], row["outcome"], row["code"]) == ("RequestReceived", "unknown", None)


def test_lines_out_of_order_come_in_the_order_of_time(lake: Path) -> None:
    times = [t for (t,) in rows(lake, "select stage_time from audit order by line")]
    assert sum(b < a for a, b in itertools.pairwise(times)) > 50
    for name, params in (("history", {"resource": "configmaps"}), ("who-deleted", {}), ("denied", {})):
        answered = ask(str(lake), name, limit=100_000, **params)["time"].to_list()
        assert answered == sorted(answered)


def test_the_order_of_lines_changes_no_answer(tmp_path: Path, lake: Path) -> None:
    lines = content(FULL / "audit.log.gz").splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    imported(tmp_path / "lake", write(tmp_path / "a.log", b"".join(lines)))
    for name, params in (
        ("who-deleted", {}),
        ("denied", {}),
        ("errors", {}),
        ("history", {"object": "pod/web-1", "namespace": "shop"}),
    ):
        one, other = (
            ask(str(at), name, limit=100_000, **params).drop("source", "line", "last_source", "last_line", strict=False)
            for at in (lake, tmp_path / "lake")
        )  # fmt: skip
        assert sorted(map(repr, one.rows())) == sorted(map(repr, other.rows()))


def test_exec_is_found_by_its_subresource_whatever_its_verb(lake: Path) -> None:
    found = ask(str(lake), "requests", subresource="exec", stage="ResponseStarted").to_dicts()
    assert {r["verb"] for r in found} == {"get", "create"}
    assert {r["code"] for r in found} >= {101, 403}


def test_names_that_the_server_made_are_found(lake: Path) -> None:
    made = rows(
        lake,
        "select object_name, namespace from audit where verb = 'create' and resource = 'pods' and name is null and code = 201",
    )
    assert len(made) > 50
    name, namespace = made[0]
    assert any(r["verb"] == "create" for r in ask(str(lake), "history", object=f"pod/{name}", namespace=namespace).to_dicts())


def test_a_panic_is_an_outcome_of_its_own(lake: Path) -> None:
    assert rows(lake, "select count(*), any_value(decided_by), any_value(code) from audit where stage = 'Panic'") == [
        (2, "panic", 500)
    ]


def test_who_impersonated_whom_is_told_apart(lake: Path) -> None:
    found = ask(str(lake), "requests", user="carol@example.com", limit=10_000).to_dicts()
    assert ("alice", "carol@example.com") in {(r["username"], r["impersonator"]) for r in found}
    assert {r["impersonator"] or r["username"] for r in found} == {"carol@example.com"}
    as_alice = ask(str(lake), "user-activity", user="alice", limit=10_000).to_dicts()
    assert ("alice", "carol@example.com") in {(r["username"], r["impersonator"]) for r in as_alice}
