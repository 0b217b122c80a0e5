"""The words of questions: what words.sql makes of rows, halves, ties, bodies and names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens import engine
from auditlens.lake import Lake
from auditlens.tables import PUBLIC, TABLES
from tests.conftest import event, imported, rows, write


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for name in PUBLIC:
        con.execute(f"create view {name} as {TABLES[name].empty_select()}")
    con.execute(engine.words())
    return con


def value(con: duckdb.DuckDBPyConnection, sql: str, **params: Any) -> Any:
    """The one value of an expression."""
    return con.sql(f"select {sql}", params=params or None).fetchall()[0][0]


def stages(n: int, *names: str, **fields: Any) -> list[dict[str, Any]]:
    """The events of one request, one a stage."""
    made = []
    for i, name in enumerate(names):
        answered = {} if name != "RequestReceived" else {"responseStatus": None, "annotations": None}
        made.append(event(n, stage=name, stageTimestamp=f"2026-11-23T12:{n:02d}:{i:02d}.000000Z", **answered | fields))
    return made


WATCH = {"verb": "watch", "requestURI": "/api/v1/secrets?watch=1", "objectRef": {"resource": "secrets", "apiVersion": "v1"}}
EXEC = {"objectRef": {"resource": "pods", "subresource": "exec", "namespace": "a", "name": "b", "apiVersion": "v1"}}
REFUSED = {"responseStatus": {"code": 401}, "user": {}, "annotations": None}
FORBIDDEN = {"responseStatus": {"code": 403, "reason": "Forbidden"}}


def test_a_request_is_one_row_whatever_stages_were_recorded(tmp_path: Path) -> None:
    log = [
        *stages(1, "RequestReceived", "ResponseComplete"),
        *stages(2, "ResponseComplete"),
        *stages(3, "RequestReceived"),  # what became of it is not in the log
        *stages(4, "RequestReceived", "Panic"),
        *stages(5, "RequestReceived", "ResponseStarted", **REFUSED),
        *stages(6, "RequestReceived", "ResponseStarted", **WATCH | REFUSED),
        *stages(7, "ResponseStarted", **WATCH),  # open
        *stages(8, "ResponseStarted", "ResponseComplete", **WATCH),
        *stages(9, "RequestReceived", "ResponseStarted", "ResponseComplete", **WATCH | FORBIDDEN),
        *stages(10, "ResponseStarted", **EXEC | {"responseStatus": {"code": 101}}),
        *stages(11, "ResponseStarted", "Panic", **EXEC),
    ]
    imported(tmp_path / "lake", write(tmp_path / "audit.log", log))
    found = rows(tmp_path / "lake", "select right(audit_id, 2)::int, stage, is_open from requests order by 1")
    assert found == [
        (1, "ResponseComplete", False), (2, "ResponseComplete", False), (4, "Panic", False), (5, "ResponseStarted", False),
        (6, "ResponseStarted", False), (7, "ResponseStarted", True), (8, "ResponseComplete", False),
        (9, "ResponseComplete", False), (10, "ResponseStarted", True), (11, "Panic", False),
    ]  # fmt: skip


def test_a_watch_that_ends_after_the_window_is_open_in_it(tmp_path: Path) -> None:
    imported(tmp_path / "lake", write(tmp_path / "audit.log", stages(8, "ResponseStarted", "ResponseComplete", **WATCH)))
    con = engine.connect(Lake(tmp_path / "lake"))
    asked = "select stage, is_open from requests_in(null, null, cast('2026-11-23T12:08:00.5Z' as timestamptz))"
    assert con.sql(asked).fetchall() == [("ResponseStarted", True)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=40), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_a_value_that_was_measured(con: duckdb.DuckDBPyConnection, us: list[int], p: float) -> None:
    expected = sorted(us)[math.ceil(round(len(us) * p, 6)) - 1] / 1000
    assert value(con, f"(select percentile_ms(x / 1000, {p}) from unnest($us) t(x))", us=us) == expected


def test_halves_are_rounded_up(con: duckdb.DuckDBPyConnection) -> None:
    assert [value(con, f"rounded({x}::double, {s})") for x, s in ((4.5215, 1000), (0.125, 100), (2.5, 1))] == [4.522, 0.13, 3]


def test_a_sum_does_not_depend_on_order(con: duckdb.DuckDBPyConnection) -> None:
    numbers = [0.1, 1e9, 0.2, -1e9, 0.3, 7.7777777]
    sums = {value(con, "(select sum_ms(x) from unnest($l) t(x))", l=numbers[i:] + numbers[:i]) for i in range(len(numbers))}
    assert sums == {8.377778}


@pytest.mark.parametrize("text", ['"skipped-too-big-size-object"', "skipped", "7", "null", "[1]", '{"a":', "", None])
def test_what_is_no_object_is_no_body(con: duckdb.DuckDBPyConnection, text: str | None) -> None:
    assert value(con, "body($t)", t=text) is None
    assert value(con, "body($t)", t='{"a":1}') == '{"a":1}'


def refusal(message: str) -> dict[str, Any]:
    return {"responseStatus": {"code": 403, "reason": "Forbidden", "message": message}, "annotations": None}


@pytest.mark.parametrize(
    ("resource", "name", "rest", "wanted"),
    [
        ("users", "admin", "at the cluster scope", "admin"),
        ("users.authentication.k8s.io", 'a\\"b', "at the cluster scope", 'a\\"b'),
        ("serviceaccounts", "ci", 'in the namespace "shop"', "system:serviceaccount:shop:ci"),
        ("groups", "system:masters", "at the cluster scope", "groups system:masters"),
    ],
)
def test_a_refused_impersonation_names_whom_it_was_for(tmp_path: Path, resource: str, name: str, rest: str, wanted: str) -> None:
    message = f'{resource} "{name}" is forbidden: User "carol" cannot impersonate resource "{resource}" in API group "" {rest}'
    imported(tmp_path / "lake", write(tmp_path / "audit.log", [event(1, **refusal(message))]))
    asked = "select wanted(decided_by, status_message, status_details) from requests"
    assert [r[0] for r in engine.connect(Lake(tmp_path / "lake")).sql(asked).fetchall()] == [wanted]


def test_names_of_an_authenticator_are_shown_and_found(con: duckdb.DuckDBPyConnection) -> None:
    extra = "map {'username': ['jane@example.com'], 'principalid': ['azuread_user://1'], 'authentication.kubernetes.io/pod-name': ['p']}"
    person = f"'proxy', 'u-xyz', null, {extra}"
    assert value(con, f"identity(null, 'u-xyz', {extra})") == ["principalid=azuread_user://1", "username=jane@example.com"]
    assert value(con, "actor('proxy', 'u-xyz')") == "u-xyz"
    assert value(con, "actor('alice', null)") == "alice"
    for name, found in {"u-xyz": True, "proxy": True, "jane@example.com": True, "jane*": True, "p": False, "bob": False}.items():
        assert bool(value(con, f"by_user({person}, $p)", p=engine.pattern(name))) is found, json.dumps(name)
