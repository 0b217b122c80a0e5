"""The compiled policy agrees with evaluate(), and no text in a policy gets out of its quotes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import duckdb
import pytest

from auditlens.policy import GroupResources, Policy, Request, Rule, evaluate, load, rule_sql, to_sql
from auditlens.policy.apiserver.sql import COLUMNS, identifier
from auditlens.quoting import quoted

from .helpers import HEAD, mean_policy, mean_request

POLICIES = 200
REQUESTS = 500


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("set threads = 1")
        yield con


def _table(con: duckdb.DuckDBPyConnection, requests: list[Request], *, nulls: bool) -> None:
    con.execute(
        "create or replace table requests (number integer, username varchar, user_groups varchar[], verb varchar, "
        "namespace varchar, api_group varchar, resource varchar, subresource varchar, name varchar, path varchar, "
        "is_resource_request boolean, user_known boolean)"
    )

    def text(value: str) -> str | None:
        return None if nulls and value == "" else value

    rows = []
    for number, r in enumerate(requests):
        groups = None if nulls and not r.groups else list(r.groups)
        texts = [text(v) for v in (r.verb, r.namespace, r.api_group, r.resource, r.subresource, r.name, r.path)]
        flags = [r.resource_request or (None if nulls else False), r.user is not None or (None if nulls else False)]
        rows.append([number, r.user, groups, *texts, *flags])
    con.executemany(f"insert into requests values ({', '.join('?' * 12)})", rows)


def test_sql_and_python_agree_on_100_000_mean_pairs(connection: duckdb.DuckDBPyConnection) -> None:
    dice = random.Random(1001)
    versions = ["1.36"] * 6 + ["1.35", "1.9", "1.8", "1.7"]
    pairs = matched = 0
    for batch in range(4):
        requests = [mean_request(dice) for _ in range(REQUESTS)]
        _table(connection, requests, nulls=batch % 2 == 1)
        for _ in range(POLICIES // 4):
            policy = mean_policy(dice, dice.choice(versions))
            fields = "d.rule, d.level, d.omit_stages, d.omit_managed_fields"
            sql = f"select {fields} from (select number, {to_sql(policy)} as d from requests) order by number"
            rows = connection.sql(sql).fetchall()
            for request, row in zip(requests, rows, strict=True):
                wanted = evaluate(policy, request)
                got = (row[0], row[1], tuple(row[2]), row[3])
                assert got == (wanted.rule, wanted.level, wanted.omit_stages, wanted.omit_managed_fields), request
                matched += wanted.rule is not None
            pairs += len(requests)
    assert pairs == 100_000
    assert 0.2 < matched / pairs < 0.95  # the dice are not loaded


def test_the_number_alone_is_the_same_number(connection: duckdb.DuckDBPyConnection) -> None:
    dice = random.Random(7)
    requests = [mean_request(dice) for _ in range(200)]
    _table(connection, requests, nulls=False)
    for _ in range(10):
        policy = mean_policy(dice)
        rows = connection.sql(f"select {rule_sql(policy)} from requests order by number").fetchall()
        assert [row[0] for row in rows] == [evaluate(policy, request).rule for request in requests]


HOSTILE = ["'; drop table requests; --", "''", "\\'", "a\0b", "\0", "$1", "?", "{x}", '"', "é😀\u2028", "'||chr(39)||'"]


def test_hostile_text_stays_text(connection: duckdb.DuckDBPyConnection) -> None:
    requests = [Request(user=text, groups=(text,), verb=text, path=text) for text in HOSTILE]
    requests += [
        Request(user="u", verb=t, resource_request=True, namespace=t, resource=t, subresource=t, name=t) for t in HOSTILE
    ]
    _table(connection, requests, nulls=False)
    for text in HOSTILE:
        assert connection.sql(f"select {quoted(text)}").fetchall() == [(text,)]
        entry = GroupResources(resources=(f"{text}/{text}", f"{text}/*", f"*/{text}"), resource_names=(text,))
        rules = (
            Rule(level="None", users=(text,), user_groups=(text,), verbs=(text,), non_resource_urls=(text, f"{text}*")),
            Rule(level="Request", verbs=(text,), namespaces=(text,), resources=(entry,)),
        )
        policy = Policy(rules=rules)
        rows = connection.sql(f"select {rule_sql(policy)} from requests order by number").fetchall()
        assert [row[0] for row in rows] == [evaluate(policy, request).rule for request in requests]
    assert connection.sql("select count(*) from requests").fetchall() == [(len(requests),)]


def test_columns_may_have_other_names(connection: duckdb.DuckDBPyConnection) -> None:
    policy = load(HEAD + "rules:\n- level: Request\n  users: [alice]\n")
    odd = 'the "user"'
    sql = to_sql(policy, {"username": odd})
    rest = ", ".join(f"null as {identifier(column)}" for column in COLUMNS if column not in ("username", "user_known"))
    table = f"(select 'alice' as {identifier(odd)}, true as user_known, {rest})"
    assert connection.sql(f"select ({sql}).level from {table}").fetchall() == [("Request",)]
    with pytest.raises(ValueError, match="no column user"):
        to_sql(policy, {"user": "username"})
    for bad in ("", "a\0b"):
        with pytest.raises(ValueError, match="cannot be the name"):
            identifier(bad)


def test_a_policy_without_rules_compiles(connection: duckdb.DuckDBPyConnection) -> None:
    policy = Policy(omit_stages=("Panic",))
    assert connection.sql(f"select {to_sql(policy)} as d").fetchall() == [
        ({"rule": None, "level": "None", "omit_stages": ["Panic"], "omit_managed_fields": False},)
    ]
