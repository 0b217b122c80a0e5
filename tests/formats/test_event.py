"""A record becomes an event of v1, or a reject that names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from auditlens.formats.event import read_event
from auditlens.formats.legacy import unquote
from auditlens.records import Event, Record, Reject

MINIMAL: dict[str, Any] = {
    "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "a", "stage": "Panic", "verb": "get",
}  # fmt: skip


def event(text: bytes | dict[str, Any], **record: Any) -> Event:
    found = read(text, **record)
    assert isinstance(found, Event), found
    return found


def read(text: bytes | dict[str, Any], **record: Any) -> Event | Reject:
    return read_event(Record(text if isinstance(text, bytes) else json.dumps(text).encode(), 7, 99, **record))


def test_bodies_stay_as_they_stood() -> None:
    text = (
        json.dumps(MINIMAL)[:-1].encode()
        + b', "requestObject": {"n" : 1.10, "big":12345678901234567890.0e-1}, "responseObject":[1]}'
    )
    found = event(text)
    assert found.request_object == b'{"n" : 1.10, "big":12345678901234567890.0e-1}'
    assert found.response_object == b"[1]"


def test_unknown_fields_are_extra_and_those_of_old_versions_are_not() -> None:
    found = event(MINIMAL | {"new": {"a": 1}, "metadata": {"creationTimestamp": None}})
    assert found.extra == {"new": {"a": 1}}
    old = event(MINIMAL | {"apiVersion": "audit.k8s.io/v1beta1", "timestamp": "2018-08-03T19:59:19Z", "metadata": {"x": 1}})
    assert old.extra == {}
    assert old.head["requestReceivedTimestamp"] == "2018-08-03T19:59:19Z"


def test_exact_times_win_over_those_in_seconds() -> None:
    found = event(
        MINIMAL
        | {
            "apiVersion": "audit.k8s.io/v1beta1",
            "timestamp": "2018-08-03T19:59:19Z",
            "metadata": {"creationTimestamp": "2018-08-03T19:59:20Z"},
            "requestReceivedTimestamp": "2018-08-03T19:59:19.001777Z",
            "stageTimestamp": None,
        }
    )
    assert found.head["requestReceivedTimestamp"] == "2018-08-03T19:59:19.001777Z"
    assert found.head["stageTimestamp"] == "2018-08-03T19:59:20Z"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("/v1", {"resource": "x", "apiVersion": "v1"}),
        ("v1", {"resource": "x", "apiVersion": "v1"}),
        ("apps/v1beta1", {"resource": "x", "apiGroup": "apps", "apiVersion": "v1beta1"}),
    ],
)
def test_v1alpha1_names_the_group_in_the_version(version: str, expected: dict[str, str]) -> None:
    found = event(MINIMAL | {"apiVersion": "audit.k8s.io/v1alpha1", "objectRef": {"resource": "x", "apiVersion": version}})
    assert found.head["objectRef"] == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"user": "eve"}, "user is a string, not an object"),
        ({"user": {"groups": "g"}}, "user.groups is a string, not an array of strings"),
        ({"user": {"extra": {"k": "v"}}}, "user.extra['k'] is a string"),
        ({"sourceIPs": "::1"}, "sourceIPs is a string, not an array of strings"),
        ({"sourceIPs": [1]}, "sourceIPs is a number"),
        ({"responseStatus": 200}, "responseStatus is a number, not an object"),
        ({"responseStatus": {"code": "200"}}, "responseStatus.code is a string, not an integer"),
        ({"responseStatus": {"code": True}}, "responseStatus.code is a boolean"),
        ({"annotations": {"a": 1}}, "annotations['a'] is a number, not a string"),
        ({"objectRef": []}, "objectRef is an array, not an object"),
        ({"objectRef": {"name": 5}}, "objectRef.name is a number, not a string"),
        ({"verb": 1}, "verb is a number, not a string"),
        ({"auditID": None}, "no auditID"),
        ({"stage": ""}, "no stage"),
        ({"level": None}, "no level"),
        ({"verb": None}, "no verb"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], reason: str) -> None:
    found = read(MINIMAL | fields)
    assert isinstance(found, Reject)
    assert reason in found.reason
    assert (found.line, found.offset) == (7, 99)


def test_text_that_is_no_json_names_the_column() -> None:
    found = read(json.dumps(MINIMAL)[:-1].encode() + b',"user":nobody}')
    assert isinstance(found, Reject)
    assert found.reason == "not JSON at column 129: invalid character"


def test_an_empty_verb_is_a_verb() -> None:
    assert event(MINIMAL | {"verb": ""}).head["verb"] == ""


def test_null_and_empty_members_are_absent() -> None:
    found = event(
        MINIMAL | {"impersonatedUser": None, "user": {"username": "a", "uid": ""}, "objectRef": {"name": "n", "uid": ""}}
    )
    assert "impersonatedUser" not in found.head
    assert found.head["user"] == {"username": "a"}
    assert found.head["objectRef"] == {"name": "n"}


def test_the_level_of_the_record_wins_over_the_collectors() -> None:
    found = event(MINIMAL | {"level": "default"}, level="Request")
    assert found.head["level"] == "Request"
    assert found.extra == {"collector_level": "default"}


def test_the_wrappers_time_stands_in_when_the_event_has_none() -> None:
    found = event(MINIMAL, time="2024-05-01T10:00:00Z")
    assert (found.head["stageTimestamp"], found.time_source) == ("2024-05-01T10:00:00Z", "wrapper")
    own = event(MINIMAL | {"requestReceivedTimestamp": "2024-05-01T09:00:00Z"}, time="2024-05-01T10:00:00Z")
    assert "stageTimestamp" not in own.head
    assert own.time_source is None


def test_a_cut_event_keeps_what_is_complete() -> None:
    text = (
        b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"a","stage":"ResponseComplete",'
        b'"requestURI":"/apis/apps/v1/namespaces/shop/deployments/web?x=1","verb":"patch","user":{"username":"eve","gro'
    )
    found = event(text, cut=True)
    assert found.partial
    assert found.head["user"] == {"username": "eve"}
    assert found.head["objectRef"] == {
        "resource": "deployments", "namespace": "shop", "name": "web", "apiGroup": "apps", "apiVersion": "v1",
    }  # fmt: skip
    again = event(text + b'ups":["g"]},"requestObject":{"a":{"b":"c', cut=True)
    assert again.request_object is None
    assert again.head["user"] == {"username": "eve", "groups": ["g"]}


def test_a_uri_that_contradicts_the_verb_gives_no_reference() -> None:
    found = event(b'{"auditID":"a","requestURI":"/api/v1/namespaces/shop/pods","verb":"get","user":{', cut=True)
    assert "objectRef" not in found.head


def test_lone_surrogates_and_invalid_bytes_become_the_replacement_character() -> None:
    text = json.dumps(MINIMAL)[:-1].encode()
    found = event(text + rb',"userAgent":"a\ud800b\\ud800\ud83d\ude00","requestObject":{"a":"\udc00' + b'\xff"}}')
    assert found.head["userAgent"] == "a\ufffdb\\ud800\U0001f600"
    assert found.request_object == '{"a":"\\ufffd\ufffd"}'.encode()  # a text alone is no body


def test_what_is_no_json_inside_a_cut_event_costs_itself_only() -> None:
    found = read_event(
        Record(b'{"auditID":"a","stage":"Panic","user":{nonsense},"verb":"get","level":"Metadata"}', 1, 0, cut=True)
    )
    assert isinstance(found, Event)
    assert (found.head.get("user"), found.head["verb"], found.partial) == (None, "get", True)


@pytest.mark.parametrize("depth", [900, 5_000, 100_000])
@pytest.mark.parametrize("name", ["requestObject", "annotations", "user", "new"])
def test_deep_nesting_is_read_or_rejected(depth: int, name: str) -> None:
    text = json.dumps(MINIMAL)[:-1].encode() + b',"' + name.encode() + b'":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    found = read(text)
    assert isinstance(found, Event) or "nested too deeply" in found.reason or "not a" in found.reason


@pytest.mark.parametrize(
    ("quoted", "text"),
    [(r"a\"b", 'a"b'), (r"\xff\xc3\xa9", "\ufffdé"), (r"\u00e9\U0001f600", "é😀"), (r"\t\\n", "\t\\n"), (r"\ud800", "\ufffd")],
)
def test_go_quotes_are_undone(quoted: str, text: str) -> None:
    assert unquote(quoted) == text
