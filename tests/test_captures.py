"""What a real control plane logged imports whole, tells who did what, and keeps no secret."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import ask

from auditlens import Lake, import_files, sql
from auditlens.importing.files.run import ImportReport

SHARED = Path(__file__).resolve().parents[2] / "shared"
CAPTURES = SHARED / "captures"
PEERS = SHARED / "peers"

pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captures are not here")


def holds(report: ImportReport) -> None:
    """Both identities, for each source and so for the whole."""
    for s in report.sources:
        assert s.records == sum(s.rows.values()) + s.duplicates + s.rejects, s
        assert s.lines == s.records - s.items + s.continuations + s.blanks, s


def physical_lines(path: Path) -> int:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("full") / "lake")
    holds(import_files([CAPTURES / "full" / "audit.log.gz"], lake))
    return lake


@pytest.fixture(scope="module")
def truth() -> list[dict[str, Any]]:
    scenarios: list[dict[str, Any]] = json.loads((CAPTURES / "full" / "truth.json").read_text())["scenarios"]
    return scenarios


def requests(truth: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Scenario id, step and request, of every request a client is known to have made."""
    for scenario in truth:
        for step in scenario["steps"]:
            for request in step.get("requests", []):
                yield scenario["id"], step, request


AUDIT_LOGS = sorted(
    p for pattern in ("*/audit*.log*", "webhook/*/audit.log") for p in CAPTURES.glob(pattern) if p.suffix in (".gz", ".log")
)


@pytest.mark.parametrize("path", AUDIT_LOGS, ids=lambda p: str(p.relative_to(CAPTURES)))
def test_every_captured_audit_log_imports_without_a_reject(path: Path, tmp_path: Path) -> None:
    report = import_files([path], tmp_path / "lake")
    holds(report)
    counts = report.total()
    assert counts["lines"] == physical_lines(path)
    assert counts["rejects"] == 0
    assert counts["rows"]["audit"] + counts["duplicates"] == counts["records"] == counts["lines"]


def test_every_captured_webhook_request_imports(tmp_path: Path) -> None:
    paths = sorted(CAPTURES.glob("webhook/*/raw/*.http"))
    report = import_files(paths, tmp_path / "lake")
    holds(report)
    counts = report.total()
    assert counts["lines"] == sum(map(physical_lines, paths))
    assert counts["rejects"] == 0
    assert counts["records"] > 6000


# What of the others' files is no audit event, and why.
REASONS = re.compile(
    r"not an audit event|^not JSON|text line of no known format|kind=|not audit|missing|is not |has no |cut|YAML|no level|flattened"
)


def test_every_peer_file_is_read_or_rejected_with_a_reason(tmp_path: Path) -> None:
    folders = ("falco-trace_files", "openshift-clo", "gitops-reverser", "audit2rbac")
    paths = [
        p
        for name in folders
        for p in sorted((PEERS / name).rglob("*"))
        if p.is_file() and p.suffix in (".json", ".log", ".yaml", ".txt", ".jsonl") and not p.name.startswith("_")
    ]
    report = import_files(paths, tmp_path / "lake")
    holds(report)
    assert report.total()["lines"] == sum(map(physical_lines, paths))
    assert report.total()["rows"]["audit"] + report.total()["duplicates"] > 250
    rejects = sql(Lake(tmp_path / "lake"), "select source, line, reason from rejects") if report.total()["rejects"] else None
    assert rejects is not None
    assert [r for r in rejects.rows() if not REASONS.search(r[2])] == []


def test_who_deleted_names_who_really_did(full: Lake, truth: list[dict[str, Any]]) -> None:
    """Every DELETE a client made and that succeeded, and nobody else; the collection by each of its victims."""
    expected: dict[tuple[str, str | None, str], set[tuple[str, str]]] = {}
    collections: list[tuple[str, str]] = []
    for scenario, step, request in requests(truth):
        seen = request.get("audit") or {}
        if request["method"] != "DELETE" or (request.get("code") or 500) >= 300 or not seen:
            continue
        if scenario == "S26":  # kubectl delete --dry-run=server says so in the body: nothing was deleted
            continue
        ref = seen["objectRef"]
        assert seen["user"].startswith(step["who"]), "the log agrees with the client"
        if seen["verb"] == "deletecollection":
            collections.append((request["auditID"], seen["user"]))
        else:
            key = (ref["resource"], ref.get("namespace") if ref["resource"] != "namespaces" else None, ref["name"])
            expected.setdefault(key, set()).add((request["auditID"], seen["user"]))
    assert len(expected) > 25
    assert collections
    clients = {user for pairs in expected.values() for _, user in pairs}
    for (resource, namespace, name), pairs in expected.items():
        frame = ask(full, "who-deleted", resource=resource, namespace=namespace, name=name)
        rows = [r | {"login": r["impersonator"] or r["username"]} for r in frame.to_dicts() if r["how"] != "finalizer"]
        found = {(r["audit_id"], r["login"]) for r in rows if r["login"] in clients}
        assert found == pairs, (resource, namespace, name)
    for audit_id, user in collections:
        victims = ask(full, "who-deleted", resource="pods").filter(audit_id=audit_id)
        assert victims.height == 4
        assert set(victims["username"]) == {user}
        assert set(victims["how"]) == {"collection"}
        assert sorted(victims["name"]) == [f"batch-{i}" for i in range(4)]


def test_a_pod_nobody_deleted_was_deleted_by_nobody(full: Lake) -> None:
    assert ask(full, "who-deleted", resource="pods", namespace="shop", name="no-such-pod").height == 0
    # alice's dry run of a delete is no delete
    dry = sql(full, "select name from audit where verb = 'delete' and dry_run and stage = 'ResponseComplete'")
    for name in dry["name"]:
        shown = ask(full, "who-deleted", name=name, attempts=True)
        assert "dry-run" in set(shown["how"])
        assert "dry-run" not in set(ask(full, "who-deleted", name=name)["how"])


# (scenario, code) -> what the log must say of each such request, as the apiserver's handler chain decided it
OUTCOMES: dict[tuple[str, int], set[tuple[str, str]]] = {
    ("S10", 403): {("forbidden", "authorization")},
    ("S11", 401): {("unauthenticated", "authentication")},
    ("S11", 403): {("forbidden", "authorization")},
    ("S12", 403): {("forbidden", "authorization"), ("forbidden", "admission")},  # no right; then the escalation check
    ("S13", 403): {("forbidden", "impersonation"), ("forbidden", "authorization")},
    ("S14", 400): {("bad_request", "handler")},
    ("S14", 403): {("forbidden", "authorization")},
    ("S15", 400): {("bad_request", "handler")},
    ("S15", 403): {("forbidden", "backend")},  # the proxied connection was refused, not the request
    ("S16", 403): {("forbidden", "authorization")},
    ("S17", 409): {("conflict", "storage"), ("already_exists", "storage")},
    ("S18", 400): {("bad_request", "handler")},
    ("S18", 404): {("not_found", "storage"), ("not_found", "handler")},
    ("S18", 405): {("method_not_allowed", "handler")},
    ("S18", 406): {("not_acceptable", "handler")},
    ("S18", 413): {("request_entity_too_large", "handler")},
    ("S18", 415): {("unsupported_media_type", "handler")},
    ("S18", 422): {("invalid", "validation")},
    ("S18", 504): {("timeout", "timeout")},
    ("S19", 422): {("invalid", "admission")},
    ("S20", 403): {("forbidden", "admission")},
    ("S21", 403): {("forbidden", "admission")},
    ("S22", 403): {("forbidden", "admission")},
    ("S22", 500): {("error", "admission")},
    ("S24", 403): {("forbidden", "authorization")},
    ("S25", 409): {("conflict", "storage")},
    ("S27", 422): {("invalid", "validation")},
    ("S28", 429): {("throttled", "handler")},
}


def test_outcome_and_who_decided_it_agree_with_what_the_clients_saw(full: Lake, truth: list[dict[str, Any]]) -> None:
    rows = sql(
        full,
        "select audit_id, code, outcome, decided_by from audit where stage in ('ResponseStarted', 'ResponseComplete') and code >= 400",
    )
    seen: dict[tuple[str, int], set[tuple[str, str]]] = {}
    by_id = {(r["audit_id"], r["code"]): (r["outcome"], r["decided_by"]) for r in rows.to_dicts()}
    for scenario, _, request in requests(truth):
        if (request.get("auditID"), request.get("code")) in by_id:
            pair = by_id[request["auditID"], request["code"]]
            seen.setdefault((scenario, request["code"]), set()).add(pair)
    assert {k: v for k, v in seen.items() if k in OUTCOMES} == OUTCOMES


def test_success_is_decided_by_nobody(full: Lake) -> None:
    assert sql(full, "select count(*) n from audit where code < 400 and decided_by is not null")["n"][0] == 0
    assert set(sql(full, "select distinct outcome from audit where code < 400")["outcome"]) <= {
        "ok", "created", "accepted", "not_modified",
    }  # fmt: skip


def test_facts_that_surprise_hold_in_the_answers(full: Lake) -> None:
    # 401s are one stage without a user
    failed = sql(full, "select stage, username, count(*) n from audit where code = 401 group by all").rows()
    assert failed == [("ResponseStarted", None, 4)]
    assert ask(full, "denied").filter(code=401).height == 4
    # two users under one client-chosen id stay two
    assert sql(full, "select distinct username from audit where audit_id = 'dup-id' order by 1")["username"].to_list() == [
        "alice",
        "bob",
    ]
    # requests whose completion the log lost are shown as such
    lost = ask(full, "history", resource="configmaps", namespace="shop", name="conf").filter(stage="RequestReceived")
    assert set(lost["outcome"]) == {"unknown"}
    assert lost.height >= 1
    # lines are out of order, numbers are not
    order = sql(
        full,
        "select count(*) filter (where stage_time < before) n from (select stage_time, lag(stage_time) over (order by line) before from audit)",
    )
    assert order["n"][0] > 100
    panics = sql(full, "select outcome, decided_by from audit where stage = 'Panic'").rows()
    assert set(panics) == {("error", "panic")}


def every_byte(lake: Path) -> bytes:
    """All text of all columns of all tables, decompressed, and the Delta logs."""
    out: list[bytes] = []
    for file in lake.rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        for column in table.columns:
            out.append(json.dumps(column.to_pylist(), default=str, ensure_ascii=False).encode())
    out += [p.read_bytes() for p in lake.rglob("*.json")]
    return b"\n".join(out)


def values_of(log: str) -> tuple[set[str], str]:
    """Values (8 characters or longer) of every Secret and token in a raw log, and the text of it that is not of Secrets."""
    values: set[str] = set()
    rest: list[str] = []

    def secret(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("kind") in ("Secret", None) and isinstance(value.get("data"), dict) and "metadata" in value:
                values.update(
                    base64.b64decode(v).decode("utf-8", "replace") for v in value["data"].values() if isinstance(v, str)
                )
                values.update(v for v in value["data"].values() if isinstance(v, str))
            if isinstance(value.get("stringData"), dict):
                values.update(v for v in value["stringData"].values() if isinstance(v, str))
            if isinstance(value.get("token"), str):
                values.add(value["token"])
            applied = ((value.get("metadata") or {}).get("annotations") or {}).get(
                "kubectl.kubernetes.io/last-applied-configuration"
            )
            if applied:
                secret(json.loads(applied))
            for v in value.values():
                secret(v)
        elif isinstance(value, list):
            for v in value:
                secret(v)

    for line in log.splitlines():
        event = json.loads(line)
        ref = event.get("objectRef") or {}
        bodies = [event.get("requestObject"), event.get("responseObject")]
        if ref.get("resource") in ("secrets", "tokenreviews") or ref.get("subresource") == "token" or '"kind":"Secret' in line:
            for body in bodies:
                secret(body)
        else:
            rest.append(line)
    return {v for v in values if len(v) >= 8}, "\n".join(rest)


@pytest.mark.parametrize("wrap", ["plain", "cri"])
def test_no_secret_and_no_token_is_in_any_byte_of_the_lake(wrap: str, tmp_path: Path) -> None:
    log = gzip.decompress((CAPTURES / "everything" / "audit.log.gz").read_bytes()).decode()
    values, rest = values_of(log)
    values = {v for v in values if v not in rest and json.dumps(v)[1:-1] not in rest}
    assert len(values) > 20
    text = log if wrap == "plain" else "".join(f"2026-11-23T05:00:00.000000001Z stderr F {line}\n" for line in log.splitlines())
    # the last line torn in the middle of a Secret
    torn = next(line for line in log.splitlines() if '"kind":"Secret"' in line and '"data":{' in line)
    text += ("" if wrap == "plain" else "2026-11-23T05:00:00.000000001Z stderr F ") + torn[: torn.index('"data":{') + 60]
    path = tmp_path / "audit.log"
    path.write_text(text)
    holds(import_files([path], tmp_path / "lake"))
    stored = every_byte(tmp_path / "lake")
    leaked = []
    for value in values:
        forms = {value, json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode().rstrip("=")}
        leaked += [value for form in forms if form.encode() in stored]
    assert leaked == []
    assert b"redacted:hmac:" in stored


def test_without_redaction_the_values_are_kept(tmp_path: Path) -> None:
    import_files([CAPTURES / "everything" / "audit.log.gz"], tmp_path / "lake", redact=False)
    assert b"redacted:hmac:" not in every_byte(tmp_path / "lake")
    log = gzip.decompress((CAPTURES / "everything" / "audit.log.gz").read_bytes()).decode()
    assert sql(Lake(tmp_path / "lake"), "select count(*) n from audit where response_object is not null")["n"][0] == sum(
        '"responseObject":' in line for line in log.splitlines()
    )
