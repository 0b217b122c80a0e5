"""What others posted and exported, file by file: what is right stands in the README beside the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, imported, rows

from auditlens import ask, blame, history, state, why

FIELD = SHARED / "field"
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason="the shared field cases are not here")

AUDIT = "select cluster, coalesce(impersonated_username, username), verb, name from audit order by line, item"
DELETIONS = [("default", "alice", "delete", "foo-bar-uat"), ("default", "alice", "delete", "foo-bar-dev")]
WEB = ("alice@example.com", "delete", "deployments", "web")
INSIGHTS = "select cluster, instance, username, verb, resource from audit"
STREAM = "kube-apiserver-audit-96624a2fbc193d5ccd64f9f1ddbebbe3"
TRACE = "select name, step from trace order by line, seq"

# files, SQL, what it gives
CASES: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    ("01-argocd-17440/log.txt", "select verb, resource, name from audit order by line", [
        ("delete", "namespaces", "foo-bar-uat"), ("delete", "namespaces", "foo-bar-dev")]),
    ("01-argocd-17440/log.txt", "select count(*) from klog", [(2,)]),
    ("01-argocd-17440/event-event.log", "select verb, name from audit order by item nulls first", [
        ("delete", "foo-bar-uat"), ("delete", "foo-bar-dev")]),
    ("01-argocd-17440/event-then-klog.log", "select (select count(*) from audit), (select count(*) from klog)", [(1, 1)]),
    ("01-argocd-17440/text-then-event.log", "select verb, name from audit", [("delete", "foo-bar-uat")]),
    ("04-k8s-24188-trace-2016/kube-apiserver.log", "select distinct trace_part(step) from trace where step in ('Etcd node listed', 'Object read')", [
        ("etcd",)]),
    ("06-k8s-34709-500s/kube-apiserver.log", "select count(*) from httplog where code = 500", [(4,)]),
    ("10-aks-4635/c/a.jsonl", "select username, truncated, request_object from audit where truncated", [("eve", True, None)]),
    ("11-azure-loganalytics/aksaudit.json", "select cluster, username, verb, resource, name from audit", [("aks-1", *WEB)]),
    ("11-azure-loganalytics/aksaudit.csv", "select cluster, username, verb, resource, name from audit", [("aks-1", *WEB)]),
    ("11-azure-loganalytics/azurediagnostics.json", "select verb, resource from audit order by 1, 2", [
        ("patch", "deployments"), ("patch", "nodes")]),
    ("12-eks-insights/console-export.json", INSIGHTS, [("eksworkshop-eksctl", STREAM, "eks:k8s-metrics", "list", "deployments")]),
    ("12-eks-insights/only-results.json", INSIGHTS, [("eksworkshop-eksctl", STREAM, "eks:k8s-metrics", "list", "deployments")]),
    ("12-eks-insights/logs-insights-results.csv", INSIGHTS, [
        ("default", "kube-apiserver-audit-9662", "eks:k8s-metrics", "list", "deployments")]),
    ("13-daocloud-kafka/two-clusters.jsonl", "select cluster from audit order by 1", [("kpanda-global-cluster",), ("member-2",)]),
    ("14-rancher-api-audit/rancher-api-audit.log", "select distinct left(reason, 27) from rejects", [("Rancher's own API audit log",)]),
    ("18-gke-bigquery/export.jsonl", AUDIT, [("c1", "alice@example.com", "delete", "web-1")]),
    ("18-gke-bigquery/rows.json", AUDIT, [("c1", "alice@example.com", "delete", "web-1")]),
    *((f"18-gke-bigquery/min/{name}.jsonl", "select count(*) from rejects", [(1,)]) for name in "abcd"),
    ("19-gke-controlplane/apiserver.json", "select severity, file, file_line from klog order by file", [
        ("E", "authentication.go", 73), ("I", "httplog.go", 134), ("I", "trace.go", 236)]),
    ("19-gke-controlplane/apiserver.json", "select verb, uri, code from httplog", [("GET", "/api/v1/namespaces/shop/pods", 200)]),
    ("19-gke-controlplane/apiserver.json", "select name, total_ms from trace where seq = 0", [("List", 1204.227658)]),
    ("24-prom-adapter-292/year/dated-wrapper.log", "select distinct year(time), time_source from klog", [(2024, "wrapper")]),
    ("27-argocd-23723-redacted/event.json", "select verb, stage_time from audit", [("update", None)]),
    ("27-argocd-23723-redacted/xx.jsonl", AUDIT, [("default", "alice", "delete", "p")]),
    ("31-splunk-csv/hec.jsonl", "select cluster, verb from audit order by 1", [("prod-1", "delete"), ("prod-2", "delete")]),
    ("31-splunk-csv/1709769152_1.csv", "select username, verb, name from audit", [("alice", "delete", "web-1")]),
    ("32-grep-tail/grep-C.txt", "select audit_id from audit order by line", [("c1",), ("c2",), ("c3",)]),
    ("32-grep-tail/stern.txt", TRACE, [("Get", None), ("Get", "About to write a response")]),
    ("33-rancher-38536/audit.log", "select distinct impersonated_username from audit where impersonated_username is not null", [
        ("u-xunnontx2o",)]),
    ("90-real-cluster/r5-doubles-apiserver.log 90-real-cluster/r5-doubles-audit.log",
     "select count(*), count(distinct (audit_id, stage)) from audit", [(4, 4)]),
    ("90-real-cluster/r5-doubles-audit.log 90-real-cluster/r5-doubles-apiserver.log",
     "select count(*), count(distinct (audit_id, stage)) from audit", [(4, 4)]),
]  # fmt: skip


def lake(tmp_path: Path, names: str) -> str:
    imported(tmp_path / "lake", *(FIELD / name for name in names.split()))
    return str(tmp_path / "lake")


@pytest.mark.parametrize(
    ("names", "asked", "right"), CASES, ids=[f"{names.split()[0]}-{n}" for n, (names, *_) in enumerate(CASES)]
)
def test_a_file_gives_what_is_right(tmp_path: Path, names: str, asked: str, right: list[tuple[Any, ...]]) -> None:
    assert rows(Path(lake(tmp_path, names)), asked) == right


def test_anonymous_requests_and_an_open_watch_of_secrets_are_told(tmp_path: Path) -> None:
    here = lake(tmp_path, "00-two-answers/audit.log")
    assert ask(here, "anonymous-requests").frame.height == 2
    assert ("mallory", "watch", "open") in ask(here, "secret-access").frame.select("username", "verb", "outcome").rows()


def test_a_short_name_of_the_logs_own_crd_is_known_to_all(tmp_path: Path) -> None:
    here = lake(tmp_path, "00-two-answers/crd.log")
    found = [history(here, "gz/g1"), why(here, "gz/g1"), ask(here, "history", "gz/g1"), ask(here, "who-changed", "gz/g1")]
    assert [answer.frame["username"].to_list() for answer in found] == [["alice"]] * 4


def test_a_body_that_a_platform_left_out_is_no_body(tmp_path: Path) -> None:
    answer = ask(lake(tmp_path, "10-aks-4635/c/a.jsonl"), "rbac-changes")
    assert "mallory" in answer.frame["username"].to_list()
    assert any("truncated" in limit for limit in answer.limits)


def test_arn_user_and_access_key_are_linked(tmp_path: Path) -> None:
    frame = ask(lake(tmp_path, "12-eks-insights/authenticator.json"), "eks-identities").frame
    assert frame["username"].to_list() == ["kubernetes-admin"]


def test_the_person_behind_a_proxy_is_who_acted(tmp_path: Path) -> None:
    here = lake(tmp_path, "33-rancher-38536/audit.log")
    assert ask(here, "who-deleted").frame["username"][0] == "u-xunnontx2o"
    acted = ask(here, "user-activity", user="jane.doe@example.com").frame.row(0, named=True)
    assert (acted["username"], acted["impersonator"]) == (
        "u-xunnontx2o", "system:serviceaccount:cattle-system:kontainer-engine",
    )  # fmt: skip


def test_the_last_of_two_owners_counts(tmp_path: Path) -> None:
    here = lake(tmp_path, "90-real-cluster/r1-two-owners.log")
    assert why(here, "cm/child").frame["username"].to_list()[-1] == "bob"
    assert ask(here, "who-deleted", "cm/child").frame["root_username"].to_list() == ["bob"]


def test_two_api_versions_are_not_compared(tmp_path: Path) -> None:
    told = blame(lake(tmp_path, "90-real-cluster/r2-hpa-versions.log"), "hpa/auto").frame
    of_metrics = {row["username"] for row in told.iter_rows(named=True) if "metrics" in row["path"]}
    assert of_metrics <= {"alice", None}


def test_an_empty_list_brings_nothing_back(tmp_path: Path) -> None:
    assert state(lake(tmp_path, "90-real-cluster/r3-empty-list-resurrects.log")).frame.is_empty()


def test_a_status_write_is_followed(tmp_path: Path) -> None:
    told = why(lake(tmp_path, "90-real-cluster/r4-status-phase.log"), "pod/tgt2", event="status.phase").frame
    assert told["username"].to_list()[-1] == "admin"
