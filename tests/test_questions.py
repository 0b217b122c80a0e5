"""Every question: one answer on any number of threads and in any order of rows, and none that fails for one row."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import auditlens
from auditlens import engine
from auditlens.answers.questions import Question, questions
from auditlens.lake import Lake
from auditlens.tables import PUBLIC
from tests import rare
from tests.conftest import CAPTURES, SHARED, imported, needs_captures

PIECES = 5
STRANGE = [
    "null", "true", "7", '""', '"skipped-too-big-size-object"', "skipped-too-big-size-object", "[]", '[{"a":1}]', '{"a":', "{}", "",
    '{"items":"x","metadata":7,"spec":"y","subjects":3,"rules":"z","roleRef":[],"details":null}',
    '{"items":[7,null],"metadata":{"finalizers":"x","deletionTimestamp":{},"ownerReferences":7},"spec":{"template":[]},"mutated":{}}',
    "%zz?command=%&container=%g1&dryRun=", "\u2028{", '{"a":"\\ud800"}',
]  # fmt: skip
# whatever makes a question look at more rows
WIDEST = {"per_minute": 0, "least": 1, "attempts": True, "reads": True, "quiet": True, "prereleases": True, "controllers": True}


def parameters(question: Question, **given: Any) -> dict[str, Any]:
    """The question's defaults, and those of `given` that it has."""
    values = {p.name: p.default for p in question.params} | {"limit": 1_000_000}
    values |= given | {"audit_id": rare.CUT_OFF} if question.name == "request" else given
    return {p.name: values.get(p.name) for p in question.params}


def answered(con: duckdb.DuckDBPyConnection, question: Question, **given: Any) -> list[tuple[Any, ...]]:
    return con.execute(question.sql, parameters(question, **given)).fetchall()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return rare.lake(tmp_path_factory.mktemp("rare"))


def copied(lake: Lake) -> tuple[duckdb.DuckDBPyConnection, dict[str, Any]]:
    """A connection of its own that holds the lake's tables as kept_NAME, and each table's types."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    stored = engine.connect(lake)
    types = {}
    for name in PUBLIC:
        frame = stored.sql(f"from {name}").to_arrow_table()
        types[name] = {c: t for c, t, *_ in stored.execute(f"describe {name}").fetchall()}
        con.register("frame", frame)
        con.execute(f"create table kept_{name} as from frame")
        con.unregister("frame")
    stored.close()
    return con, types


@pytest.fixture(scope="module")
def tied(lake: Lake) -> Iterator[dict[str, duckdb.DuckDBPyConnection]]:
    """The same rows inserted in three orders, in pieces that threads read at once; each row has a twin in another line."""
    made = {}
    for order in ("forwards", "backwards", "shuffled"):
        con, types = copied(lake)
        for name in PUBLIC:
            columns = ", ".join("line + 100000 as line" if c == "line" else f'"{c}"' for c in types[name])
            twins = f"union all select {columns} from kept_{name}" if name != "imports" else ""
            con.execute(f"create table all_{name} as select row_number() over () as n, * from (from kept_{name} {twins})")
            numbers = [n for (n,) in con.execute(f"select n from all_{name} order by n").fetchall()]
            if order == "backwards":
                numbers.reverse()
            elif order == "shuffled":
                random.Random(7).shuffle(numbers)
            con.execute(f"create table place_{name} as select unnest($1) as n, unnest(range($2)) as at", [numbers, len(numbers)])
            for piece in range(PIECES):
                con.execute(
                    f"create table {name}_{piece} as select a.* exclude (n) from all_{name} a join place_{name} p using (n) "
                    f"where p.at % {PIECES} = {piece} order by p.at"
                )
            con.execute(f"create view {name} as " + " union all ".join(f"from {name}_{piece}" for piece in range(PIECES)))
        con.execute(engine.words())
        made[order] = con
    yield made
    for con in made.values():
        con.close()


def test_a_question_ends_with_its_order_and_limit() -> None:
    """So that its rows can be counted without sorting them."""
    for question in questions().values():
        tail = question.sql[len(question.unsorted) :]
        assert "$limit" not in question.unsorted and re.fullmatch(r"\norder by [^\n]+\nlimit \$limit\s*", tail), question.name


@pytest.mark.parametrize("name", sorted(questions()))
def test_an_answer_does_not_depend_on_threads_and_order(tied: dict[str, duckdb.DuckDBPyConnection], name: str) -> None:
    question, expected = questions()[name], None
    for order, con in tied.items():
        for threads in (1, 2, 8):
            con.execute(f"set threads = {threads}")
            found = answered(con, question)
            expected = expected or found
            assert found, "no row"
            assert found == expected, (order, threads)


def swapped(column: str, kind: str) -> str | None:
    """SQL that puts a strange text in a column's place; None for a column that stays."""
    if kind == "MAP(VARCHAR, VARCHAR)":
        return f"map_from_entries(list_transform(map_entries({column}), lambda e: row(e.key, strange()))) as {column}"
    texts = ("request_object", "response_object", "status_details", "status_message", "request_uri", "uri", "url", "added_info")
    return f"strange() as {column}" if column in texts else None


class Swapping:
    """A lake whose rows stand beside copies of themselves with a strange text in place of bodies and other texts."""

    def __init__(self, lake: Lake) -> None:
        self.con, types = copied(lake)
        self.con.execute("create macro strange() as null")
        for name in PUBLIC:
            changes = [sql for column, kind in types[name].items() if (sql := swapped(column, kind))]
            replaced = f"replace ({', '.join(changes)})" if changes else ""
            self.con.execute(f"create view {name} as select * {replaced} from kept_{name} union all from kept_{name}")
        self.con.execute(engine.words())

    def failures(self, text: str | None) -> list[tuple[str, str]]:
        """Which questions fail with this text, and how."""
        quoted = "null" if text is None else "'" + text.replace("'", "''") + "'"
        self.con.execute(f"create or replace macro strange() as {quoted}")
        out = []
        for question in questions().values():
            try:
                answered(self.con, question, **WIDEST)
            except duckdb.Error as e:
                out.append((question.name, str(e)[:200]))
        return out


@pytest.fixture(scope="module")
def swapping(lake: Lake) -> Swapping:
    return Swapping(lake)


@pytest.mark.parametrize("text", [None, *STRANGE])
def test_no_question_fails_for_one_row(swapping: Swapping, text: str | None) -> None:
    assert not swapping.failures(text)


@pytest.mark.slow
@needs_captures
@pytest.mark.timeout(3600)
def test_no_question_fails_for_one_row_of_other_peoples_logs(tmp_path: Path) -> None:
    folders = [CAPTURES / "full", CAPTURES / "v4-json-truncate", SHARED / "peers", SHARED / "field", SHARED / "samples"]
    imported(tmp_path / "lake", *(f for f in folders if f.is_dir()))
    lake = Swapping(Lake(tmp_path / "lake"))
    assert not [found for text in [None, *STRANGE] for found in lake.failures(text)]


def told(lake: Lake, question: str, *columns: str, **params: Any) -> list[tuple[Any, ...]]:
    """These columns of an answer."""
    return auditlens.ask(lake, question, **params).frame.select(columns).rows()


JANE = ("u-x2o", "system:serviceaccount:cattle-system:proxy")


@pytest.mark.parametrize(
    "user", ["u-x2o", "jane.doe@example.com", "jane*", "azuread_user://1", "system:serviceaccount:cattle-system:*"]
)
@pytest.mark.parametrize("question", ["rbac-changes", "session", "requests", "history", "impersonation", "user-activity"])
def test_who_acted_is_the_person_behind_the_proxy(lake: Lake, question: str, user: str) -> None:
    extra = {"resource": "clusterrolebindings", "name": "grant"} if question == "history" else {"user": user}
    assert JANE in told(lake, question, "username", "impersonator", **extra)


def test_the_deletion_is_the_persons(lake: Lake) -> None:
    found = told(lake, "who-deleted", "username", "root_username", object="clusterrolebinding/grant")
    assert found == [("u-x2o", "u-x2o")]
    assert ("u-x2o",) in told(lake, "top", "value", by="user", limit=1000)
    assert ("system:serviceaccount:cattle-system:proxy",) not in told(lake, "top", "value", by="user", limit=1000)


def test_a_name_of_the_identity_provider_is_shown_and_found(lake: Lake) -> None:
    for user in ("ASIAX", "arn:aws:sts::1:assumed-role/Admin/joe", "*/joe"):
        found = told(lake, "rbac-changes", "username", "identity", user=user)
        assert ("kubernetes-admin", ["accessKeyId=ASIAX", "arn=arn:aws:sts::1:assumed-role/Admin/joe"]) in found


def test_a_refused_impersonation_says_whom_it_was_for_and_what_was_asked(lake: Lake) -> None:
    for question in ("impersonation", "secret-access", "denied", "session", "requests"):
        assert ("carol", "admin", "db") in told(lake, question, "username", "wanted", "name", user="carol"), question


def test_an_open_watch_and_requests_without_login_are_shown(lake: Lake) -> None:
    assert ("mallory", "watch", "open") in told(lake, "secret-access", "username", "verb", "outcome")
    assert {("system:anonymous", 403), ("(login failed)", 401)} <= set(told(lake, "anonymous-requests", "username", "code"))


def test_a_placeholder_is_no_body_and_hides_no_grant(lake: Lake) -> None:
    assert {("grant", "ClusterRole/cluster-admin"), ("skipped", None)} <= set(told(lake, "rbac-changes", "name", "role"))


def test_a_token_is_not_unused_where_the_log_has_no_ids(lake: Lake) -> None:
    row = auditlens.ask(lake, "token-lineage", user="dave").frame.to_dicts()[0]
    assert (row["requests"], row["account_requests"]) == (None, 1) and row["use"].startswith("unknown: no ids")


def test_tokens_of_people_come_before_those_of_workloads_and_of_the_control_plane(lake: Lake, tmp_path: Path) -> None:
    samples = tmp_path / "lake"
    auditlens.import_files([Path(__file__).resolve().parents[1] / "sample-logs"], samples)
    for asked in (lake, samples):
        rows = auditlens.ask(asked, "token-lineage").frame.select("service_account", "issuer").rows()
        # what a person made a token for is that person's doing
        ranks = [min(_rank(account), _rank(issuer)) for account, issuer in rows]
        assert ranks == sorted(ranks) and ranks[0] == 0


def _rank(username: str | None) -> int:
    if username is None:
        return 9
    workload = username.startswith("system:serviceaccount:") and not username.startswith("system:serviceaccount:kube-system:")
    return 0 if not username.startswith("system:") else 1 if workload else 2


def test_only_kubernetes_own_apis_are_prereleases(lake: Lake) -> None:
    found = told(lake, "deprecated-apis", "resource", "status", prereleases=True)
    assert ("flowschemas", "deprecated, not served from 1.32 on") in found
    assert "gizmos" not in {resource for resource, _ in found}


def test_a_budgets_refusal_is_called_that(lake: Lake) -> None:
    assert [outcome for (outcome,) in told(lake, "evictions", "outcome")] == ["blocked by budget", "created"]
