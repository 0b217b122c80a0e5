"""Clusters are told apart by whatever name they have, in rows, in directories and through compaction; what is unclear is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SHARED, event, imported, rows, text, write

from auditlens.lake import Lake
from auditlens.lake.care import compact, verify

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
