"""One search over everything: what a name, an id or an address is, the exact first, with the line that says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import day, event, write

import auditlens
from auditlens.errors import UsageError
from auditlens.importing.files.run import import_files

CREDENTIAL = "JTI=0c8a5a6e-91f2-4f57-9b9c-6f1f6f0f7a11"
UID = "9d3f3b3c-6a53-4b5e-8f0e-2d2b2f1c7a10"
SA = "system:serviceaccount:shop:ci"
_WEB = {"resource": "pods", "namespace": "shop", "apiVersion": "v1"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names that hold each other, a uid, an address, a credential, and names that would act elsewhere."""
    directory = tmp_path_factory.mktemp("find")
    made = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "shop", "uid": UID}}
    extra = {"authentication.kubernetes.io/credential-id": [CREDENTIAL], "arn": ["arn:aws:iam::1:user/ann"]}
    events = [
        event(0, verb="create", objectRef=_WEB | {"name": "web"}, responseObject=made, sourceIPs=["10.1.2.3", "10.9.9.9"]),
        event(1, verb="update", objectRef=_WEB | {"name": "web-2"}),
        event(2, verb="get", objectRef=_WEB | {"name": "my-web"}, user={"username": SA, "extra": extra}),
        event(3, verb="get", objectRef=_WEB | {"name": "100%_'; drop table audit; --"}, user={"username": "web"}),
        event(4, verb="get", objectRef=_WEB | {"resource": "services", "name": "web", "namespace": "pay"}),
    ]
    import_files([write(directory / "audit.log", events)], directory / "lake")
    return directory / "lake"


def found(lake: Path, words: str) -> list[tuple[str, str, str]]:
    return auditlens.find(lake, words).frame.select("what", "value", "match").rows()


def test_exact_names_come_before_those_that_hold_them(lake: Path) -> None:
    rows = found(lake, "web")
    assert set(rows[:3]) == {("object", "pods/web", "exact"), ("object", "services/web", "exact"), ("user", "web", "exact")}
    assert rows[3] == ("object", "pods/web-2", "begins")
    assert ("object", "pods/my-web", "holds") in rows[4:]
    assert ("question", "webhook-effects", "begins") in rows
    assert found(lake, "WEB") == rows


def test_an_object_by_its_kind_or_uid(lake: Path) -> None:
    for words in ("pod/web", "po web", "pods/web"):
        assert found(lake, words) == [("object", "pods/web", "exact")], words
    assert found(lake, UID) == [("object", "pods/web", "uid")]
    row = auditlens.find(lake, "svc/web").frame.row(0, named=True)
    assert (row["resource"], row["namespace"], row["name"], row["requests"]) == ("services", "pay", "web", 1)


def test_a_request_an_address_a_credential_a_user_and_a_question(lake: Path) -> None:
    whole = "00000000-0000-4000-a000-000000000002"
    assert found(lake, whole) == [("request", whole, "exact")]
    assert len([r for r in found(lake, whole[:-1]) if r[0] == "request" and r[2] == "begins"]) == 5
    assert found(lake, "10.1.2.3") == [("address", "10.1.2.3", "exact")]
    assert found(lake, CREDENTIAL) == found(lake, CREDENTIAL[4:]) == [("credential", CREDENTIAL, "exact")]
    assert found(lake, "shop:ci")[0] == ("user", SA, "holds")
    assert found(lake, "arn:aws:iam::1:user/ann") == [("user", SA, "identity")]
    assert found(lake, "who-deleted") == [("question", "who-deleted", "exact")]
    assert found(lake, "denied")[0] == ("question", "denied", "exact")


def test_each_hit_has_its_line_and_its_times(lake: Path) -> None:
    answer = auditlens.find(lake, "web")
    said = answer.frame.filter(answer.frame["what"] != "question")
    assert said.height > 3 and said["line"].null_count() == said["audit_id"].null_count() == 0
    pod = answer.frame.filter(value="pods/web").row(0, named=True)
    assert pod["first_time"] == pod["last_time"] and pod["audit_id"].endswith("0")


def test_hostile_words_are_text(lake: Path) -> None:
    assert found(lake, "100%_'; drop table audit; --") == [("object", "pods/100%_'; drop table audit; --", "exact")]
    assert [r for r in found(lake, "100%") if r[0] == "object"] == [("object", "pods/100%_'; drop table audit; --", "begins")]
    for words in (
        "%",
        "_",
        "'",
        '"',
        "\\",
        "*",
        "a\x00b",
        "\u202e",
        "$word",
        "//",
        "pods/",
        "/web",
        "{0}",
        "[",
        "💥",
        "x" * 1024,
    ):
        auditlens.find(lake, words)
    assert not [r for r in found(lake, "_eb") if r[0] != "question"]
    with pytest.raises(UsageError, match="nothing to find"):
        auditlens.find(lake, "  ")
    with pytest.raises(UsageError, match="no name is longer"):
        auditlens.find(lake, "x" * 2000)


def test_what_is_not_there_is_said_with_what_is_near(lake: Path) -> None:
    answer = auditlens.find(lake, "pod/wen")
    assert not answer.frame.height and "no object, user" in answer.limits[0]
    assert any("web" in n for n in answer.near)


def test_a_search_takes_little_time(tmp_path: Path) -> None:
    """600,000 events take 0.45 s of CPU at most, measured apart (a copy of the capture); here it does not grow with what it looks for."""
    import_files([write(tmp_path / "audit.log", list(day(4000)))], tmp_path / "lake")
    auditlens.find(tmp_path / "lake", "warm")
    for words in ("s", "nobody", "shop"):
        start = time.process_time()
        auditlens.find(tmp_path / "lake", words)
        assert time.process_time() - start < 1.5, words
