"""EKS: the authenticator's lines have fields, and one answer links ARN, user, session and access key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, event, imported, rows, write

from auditlens import ask
from auditlens.formats.entry import parse
from auditlens.lake import Lake

ROLE = "arn:aws:iam::111122223333:role/Admin"
GROUP = "/aws/eks/prod/cluster"


def line(n: int, what: str, **fields: str) -> dict[str, Any]:
    pairs = "".join(f' {name}="{value}"' for name, value in fields.items())
    message = f'time="2026-11-23T12:00:{n:02d}Z" level=info msg="access {what}"{pairs} client="127.0.0.1:48826" method=POST path=/authenticate'
    return {"logStreamName": "authenticator-1", "logGroupName": GROUP, "timestamp": 0, "message": message, "eventId": str(n)}


def request(n: int, session: str, key: str, **fields: Any) -> dict[str, Any]:
    extra = {
        "arn": [f"arn:aws:sts::111122223333:assumed-role/Admin/{session}"], "canonicalArn": [ROLE], "sessionName": [session],
        "accessKeyId": [key], "principalId": ["AROA1"],
    }  # fmt: skip
    made = event(n, user={"username": "kubernetes-admin", "groups": ["system:masters"], "extra": extra}, **fields)
    return {
        "logStreamName": "kube-apiserver-audit-1",
        "logGroupName": GROUP,
        "timestamp": 0,
        "message": json.dumps(made),
        "eventId": f"r{n}",
    }


def answer(tmp_path: Path, lines: list[dict[str, Any]], **params: Any) -> list[dict[str, Any]]:
    source = write(tmp_path / "a.jsonl", "".join(json.dumps(one) + "\n" for one in lines).encode())
    imported(tmp_path / "lake", source)
    return ask(Lake(tmp_path / "lake"), "eks-identities", **params).frame.to_dicts()


def test_who_is_behind_the_user_of_a_shared_role(tmp_path: Path) -> None:
    lines = [
        line(1, "granted", arn=ROLE, username="kubernetes-admin", uid="aws-iam-authenticator:111122223333:AROA1", groups="[system:masters]"),
        line(2, "denied", arn="arn:aws:iam::111122223333:user/mallory", error="ARN is not mapped"),
        request(3, "alice", "ASIAALICE"), request(4, "bob", "ASIABOB"), request(5, "bob", "ASIABOB", responseStatus={"code": 403}),
        event(6, user={"username": "kubernetes-admin", "groups": ["system:masters"]}),
    ]  # fmt: skip
    found = {(row["session"], row["arn"].rpartition("/")[2]): row for row in answer(tmp_path, lines)}
    assert set(found) == {("alice", "alice"), ("bob", "bob"), (None, "mallory")}
    for session, key, requests, failed in (("alice", "ASIAALICE", 1, 0), ("bob", "ASIABOB", 2, 1)):
        row = found[session, session]
        assert (row["username"], row["canonical_arn"], row["access_key"], row["principal"]) == (
            "kubernetes-admin",
            ROLE,
            key,
            "AROA1",
        )
        assert (row["requests"], row["failed"], row["granted"], row["denied"], row["cluster"]) == (requests, failed, 1, 0, "prod")
        assert row["groups"] == ["[system:masters]"]
        assert row["authenticator_evidence"].endswith("a.jsonl:1")
    denied = found[None, "mallory"]
    assert (denied["granted"], denied["denied"], denied["requests"], denied["errors"]) == (0, 1, None, ["ARN is not mapped"])


@pytest.mark.parametrize("asked", ["ASIABOB", "bob", "*bob", "arn:aws:sts::*:assumed-role/Admin/bob"])
def test_an_identity_is_found_by_any_of_its_names(tmp_path: Path, asked: str) -> None:
    rows = answer(tmp_path, [request(3, "alice", "ASIAALICE"), request(4, "bob", "ASIABOB")], user=asked)
    assert [row["session"] for row in rows] == ["bob"]


def test_another_account_or_cluster_is_not_linked(tmp_path: Path) -> None:
    other = line(1, "granted", arn=ROLE, username="somebody-else", uid="aws-iam-authenticator:111122223333:AROA1")
    elsewhere = line(2, "granted", arn=ROLE, username="kubernetes-admin") | {"logGroupName": "/aws/eks/test/cluster"}
    found = answer(tmp_path, [other, elsewhere, request(3, "alice", "ASIAALICE")])
    assert sorted((row["requests"] or 0, row["granted"] or 0, row["username"]) for row in found) == [
        (0, 1, "kubernetes-admin"), (0, 1, "somebody-else"), (1, 0, "kubernetes-admin"),
    ]  # fmt: skip


def test_logfmt_has_fields_where_all_of_it_is_logfmt() -> None:
    entry = parse(b'time="2023-07-31T01:58:12Z" level=warning msg="a \\"b\\"" arn="x y" n=1 empty= t="\\t"')
    assert (entry.message, entry.severity, entry.fields) == ('a "b"', "W", {"arn": "x y", "n": "1", "empty": "", "t": "\t"})
    prose = parse(b'time="2023-07-31T01:58:12Z" level=info msg="a" and then prose')
    assert (prose.message, prose.fields) == ('msg="a" and then prose', {})
    assert parse(b"level=info ts=2023-07-31T01:58:12Z caller=a.go:1 msg=hi").message == "hi"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared field cases are not here")
def test_the_line_of_the_field(tmp_path: Path) -> None:
    imported(tmp_path / "lake", SHARED / "field" / "12-eks-insights" / "authenticator.json")
    ((message, arn, name),) = rows(tmp_path / "lake", "select message, fields['arn'], fields['username'] from klog")
    assert (message, arn, name) == ("access granted", "arn:aws:iam::000000000000:role/Admin", "kubernetes-admin")
