"""Clusters are told apart by whatever name they have, in rows, in directories and through compaction; what is unclear is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SHARED, auditlens, event, imported, rows, text, write

from auditlens.lake import Lake
from auditlens.lake.maintenance import compact, verify

ODD = ["a/b", "a=b", "a-b", "a b", "..", ".", "*", "?[x]", "ünï☃", "o'clock", 'say "x"', "%2F", "a%2Fb", "A-B", "~", "__HIVE_DEFAULT_PARTITION__",
       "default", "x" * 300 + "1", "x" * 300 + "2", "ü" * 80, "line\nbreak", "arn:aws:eks:eu-west-1:1:thing/x"]  # fmt: skip


def shipped(n: int, cluster: object) -> dict[str, object]:
    return {"cluster_name": cluster, "log": text(event(n)).decode()}


def test_odd_names_are_kept_apart_and_come_back_as_they_were(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    klog = {"host": "m", "log": "I1123 12:00:00.000001       1 a.go:1] words\n"}
    lines = [shipped(n, name) for n, name in enumerate(ODD)] + [klog | {"cluster_name": name} for name in ODD[:5]]
    source = write(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    imported(lake, source)
    imported(
        lake, write(tmp_path / "b.jsonl", source.read_bytes() + b"\n")
    )  # every event again: each is found in its own cluster
    for _ in range(2):
        found = [c for (c,) in rows(lake, "select cluster from audit order by audit_id")]
        assert len(set(found)) == len(ODD)
        assert [(want, got) for want, got in zip(ODD, found, strict=True) if want != got and len(want) < 70] == []
        assert rows(lake, "select count(distinct cluster) from klog") == [(5,)]
        compact(Lake(lake))
    assert verify(Lake(lake)).is_empty()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared field cases are not here")
@pytest.mark.parametrize(
    ("path", "clusters"),
    [
        ("13-daocloud-kafka", ["kpanda-global-cluster", "member-2"]),
        ("31-splunk-csv/hec.jsonl", ["prod-1", "prod-2"]),
        ("12-eks-insights/only-results.json", ["eksworkshop-eksctl"]),
        ("11-azure-loganalytics/aksaudit.csv", ["aks-1"]),
        ("11-azure-loganalytics/aksaudit.json", ["aks-1"]),
        ("18-gke-bigquery/rows.json", ["c1"]),
    ],
)
def test_clusters_of_the_field(tmp_path: Path, path: str, clusters: list[str]) -> None:
    imported(tmp_path / "lake", SHARED / "field" / path)
    assert [c for (c,) in rows(tmp_path / "lake", "select distinct cluster from audit order by 1")] == clusters


def said_about_clusters(tmp_path: Path, lines: list[dict[str, object]], *options: str) -> list[str]:
    source = write(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    out = auditlens("import", source, "--lake", tmp_path / "lake", *options)
    assert out.returncode == 0
    return [line for line in out.stderr.decode().splitlines() if "--cluster" in line]


def test_import_says_what_is_unclear_about_clusters(tmp_path: Path) -> None:
    plain, prod = {"log": text(event(1)).decode()}, shipped(2, "prod")
    assert said_about_clusters(tmp_path / "a", [plain, prod]) == [
        "1 records name no cluster and are kept as default; --cluster NAME names it"
    ]
    assert said_about_clusters(tmp_path / "b", [plain, prod], "--cluster", "mine") == [
        "the logs name other clusters than --cluster mine, which is kept: prod"
    ]
    assert said_about_clusters(tmp_path / "c", [prod, shipped(3, "prod")]) == []
    both = prod | {"kubernetes": {"cluster": "test"}}
    assert said_about_clusters(tmp_path / "d", [both]) == [
        "a line names two clusters, prod and test; the first is kept, --cluster NAME decides otherwise"
    ]
    assert said_about_clusters(tmp_path / "e", [prod | {"cluster_uuid": "0123"}]) == []
    inner = {"fields": {"cluster": "test"}, "event": {"cluster_name": "prod", "log": text(event(1)).decode()}}
    (line,) = said_about_clusters(tmp_path / "f", [inner])
    assert "prod and test" in line
