"""The questions, asked of a run of which the clients' own records say what is true."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import auditlens
from auditlens.answers.questions import questions
from auditlens.lake import Lake

from .conftest import asked


def ask(lake: Lake, name: str, /, **params: Any) -> list[dict[str, Any]]:
    return auditlens.ask(lake, name, **params).frame.to_dicts()


def ids(rows: list[dict[str, Any]]) -> set[str]:
    return {r["audit_id"] for r in rows}


def requests(scenario: dict[str, Any], code: int, who: str | None = None) -> set[str]:
    return {
        r["auditID"] for s in scenario["steps"] if who is None or s["who"] == who for r in s["requests"] if r.get("code") == code and r.get("auditID")
    }  # fmt: skip


DELETED = [
    ("S01", "pod/web-1", "shop", "alice", ("delete pod web-1",), {"direct", "kubelet"}),
    ("S02", "pod/web-2", "shop", "alice", ("delete pod web-2",), {"direct"}),
    ("S03", "pod/batch-*", "pay", "bob", ("DELETE", "labelSelector"), {"collection", "kubelet"}),
    ("S04", "pod/old-*", "doomed", "admin", ("delete ns doomed",), {"namespace", "kubelet"}),
    ("S05", "pod/api-*", "pay", "bob", ("delete deployment api",), {"owner-gc", "kubelet"}),
    ("S06", "pod/fore-*", "pay", "bob", ("delete deployment fore",), {"owner-gc", "kubelet"}),
    ("S06", "rs/fore-*", "pay", "bob", ("delete deployment fore",), {"owner-gc", "finalizer"}),
    ("S28", "pod/cart-855d678d94-hwwn9", "shop", "alice", ("eviction", "cart"), {"eviction", "kubelet"}),
    ("S31", "widgets/w1", "shop", "admin", ("DELETE", "widgets/w1"), {"direct", "finalizer"}),
    ("S13", "cm/by-carol", "shop", "alice", ("delete configmap by-carol",), {"direct"}),  # admin --as=alice
    ("S37", "node/node-x", None, "admin", ("delete node",), {"direct"}),
]


@pytest.mark.parametrize(("scenario", "object", "namespace", "user", "words", "how"), DELETED)
def test_who_deleted(
    full: Lake,
    truth: dict[str, Any],
    scenario: str,
    object: str,
    namespace: str | None,
    user: str,
    words: tuple[str, ...],
    how: set[str],
) -> None:
    rows = ask(full, "who-deleted", object=object, namespace=namespace)
    assert {r["root_username"] for r in rows} == {user}
    assert {r["root_audit_id"] for r in rows} == {asked(truth[scenario], *words)}
    assert {r["how"] for r in rows} == how


def test_who_authenticated_is_beside_who_acted(full: Lake) -> None:
    (row,) = ask(full, "who-deleted", object="cm/by-carol", namespace="shop")
    assert (row["username"], row["impersonator"], row["root_impersonator"]) == ("alice", "admin", "admin")


def test_nobody_deleted_what_is_there(full: Lake) -> None:
    answer = auditlens.ask(full, "who-deleted", object="pod/dbg", namespace="shop")
    assert answer.frame.height == 0 and any("nothing found" in n for n in answer.notes)
    # tried, and refused
    assert (
        ask(full, "who-deleted", object="pod/frontend-659c44f66f-2pfhl", namespace="shop", until="2026-11-23T04:58:34.1Z") == []
    )


def test_denied_reads_of_secrets(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "denied", user="eve", resource="secrets")
    assert requests(truth["S10"], 403, "eve") <= ids(rows)
    assert {r["username"] for r in rows} == {"eve"}
    seen = ask(full, "secret-access", user="eve", allowed=True)
    assert requests(truth["S12"], 200, "eve") & ids(seen) and next(r["first_time"] for r in seen) is True


def test_anonymous_and_bad_tokens(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "anonymous-requests", health=True)
    wanted = (
        requests(truth["S11"], 401, "token")
        | requests(truth["S11"], 403, "system:anonymous")
        | requests(truth["S11"], 200, "system:anonymous")
    )
    assert wanted <= ids(rows)
    assert {r["username"] for r in rows} <= {"system:anonymous", "(login failed)"}


def test_who_gained_what(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "rbac-changes", name="eve-*")
    granted = {r["name"]: r for r in rows if r["verb"] == "create"}
    assert granted["eve-admin"]["username"] == "eve" and granted["eve-admin"]["role"] == "ClusterRole/cluster-admin"
    assert granted["eve-crb-creator"]["username"] == granted["eve-binder"]["username"] == "admin"
    assert granted["eve-admin"]["audit_id"] in requests(truth["S12"], 201, "eve")
    gone = [r for r in rows if r["verb"] == "delete" and r["name"] == "eve-admin"]
    assert gone[0]["username"] == "admin" and '"eve"' in gone[0]["subjects_before"]
    tried = ask(full, "rbac-changes", user="eve", attempts=True)
    assert requests(truth["S12"], 403, "eve") <= ids(tried)
    later = {(r["resource"], r["verb"]): r for r in ask(full, "denied-then-allowed", user="eve")}
    assert "eve-crb-creator" in later[("clusterrolebindings", "create")]["reason"]


def test_impersonation_names_the_real_user(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "impersonation")
    made = [r for r in rows if r["audit_id"] == asked(truth["S13"], "create configmap by-carol")]
    assert [(r["username"], r["impersonator"]) for r in made] == [("alice", "carol@example.com")]
    assert {r["impersonator"] or r["username"] for r in rows} == {"carol@example.com", "admin"}
    assert ("carol@example.com", "admin") in {(r["username"], r["wanted"]) for r in rows if r["refusal"]}
    nobody = ask(full, "impersonation", user="bob")
    assert nobody == []


def test_sessions_in_pods(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "exec-sessions", name="dbg")
    first = next(r for r in rows if r["how"] == "exec" and r["username"] == "alice" and r["code"] == 101)
    assert first["argv"] == ["cat", "/etc/shadow"] and 10 < first["seconds"] < 20 and first["container"] == "dbg"
    assert {r["how"] for r in rows} == {"exec", "attach", "cp", "debug", "portforward"}
    assert {r["verb"] for r in rows} >= {"get", "create"} or {r["verb"] for r in rows} >= {"create"}
    assert {r["username"] for r in rows if r["code"] == 403} == {"alice", "eve"}
    assert ask(full, "exec-sessions", name="web-1") == []


def test_tokens_lead_to_who_issued_them(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "token-lineage", user="system:serviceaccount:shop:builder")
    issued = next(r for r in rows if r["audit_id"] == asked(truth["S16"], "create token builder"))
    assert issued["issuer"] == "alice" and issued["requests"] >= 3
    used = ask(full, "session", credential=issued["credential"])
    assert asked(truth["S16"], "POST", who="system:serviceaccount:shop:builder") in ids(used)
    assert {r["username"] for r in used} == {"system:serviceaccount:shop:builder"}


def test_conflicts_and_who_won(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "conflicts", user="alice", resource="configmaps", namespace="shop", name="conf")
    stale = [r for r in rows if r["kind"] == "stale" and r["verb"] == "update"]
    assert len(stale) == truth["S17"]["answer"]["count_stale"] and {r["winner_username"] for r in stale} == {"bob"}
    assert len([r for r in rows if r["kind"] == "already-exists"]) == truth["S17"]["answer"]["count_exists"]
    race = ask(full, "conflicts", resource="configmaps", name="counter")
    for user, told in truth["S38"]["race"].items():
        mine = {r["audit_id"] for r in race if r["username"] == user}
        assert mine == {i for code, i in told["auditIDs"] if code == 409}
        wins = {i for u in truth["S38"]["race"].values() for code, i in u["auditIDs"] if code == 200} | {
            asked(truth["S38"], "POST")
        }
        assert {r["winner_audit_id"] for r in race if r["username"] == user} <= wins
    applied = [r for r in ask(full, "conflicts", name="ssa-cm") if r["kind"] == "apply"]
    assert [r["username"] for r in applied] == ["bob"]


def test_admission_says_who_refused(full: Lake, truth: dict[str, Any]) -> None:
    rows = {r["audit_id"]: r for r in ask(full, "admission-denials")}
    assert rows[asked(truth["S19"], "--replicas=500")]["refused_by"] == "policy max-replicas"
    assert rows[asked(truth["S20"], "run p2")]["refused_by"] == "quota q"
    assert rows[next(iter(requests(truth["S21"], 403)))]["refused_by"] == "PodSecurity"
    assert "webhook denier.example.com" in {r["refused_by"] for r in rows.values()}
    assert {r["username"] for r in rows.values() if r["refused_by"] == "quota q"} == {
        "bob", "system:serviceaccount:kube-system:replicaset-controller"
    }  # fmt: skip
    assert not requests(truth["S10"], 403) & rows.keys()


def test_webhooks_and_what_they_did(full: Lake) -> None:
    effects = {(r["effect"], r["webhook"]) for r in ask(full, "webhook-effects")}
    assert effects == {
        ("mutated", "labeler.example.com"), ("patched", "labeler.example.com"), ("refused", "denier.example.com"),
        ("failed open", "downopen.example.com"), ("failed closed", "downfail.example.com"), ("failed open", "mdownopen.example.com"),
    }  # fmt: skip


def test_evictions(full: Lake, truth: dict[str, Any]) -> None:
    rows = ask(full, "evictions")
    blocked = [r for r in rows if r["code"] == 429]
    assert [r["name"] for r in blocked] == [truth["S28"]["blocked_pod"]] and blocked[0]["gone"] is None
    done = {r["name"]: r for r in rows if r["code"] == 201}
    assert done[truth["S28"]["evicted_pod"]]["username"] == "alice" and done[truth["S28"]["evicted_pod"]]["gone"]
    assert {r["username"] for r in done.values()} == {"alice", "admin"}


def test_dry_runs_privileges_noops_and_invalid(full: Lake, truth: dict[str, Any]) -> None:
    dry = ask(full, "dry-runs")
    assert len(dry) == 3 and {r["username"] for r in dry} == {"alice"}
    privileged = ask(full, "privileged-workloads")
    assert [(r["username"], r["code"]) for r in privileged] == [("bob", 403)] and "privileged" in privileged[0]["reasons"]
    assert {r["username"] for r in ask(full, "no-op-writes")} == {
        "admin", "system:apiserver", "system:serviceaccount:kube-system:node-controller"
    }  # fmt: skip
    invalid = ask(full, "invalid-requests", user="alice")
    assert requests(truth["S18"], 422, "alice") <= ids(invalid)


def test_ids_that_clients_chose_are_not_mixed_up(full: Lake) -> None:
    rows = ask(full, "requests", audit_id="dup-id", stage="ResponseComplete")
    assert sorted((r["username"], r["namespace"]) for r in rows) == [("alice", "shop"), ("bob", "pay")]


def test_what_was_not_seen_before(full: Lake) -> None:
    rows = ask(full, "first-seen", before="2026-11-23T04:58:00Z", user="mallory")
    assert rows == []
    rows = ask(full, "first-seen", before="2026-11-23T04:58:31Z", user="bob")
    assert rows and min(r["first_time"] for r in rows).isoformat() >= "2026-11-23T04:58:31"


@pytest.mark.parametrize(
    "name", sorted(name for name, q in questions().items() if q.group != "lake")
)  # how it came in may differ
def test_the_order_of_import_changes_no_answer(full: Lake, shuffled: Lake, name: str) -> None:
    found, other = (auditlens.ask(lake, name, limit=100_000).frame for lake in (full, shuffled))
    if name == "log-volume":
        pytest.skip("counts what is stored")
    same = [c for c in found.columns if c not in ("source", "line", "item", "instance", "last_source", "last_line")]
    assert found.select(same).equals(other.select(same)), _differences(found.select(same), other.select(same))


def _differences(a: pl.DataFrame, b: pl.DataFrame) -> str:
    if a.height != b.height:
        return f"{a.height} rows and {b.height}"
    return str([(c, x, y) for c in a.columns for x, y in zip(a[c], b[c], strict=True) if str(x) != str(y)][:3])


@pytest.mark.parametrize("name", sorted(questions()))
def test_every_question_says_what_it_needs(name: str) -> None:
    asked_of = questions()[name]
    assert asked_of.needs and asked_of.title
