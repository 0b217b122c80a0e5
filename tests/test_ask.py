"""Questions: how they are asked, what they answer on made-up logs, and what they say they cannot know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import answer, ask, auditlens, event, imported, rows, when, write

from auditlens import history
from auditlens.answers.questions import QuestionError, find, load, questions
from auditlens.errors import QueryError, UsageError
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact

POD = {"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"}
CONTROLLER = {"username": "system:serviceaccount:kube-system:generic-garbage-collector"}


def status(code: int, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


def body(kind: str, name: str, uid: str, *owner: str) -> dict[str, Any]:
    """An object; its owner as kind, name and uid."""
    refs = [{"apiVersion": "apps/v1", "kind": owner[0], "name": owner[1], "uid": owner[2], "controller": True}] if owner else None
    meta = {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": "5"} | ({"ownerReferences": refs} if refs else {})
    return {"kind": kind, "apiVersion": "v1", "metadata": meta}


def make(root: Path, *events: dict[str, Any]) -> str:
    imported(root / "lake", write(root / "a.log", events))
    return str(root / "lake")


def test_a_question_does_not_bring_pandas_along(tmp_path: Path) -> None:
    """pandas is installed with the dashboard, and costs a command 0.15 s where anything imports it."""
    lake = make(tmp_path, event())
    code = (
        "import sys; from auditlens.cli import main; main(['ask', 'requests', '--lake', sys.argv[1]]); "
        "print('pandas' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, lake], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("get") and done.stderr.strip().endswith("False")


def test_an_import_brings_neither_pandas_nor_polars_along(tmp_path: Path) -> None:
    """Also into a lake that is there, whose files must be read."""
    code = (
        "import atexit, sys; from auditlens.__main__ import run; sys.argv = ['auditlens', 'import', *sys.argv[1:]]; "
        "atexit.register(lambda: print({'pandas', 'polars'} & set(sys.modules), file=sys.stderr)); run()"
    )
    for n in range(2):
        log = write(tmp_path / f"{n}.log", [event(n)])
        command = [sys.executable, "-c", code, str(log), "--lake", str(tmp_path / "lake")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert "1 records = 1 rows" in done.stdout and done.stderr.strip().endswith("set()")


@pytest.fixture(scope="module")
def deletions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One pod's name in every way to end, in one namespace."""
    ref = {"resource": "replicasets", "namespace": "shop", "name": "rs", "apiGroup": "apps", "apiVersion": "v1"}
    deployment = {"resource": "deployments", "namespace": "shop", "name": "front", "apiGroup": "apps", "apiVersion": "v1"}
    items = [{"metadata": {"name": n, "namespace": "shop", "uid": f"uid-{n}"}} for n in ("a", "b")]
    return make(
        tmp_path_factory.mktemp("deletions"),
        event(1, verb="delete", objectRef=POD, responseObject=body("Pod", "web", "uid-1")),
        event(2, verb="delete", objectRef=POD, responseStatus=status(403, "Forbidden")),
        event(3, verb="delete", objectRef=POD, requestURI="/api/v1/namespaces/shop/pods/web?dryRun=All"),
        event(4, verb="deletecollection", objectRef={**POD, "name": ""}, user={"username": "bob"},
              responseObject={"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}),
        event(5, verb="create", objectRef={**POD, "name": "gone", "subresource": "eviction"}, responseStatus={"code": 201}),
        event(6, verb="delete", objectRef={**POD, "name": "gone"}, user={"username": "system:node:n1"},
              responseObject=body("Pod", "gone", "uid-gone")),
        event(10, verb="create", objectRef={**ref}, responseObject=body("ReplicaSet", "rs", "uid-rs", "Deployment", "front", "uid-d")),
        event(11, verb="delete", objectRef=deployment, user={"username": "carol"}, responseObject=body("Status", "front", "uid-d")),
        event(12, verb="delete", objectRef=ref, user=CONTROLLER, responseObject=body("ReplicaSet", "rs", "uid-rs")),
        event(13, verb="delete", objectRef={**POD, "name": "rs-1"}, user=CONTROLLER,
              responseObject=body("Pod", "rs-1", "uid-p", "ReplicaSet", "rs", "uid-rs")),
    )  # fmt: skip


def test_who_deleted_a_pod(deletions: str) -> None:
    (row,) = ask(deletions, "who-deleted", object="pod/web", namespace="shop").to_dicts()
    assert (row["username"], row["how"], row["uid"], row["root_username"]) == ("alice", "direct", "uid-1", "alice")
    assert (row["source_ip"], row["client"], row["code"]) == ("192.0.2.7", "kubectl", 200)
    assert (Path(row["source"]).name, row["line"], row["audit_id"]) == ("a.log", 1, event(1)["auditID"])


def test_refused_attempts_and_dry_runs_are_shown_when_asked_for(deletions: str) -> None:
    found = ask(deletions, "who-deleted", object="pod/web", namespace="shop", attempts=True)
    assert found["how"].to_list() == ["direct", "refused", "dry-run"]
    assert found["root_username"].to_list() == ["alice", None, None]


@pytest.mark.parametrize(
    ("name", "how", "user", "root"),
    [
        ("a", "collection", "bob", "bob"),
        ("b", "collection", "bob", "bob"),
        ("gone", "eviction", "alice", "alice"),
        ("rs-1", "owner-gc", CONTROLLER["username"], "carol"),
    ],
)
def test_who_was_behind_it(deletions: str, name: str, how: str, user: str, root: str) -> None:
    row = ask(deletions, "who-deleted", resource="pods", namespace="shop", name=name).to_dicts()[0]
    assert (row["how"], row["username"], row["root_username"]) == (how, user, root)


def test_the_kubelets_deletion_leads_to_the_eviction(deletions: str) -> None:
    row = ask(deletions, "who-deleted", resource="pods", name="gone").to_dicts()[1]
    assert (row["how"], row["root_username"], row["root_audit_id"]) == ("kubelet", "alice", event(5)["auditID"])


def test_a_chain_that_the_log_does_not_hold_names_nobody(tmp_path: Path) -> None:
    lake = make(tmp_path, event(1, verb="delete", objectRef=POD, user=CONTROLLER,
                                responseObject=body("Pod", "web", "u", "ReplicaSet", "rs", "unseen")))  # fmt: skip
    (row,) = ask(lake, "who-deleted", object="pod/web", namespace="shop").to_dicts()
    assert (row["how"], row["root_username"], row["root_audit_id"]) == ("owner-gc", None, None)


def test_a_collection_whose_victims_were_not_recorded_is_shown_as_such(tmp_path: Path) -> None:
    lake = make(tmp_path, event(1, verb="deletecollection", level="Metadata", objectRef={**POD, "name": ""}))
    (row,) = ask(lake, "who-deleted", object="pod/any", namespace="shop").to_dicts()
    assert (row["how"], row["name"]) == ("collection-unrecorded", None)
    assert ask(lake, "who-deleted", object="pod/any", namespace="other").height == 0


def test_answers_are_the_same_after_compaction(deletions: str) -> None:
    before = {q: ask(deletions, q).to_dicts() for q in ("who-deleted", "history", "requests", "denied", "top")}
    compact(Lake(deletions))
    assert {q: ask(deletions, q).to_dicts() for q in before} == before


@pytest.mark.parametrize(
    ("object", "count"), [("pod/web", 1), ("pods/web", 1), ("po/web", 1), ("Pod/web", 1), ("pod/w*", 1), ("pod/?eb", 1), ("pod", 6), ("deploy/front", 1),
                          ("deployments.apps/front", 1), ("pod/WEB", 0), ("pod/we%", 0), ("pod/we_", 0), ("pod/';drop-view-audit;--", 0)],
)  # fmt: skip
def test_objects_are_addressed_as_kubectl_does(deletions: str, object: str, count: int) -> None:
    assert ask(deletions, "who-deleted", object=object, namespace="shop").height == count


def test_history_shows_every_request_that_touched_an_object(tmp_path: Path) -> None:
    lake = make(
        tmp_path,
        event(1, verb="create", objectRef={**POD, "name": ""}, responseObject=body("Pod", "web", "u1"), responseStatus={"code": 201}),
        event(2, verb="get", objectRef=POD),
        event(3, verb="patch", objectRef={**POD, "subresource": "status"}),
        event(4, verb="delete", objectRef=POD, responseStatus=status(404, "NotFound")),
        event(5, verb="deletecollection", objectRef={**POD, "name": ""},
              responseObject={"kind": "PodList", "items": [{"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}}]}),
        event(6, stage="RequestReceived", verb="update", objectRef=POD, responseStatus=None, annotations=None),
        event(7, verb="delete", objectRef={**POD, "name": "other"}),
    )  # fmt: skip
    found = ask(lake, "history", object="pod/web", namespace="shop")
    assert found.select("verb", "via", "outcome").rows() == [
        ("create", "body", "created"), ("patch", "ref", "ok"), ("delete", "ref", "not_found"), ("deletecollection", "item", "ok"),
        ("update", "ref", "unknown"),
    ]  # fmt: skip
    assert ask(lake, "history", object="pod/web", namespace="shop", reads=True).height == 6


def test_refusals_say_who_decided_and_why(tmp_path: Path) -> None:
    forbid = {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}
    lake = make(
        tmp_path,
        event(1, responseStatus=status(403, "Forbidden", "no right"), annotations=forbid),
        event(2, responseStatus=status(403, "Forbidden", "exceeded quota")),
        event(3, responseStatus=status(401, "Unauthorized", "Unauthorized"), user={}, annotations=None, stage="ResponseStarted"),
        event(4),
    )
    found = ask(lake, "denied")
    assert found.select("code", "decided_by", "reason").rows() == [
        (403, "authorization", "no right"), (403, "admission", "exceeded quota"), (401, "authentication", "Unauthorized"),
    ]  # fmt: skip


def test_windows_are_absolute_relative_or_from_the_end_of_the_log(tmp_path: Path) -> None:
    lake = make(tmp_path, *(event(60 * n) for n in range(10)))
    assert ask(lake, "requests").height == 10
    assert ask(lake, "requests", since=when(300)).height == 5
    assert ask(lake, "requests", since=when(300), until=when(360)).height == 1
    assert ask(lake, "requests", since="end-3m").height == 4
    assert ask(lake, "requests", until="end-3m").height == 7
    assert ask(lake, "requests", since="2h").height == 0 or when(0) > "2026-11-23T"
    outside = answer(lake, "requests", since="2020-01-01", until="2020-01-02")
    assert outside.frame.height == 0
    assert any("holds nothing in this window; its last event is of 2026-11-23T" in note for note in outside.notes)


@pytest.mark.parametrize("by", ["user", "client", "verb", "resource", "namespace", "code", "source-ip"])
def test_top_counts_by_anything(deletions: str, by: str) -> None:
    found = ask(deletions, "top", by=by)
    assert found["requests"].sum() == 10


def test_log_volume_adds_up(deletions: str) -> None:
    for by in ("user", "verb", "resource", "level"):
        found = ask(deletions, "log-volume", by=by)
        assert found["events"].sum() == 10
        assert abs(found["bytes_percent"].sum() - 100) < 0.1


def test_an_answer_says_when_it_is_cut_short(deletions: str) -> None:
    found = answer(deletions, "requests", limit=3)
    assert found.frame.height == 3
    assert any("only the first 3 of 10 rows" in note for note in found.notes)


def test_events_below_the_level_an_answer_needs_are_told(tmp_path: Path) -> None:
    lake = make(tmp_path, event(1, verb="delete", level="Metadata", objectRef=POD), event(2, objectRef={**POD, "name": "other"}))
    assert any("recorded below" in note for note in answer(lake, "who-deleted", object="pod/web", namespace="shop").notes)
    assert not any("recorded below" in note for note in answer(lake, "who-deleted", object="pod/web", namespace="pay").notes)


def test_what_is_no_question_or_parameter_suggests_the_nearest(deletions: str) -> None:
    with pytest.raises(UsageError, match="did you mean who-deleted"):
        ask(deletions, "who-delted")
    with pytest.raises(UsageError, match="did you mean namespace"):
        ask(deletions, "who-deleted", namespce="shop")
    with pytest.raises(UsageError, match="is not asked of an object"):
        ask(deletions, "top", object="pod/web")
    with pytest.raises(UsageError, match="there is no lake here"):
        ask(deletions + "-not", "top")
    with pytest.raises(QueryError, match="--by takes"):
        ask(deletions, "top", by="moon")


def test_every_question_can_be_asked_of_an_empty_window(deletions: str) -> None:
    for name, question in questions().items():
        params = {p.name: "x" for p in question.params if p.name in ("audit_id", "name", "uid", "user")}
        window = {p.name: "2020-01-01" for p in question.params if p.name in ("since", "until")}
        found = answer(deletions, name, **params, **window)
        assert found.frame.height == 0 or "since" not in window, name
        assert found.notes or found.frame.height, name


def test_a_question_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    for text, why in [
        ("select 1", "begins with a comment"), ("/*\ntitle = 'x'\n*/ select 1", "needs"),
        ("/*\ntitle = 'x'\nneeds = ''\n[params]\nname = ''\n*/ select 1", "differ: name"),
        ("/*\ntitle = 'x'\nneeds = ''\n*/ select $name", "differ: name"),
        ("/*\ntitle = 'x'\nneeds = ''\nlogged = [{level = 'All'}]\n*/ select 1", "level 'All'"),
    ]:  # fmt: skip
        (tmp_path / "q.sql").write_text(text)
        with pytest.raises(QuestionError, match=why) as wrong:
            load(tmp_path / "q.sql")
        assert "q.sql" in str(wrong.value)
    assert find("who-deleted").takes_object


def test_the_command_answers_in_every_format_and_keeps_stdout_for_the_answer(deletions: str) -> None:
    found = auditlens("ask", "who-deleted", "pod/web", "-n", "shop", "--lake", deletions, "-o", "json")
    (row,) = json.loads(found.stdout)
    assert row["username"] == "alice"
    assert set(row) >= {"time", "username", "impersonator", "verb", "how", "namespace", "resource", "name", "uid", "code",
                        "source_ip", "client", "user_agent", "audit_id", "source", "line"}  # fmt: skip
    table = auditlens("ask", "who-deleted", "pod/web", "-n", "shop", "--lake", deletions)
    assert b"alice" in table.stdout
    assert b"a.log:1" in table.stdout
    assert auditlens("ask", "--lake", deletions).stdout.count(b"\n") > len(questions())


def test_the_command_says_what_is_wrong_in_one_line(deletions: str) -> None:
    for args, code, why in [
        (("who-delted",), 2, b"did you mean who-deleted"), (("top", "--byy", "user"), 2, b"did you mean --by"),
        (("top", "--since", "yesterday-ish"), 2, b"use RFC 3339"), (("requests", "--code", "abc"), 2, b"abc"),
        (("top", "-o", "xml"), 2, b"parquet"),
    ]:  # fmt: skip
        done = auditlens("ask", *args, "--lake", deletions)
        assert (done.returncode, done.stdout) == (code, b""), args
        assert why in done.stderr
        assert done.stderr.count(b"\n") == 1, done.stderr


def test_an_eviction_asks_for_a_dry_run_inside_its_delete_options(tmp_path: Path) -> None:
    pods = {"resource": "pods", "subresource": "eviction", "namespace": "shop", "name": "web", "apiVersion": "v1"}
    bodies = ({"deleteOptions": {"dryRun": ["All"]}}, {"deleteOptions": {}}, {"deleteOptions": "odd"}, {"deleteOptions": None})
    events = [
        event(n, verb="create", objectRef=pods, requestURI="/api/v1/namespaces/shop/pods/web/eviction", requestObject=body)
        for n, body in enumerate(bodies)
    ]
    lake = tmp_path / "lake"
    imported(lake, write(tmp_path / "a.log", events))
    assert rows(lake, "select dry_run from audit order by stage_time, line") == [(True,), (False,), (False,), (False,)]


def test_an_api_group_tells_resources_of_one_name_apart(tmp_path: Path) -> None:
    core = {"resource": "services", "namespace": "shop", "name": "x", "apiVersion": "v1"}
    serving = core | {"apiGroup": "serving.knative.dev"}
    lake = make(
        tmp_path, event(1, verb="delete", objectRef=core), event(2, verb="update", objectRef=serving, user={"username": "bob"})
    )
    knative = "services.serving.knative.dev/x"
    assert ask(lake, "who-deleted", object=knative, namespace="shop").height == 0
    assert ask(lake, "history", object=knative)["username"].to_list() == ["bob"]
    assert history(lake, knative, namespace="shop").frame["username"].to_list() == ["bob"]
    assert history(lake, "svc/x", namespace="shop").frame["username"].to_list() == ["alice"]
    assert ask(lake, "requests", api_group="serving.knative.dev")["username"].to_list() == ["bob"]


def test_history_shows_sessions_over_websockets_and_tells_dry_runs(tmp_path: Path) -> None:
    session = event(
        1, verb="get", objectRef=POD | {"subresource": "exec"}, requestURI="/api/v1/namespaces/shop/pods/web/exec?command=sh"
    )
    tried = event(2, verb="delete", objectRef=POD, requestURI="/api/v1/namespaces/shop/pods/web?dryRun=All")
    lake = make(tmp_path, session, tried)
    assert ask(lake, "history", object="pod/web")["outcome"].to_list() == ["ok", "dry-run"]
    assert ask(lake, "session", user="alice")["outcome"].to_list() == ["ok", "dry-run"]


def test_a_session_that_is_still_open_is_shown(tmp_path: Path) -> None:
    of = {
        "verb": "get",
        "objectRef": POD | {"subresource": "exec"},
        "requestURI": "/api/v1/namespaces/shop/pods/web/exec?command=sh",
    }
    switching = {"responseStatus": {"metadata": {}, "code": 101}}
    ended = (event(1, stage="ResponseStarted", **of, **switching), event(1, **of, **switching))
    lake = make(tmp_path, *ended, event(2, stage="ResponseStarted", **of, **switching))
    found = ask(lake, "session", user="alice").select("audit_id", "outcome").rows()
    assert [(audit_id[-1], outcome == "open") for audit_id, outcome in found] == [("1", False), ("2", True)]


def test_a_watch_of_secrets_is_one_row(tmp_path: Path) -> None:
    of = {
        "verb": "watch",
        "objectRef": {"resource": "secrets", "namespace": "shop", "apiVersion": "v1"},
        "requestURI": "/api/v1/namespaces/shop/secrets?watch=1",
    }
    lake = make(tmp_path, event(1, stage="ResponseStarted", **of), event(1, **of))
    assert ask(lake, "secret-access").height == 1


def test_words_that_mean_nothing_here_are_named(deletions: str) -> None:
    notes = answer(deletions, "history", object="deploymnet/web", cluster="nope").notes
    assert any("deploymnet is no built-in kind" in n and "deployment" in n.partition("did you mean")[2] for n in notes)
    assert any(n == "this lake has no cluster nope; it has default" for n in notes)
    assert not any("no built-in kind" in n for n in answer(deletions, "history", object="deploy/nobody").notes)


def test_a_limit_is_one_or_more(deletions: str) -> None:
    for limit in (0, -1):
        with pytest.raises(UsageError, match="1 or more"):
            ask(deletions, "requests", limit=limit)


def test_sql_says_which_values_it_cannot_show_and_adds_no_zone(deletions: str) -> None:
    done = auditlens("sql", "select max(stage_time) - min(stage_time) as d from audit", "--lake", deletions)
    assert done.returncode == 1 and b"cast it to varchar" in done.stderr
    shown = auditlens("sql", "select timestamp '2026-01-02 03:04:05' as t", "--lake", deletions).stdout
    assert b"2026-01-02T03:04:05.000000" in shown and b"000000Z" not in shown
