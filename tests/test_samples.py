"""The sample logs tell their story whatever they are wrapped in, no event twice, nothing secret in clear."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
import pytest
from conftest import ask

from auditlens import import_files, sql
from auditlens.importing.files.run import ImportReport
from auditlens.lake import Lake

SAMPLES = Path(__file__).resolve().parent.parent / "sample-logs"
FILES = sorted(p for p in SAMPLES.glob("*/**/*") if p.is_file())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, ImportReport]:
    lake = Lake(tmp_path_factory.mktemp("samples") / "lake")
    return lake, import_files([f"{SAMPLES}/*/"], lake)


@pytest.fixture(scope="module")
def lake(made: tuple[Lake, ImportReport]) -> Lake:
    return made[0]


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_every_file_adds_something_and_nothing_twice(made: tuple[Lake, ImportReport]) -> None:
    _, report = made
    assert len(report.sources) == len(FILES)
    for source in report.sources:
        assert source.duplicates == 0, source
        assert sum(source.rows.values()) + source.rejects == source.records > 0, source
        assert source.rows["audit"] or "kubectl" in source.source, source


def test_nothing_is_rejected(lake: Lake) -> None:
    assert not sql(lake, "select source, line, reason from rejects").height


def test_a_log_entry_is_a_row(lake: Lake) -> None:
    for table in ("klog", "trace", "kubectl"):
        assert sql(lake, f"select count(*) from {table}").item() > 0, table


def test_who_deleted_the_pod_has_one_answer(lake: Lake) -> None:
    answer = ask(lake, "who-deleted", resource="pods", name="web-1", namespace="shop")
    found = answer.select("username", "how", pl.col("source").str.split("/").list.last(), "line").rows()
    rotated = "audit-2026-11-23T04-56-34.537.log.gz"
    assert found == [("alice", "direct", rotated, 21), ("system:node:node-1", "kubelet", rotated, 29)]
    assert b'"name":"web-1"' in content(SAMPLES / "kubeadm" / rotated).splitlines()[20]


def test_a_collection_delete_names_its_victims(lake: Lake) -> None:
    answer = ask(lake, "who-deleted", resource="pods", namespace="pay", name="batch-*").filter(pl.col("how") == "collection")
    assert answer.select("username", "name").rows() == [("bob", f"batch-{n}") for n in range(4)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("username = 'bob' and subresource = 'scale' and replicas = 100 and code = 200", {"kubeadm/audit.log"}),
        ("username = 'eve' and code = 403 and resource = 'secrets' and decision = 'forbid'", {"0.log"}),
        ("outcome = 'unauthenticated'", {"docker/4b1d7d0c1f5e-json.log", "webhook/00019.json.gz"}),
        ("username = 'eve' and verb = 'create' and name = 'eve-admin' and code = 201 or "
         "username = 'eve' and verb = 'list' and resource = 'secrets' and code < 300", {"gke/logging-read.json"}),
        ("impersonated_username = 'alice' and verb = 'create'", {"openshift/node-logs.log"}),
        ("request_uri like '%exec?command=cat%shadow%'", {"eks/filter-log-events.json", "legacy/audit.log"}),
        ("subresource = 'token' and name = 'builder'", {"eks/firehose.json"}),
        ("code = 409 and cluster = 'SHOP-AKS'", {"aks/PT1H.json"}),
        ("cluster = 'shop-otel' and request_uri like '%force=true%'", {"otel/audit.json"}),
        ("subresource = 'eviction' and code = 429 and level = 'RequestResponse'", {"openshift/collector.jsonl"}),
        ("resource = 'secrets' and name = 'token-x' and verb = 'delete'", {"k3s/journal.log"}),
        ("partial", {"eks/s3-export/kube-apiserver-audit-8f3b6f7d/000000.gz"}),
        ("truncated", {"truncated/audit.log"}),
        ("source like '%apiserver/kube-apiserver.log' and verb = 'patch'", {"apiserver/kube-apiserver.log"}),
        ("audit_id is not null and source like '%webhook%' and item > 100", {"webhook/00019.json.gz"}),
    ],
)  # fmt: skip
def test_the_story_is_told(lake: Lake, where: str, expected: set[str]) -> None:
    sources = sql(lake, f"select distinct source from audit where ({where}) and stage <> 'RequestReceived'")["source"].to_list()
    assert len(sources) == len(expected)
    assert all(any(source.endswith(end) for end in expected) for source in sources), sources


def test_the_readme_tells_of_every_file() -> None:
    told = (SAMPLES / "README.md").read_text()
    for path in FILES:
        assert f"{path.relative_to(SAMPLES).parts[0]}/" in told, path


def test_nothing_secret_is_in_clear() -> None:
    credential = re.compile(
        rb"eyJhbGciOi|PRIVATE KEY|[Bb]earer [A-Za-z0-9._-]{20}|\"kind\":\"Secret\",[^}]*\"data\":|\"stringData\":"
    )
    for path in FILES:
        assert not credential.search(content(path)), path


def test_they_stay_small() -> None:
    assert sum(p.stat().st_size for p in FILES) < 700_000
