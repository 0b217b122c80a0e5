"""One object address, one window, one count of rows, one statement of limits: the same wherever something is asked."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import answer, auditlens, event, imported, when, write
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens import engine, face, kinds
from auditlens.answers.address import Address, address, split
from auditlens.answers.questions import load, questions
from auditlens.answers.window import Window, moment, window
from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.quoting import listed, quoted

POD = {"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"}


def crd(plural: str, kind: str, group: str, *short: str) -> dict[str, Any]:
    names = {"plural": plural, "kind": kind, "singular": kind.lower(), "shortNames": list(short)}
    meta = {"name": f"{plural}.{group}", "uid": f"crd-{plural}-{group}", "resourceVersion": "5"}
    return {"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1", "metadata": meta,
            "spec": {"group": group, "names": names}}  # fmt: skip


def custom(n: int, plural: str, group: str, name: str, **more: Any) -> dict[str, Any]:
    ref = {"resource": plural, "namespace": "shop", "name": name, "apiGroup": group, "apiVersion": "v1"}
    body = {"kind": "X", "apiVersion": f"{group}/v1", "metadata": {"name": name, "namespace": "shop", "uid": f"{n:08d}-0000-4000-8000-000000000001",
            "resourceVersion": str(n)}, "spec": {"size": n}}  # fmt: skip
    return event(n, verb="create", objectRef=ref, requestURI=f"/apis/{group}/v1/namespaces/shop/{plural}", responseStatus={"code": 201},
                 responseObject=body, **more)  # fmt: skip


CRDS = {"resource": "customresourcedefinitions", "apiGroup": "apiextensions.k8s.io", "apiVersion": "v1"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("answers")
    listed = {"kind": "CustomResourceDefinitionList", "items": [crd("meshes", "Mesh", "net.example", "mx")]}
    imported(root / "lake", write(root / "a.log", [
        event(1, verb="create", objectRef={**CRDS, "name": "gizmos.ex.com"}, responseObject=crd("gizmos", "Gizmo", "ex.com", "gz"),
              responseStatus={"code": 201}),
        custom(2, "gizmos", "ex.com", "g1"),
        event(3, verb="list", objectRef=CRDS, responseObject=listed),
        custom(4, "meshes", "net.example", "m1"),
        event(5, verb="create", level="Metadata", objectRef={**CRDS, "name": "bare.seen.io"}, responseStatus={"code": 201}),
        custom(6, "bare", "seen.io", "b1"),
        event(7, verb="create", objectRef={**CRDS, "name": "gazes.other.io"}, responseObject=crd("gazes", "Gaze", "other.io", "gaz", "tw"),
              responseStatus={"code": 201}),
        event(8, verb="create", objectRef={**CRDS, "name": "twins.other.io"}, responseObject=crd("twins", "Twin", "other.io", "tw"),
              responseStatus={"code": 201}),
        event(20, verb="delete", objectRef=POD, user={"username": "alice"}),
        event(21, verb="delete", objectRef={**POD, "namespace": "pay"}, user={"username": "bob"}),
        event(22, verb="get", objectRef={**POD, "name": "web-7"}),
        *(event(n, verb="get", objectRef={**POD, "name": f"many-{n}"}) for n in range(100, 130)),
    ]))  # fmt: skip
    return str(root / "lake")


def meant(lake: str, text: str) -> Address:
    return engine.with_snapshot(Lake(lake), lambda con: address(con, text))


@pytest.mark.parametrize(
    ("words", "resource", "group", "name"),
    [
        *((w, "gizmos", "ex.com", "g1") for w in ("gz/g1", "gz g1", "gizmo/g1", "Gizmo/g1", "gizmos/g1", "gizmos.ex.com/g1", "gizmos.v1.ex.com/g1",
                                                  "gizmos.ex/g1", "gz.ex.com/g1", "00000002-0000-4000-8000-000000000001")),
        *((w, "meshes", "net.example", "m1") for w in ("mx/m1", "mesh/m1", "meshes.net.example/m1")),
        *((w, "bare", "seen.io", "b1") for w in ("bare/b1", "bare.seen.io/b1", "bare b1")),
    ],
)  # fmt: skip
def test_a_custom_kind_is_found_by_every_name_its_definition_has(
    lake: str, words: str, resource: str, group: str, name: str
) -> None:
    found = meant(lake, words)
    assert (found.resources, found.group, found.name, found.known) == ((resource,), group, name, True)
    for question in ("history", "who-changed", "requests"):
        assert answer(lake, question, words).frame["name"].to_list() == [name], question
    assert face.state(lake, words).frame["name"].to_list() == [name]
    assert face.why(lake, words).tree["root"]["username"] == "alice"
    assert face.blame(lake, words).total > 0
    assert face.diff(lake, words).limits == ["nothing differs"]


def test_words_that_mean_several_kinds_or_none_are_told(lake: str) -> None:
    with pytest.raises(UsageError, match=r"tw is several kinds in this log: gazes\.other\.io, twins\.other\.io; name one"):
        meant(lake, "tw/x")
    assert meant(lake, "gaz/x").resources == ("gazes",)
    assert not meant(lake, "gizmox/x").known
    with pytest.raises(UsageError, match="no object of the log has the uid"):
        meant(lake, "ffffffff-0000-4000-8000-000000000001")
    for wrong in ("pod/a/b", "pod a b", "/x", "pod/", "a,b/c"):
        with pytest.raises(UsageError):
            split(wrong)


@settings(deadline=None)
@given(st.sampled_from(kinds.every()), st.sampled_from("/ "), st.booleans())
def test_every_word_for_a_built_in_kind_is_the_same_address(kind: kinds.Kind, between: str, qualified: bool) -> None:
    with duckdb.connect() as con:
        con.execute("create table audit_objects as select null::varchar as resource, null::varchar as api_group where false")
        for word in (kind.kind, kind.kind.lower(), kind.resource, kind.singular):
            full = f"{word}.{kind.versions[0]}.{kind.group}" if qualified else word
            found = address(con, f"{full}{between}x-1")
            assert kind.resource in found.resources and found.name == "x-1" and found.known
            assert found.group in (kind.group, None) or not qualified


@settings(deadline=None)
@given(st.text(), st.lists(st.text(max_size=4)))
def test_any_text_is_a_literal_and_nothing_else(text: str, several: list[str]) -> None:
    plain = text.encode("utf-8", "replace").decode()
    with duckdb.connect() as con:
        assert con.execute(f"select {quoted(text)}").fetchall() == [(plain,)]
        found = con.execute(f"select {quoted(text)} in ({listed(several)})").fetchall()[0][0]
    assert found is None if not several else found == (plain in [s.encode("utf-8", "replace").decode() for s in several])


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=20), st.none() | st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_window_is_one_condition_in_both_its_forms(seconds: list[int], low: int | None, high: int | None) -> None:
    start = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    one = Window(*(None if s is None else start + dt.timedelta(seconds=s) for s in (low, high)))
    inside = sorted(s for s in seconds if (low is None or s >= low) and (high is None or s <= high))
    with duckdb.connect() as con:
        con.execute(
            "create table t as select unnest($s::int[]) as s, timestamptz '2026-11-23T00:00:00Z' + to_seconds(s) as seen",
            {"s": seconds},
        )
        where, params = one.where("seen")
        for condition, given_ in ((where, params), (one.literal("seen"), {})):
            assert [r[0] for r in con.execute(f"select s from t where {condition} order by s", given_).fetchall()] == inside


def test_times_are_read_in_one_place(lake: str) -> None:
    end = moment(Lake(lake), "end")
    assert end is not None and end.isoformat().startswith(when(129)[:19])
    assert moment(Lake(lake), "End-1h") == end - dt.timedelta(hours=1)
    assert moment(Lake(lake), dt.datetime(2026, 11, 23)) == moment(Lake(lake), "2026-11-23")
    with pytest.raises(UsageError, match="is backwards"):
        window(Lake(lake), "end", "end-1h")
    for ask in (
        lambda: answer(lake, "requests", since="end", until="end-1h"),
        lambda: face.completeness(lake, since="end", until="end-1h"),
    ):
        with pytest.raises(UsageError, match="is backwards"):
            ask()


@pytest.mark.parametrize("limit", [1, 2, 29, 30, 31, 1000])
def test_the_rows_before_the_limit_are_counted(lake: str, limit: int) -> None:
    found = answer(lake, "requests", "pod/many-*", limit=limit)
    assert (found.total, len(found)) == (30, min(limit, 30))
    cut = [n for n in found.limits if "are shown" in n]
    assert cut == ([f"only the first {limit} of 30 rows are shown; --limit shows more"] if limit < 30 else [])


@pytest.mark.parametrize("name", sorted(questions()))
def test_the_count_of_every_question_is_that_of_its_rows(lake: str, name: str) -> None:
    if not questions()[name].takes("limit"):
        return
    whole = answer(lake, name, limit=100_000)
    if len(whole) > 1:
        cut = answer(lake, name, limit=1)
        assert (cut.total, len(cut)) == (len(whole), 1)


def test_what_is_near_is_told_where_nothing_fits(lake: str) -> None:
    def near(*words: Any, **params: Any) -> str:
        return " ".join(answer(lake, *words, **params).near)

    assert near("who-deleted", "pod/web", namespace="shpo") == "the log has no pods/web in shpo, but pods pay/web, pods shop/web"
    assert "near names: web-7" in near("who-deleted", "pod/web-8", namespace="shop")
    assert "no name like it" in near("who-deleted", "pod/zzzzzzzz", namespace="shop")
    assert "1 requests of pods shop/web-7" in near("who-deleted", "pod/web-7", namespace="shop")
    assert "but pods" in near("who-deleted", "deploy/web", namespace="shop")
    assert "near names: alice" in near("requests", user="alise")
    assert near("requests", "pod/web-7", verb="delete", namespace="shop").startswith("the log has 1 requests")
    assert face.state(lake, "pod/web", namespace="shpo").near == [
        "the log has no pods/web in shpo, but pods pay/web, pods shop/web"
    ]


def test_an_empty_answer_says_what_the_log_has_and_what_it_lacks(lake: str) -> None:
    evicted = " ".join(answer(lake, "evictions").limits)
    assert "the log has no create of pods/eviction" in evicted and "to be complete" in evicted
    unseen = " ".join(answer(lake, "who-deleted", "pod/web-7", namespace="shop").limits)
    assert "2 delete/deletecollection of pods at RequestResponse or more" in unseen or "the log has no" in unseen
    assert answer(lake, "rejects").limits == ["nothing of what was asked for is among the lake's imports"]
    assert answer(lake, "etcd-health").limits == [
        "the lake holds no klog rows: import the apiserver's own log",
        "the lake holds no trace rows: import the apiserver's own log; it traces what takes longer than 500 ms",
    ]


def test_questions_say_of_what_they_are_asked(lake: str) -> None:
    forms = {name: q.object_form for name, q in questions().items() if q.object_form}
    assert forms["who-deleted"] == "KIND/NAME" and forms["exec-sessions"] == "pod/NAME" and forms["polling"] == "KIND"
    assert len(forms) >= 20
    for name, form in forms.items():
        kind = form.partition("/")[0].replace("KIND", "pod")
        answer(lake, name, kind)
        if "/" in form:
            answer(lake, name, f"{kind} web")
        else:
            with pytest.raises(UsageError, match="is asked of a kind"):
                answer(lake, name, f"{kind}/web")
    with pytest.raises(UsageError, match="is asked of pods, not of secrets"):
        answer(lake, "exec-sessions", "secret/x")


def test_history_is_one_thing_under_both_names(lake: str) -> None:
    one = auditlens("history", "gz", "g1", "--lake", lake, "-o", "json")
    two = auditlens("ask", "history", "gz/g1", "--lake", lake, "-o", "json")
    assert one.stdout == two.stdout and one.stderr == two.stderr
    assert [r["changed"] for r in json.loads(one.stdout)] == ["created"] == face.history(lake, "gz/g1").frame["changed"].to_list()


def test_a_question_in_the_place_of_a_command_is_told_so() -> None:
    done = auditlens("who-deleted", "pod/web")
    assert (done.returncode, done.stderr.decode()) == (
        2, "auditlens: there is no command who-deleted, but a question: auditlens ask who-deleted pod/web\n",
    )  # fmt: skip
    assert b"No such command" in auditlens("nonsense").stderr


def test_the_question_shown_to_contributors_is_one(lake: str, tmp_path: Path) -> None:
    guide = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text()
    shown = guide.partition("b/auditlens/questions/scalings.sql\n")[2].partition("```")[0]
    (tmp_path / "scalings.sql").write_text("\n".join(line.removeprefix("+") for line in shown.splitlines()))
    asked = load(tmp_path / "scalings.sql")
    values = {p.name: p.default for p in asked.params}
    assert asked.object_form == "KIND/NAME"
    assert engine.with_snapshot(Lake(lake), lambda con: engine.query(con, asked.sql, values)).columns[-1] == "scalings"


def test_a_question_of_several_kinds_is_asked_of_one_of_them(tmp_path: Path) -> None:
    spec = {"hostNetwork": True, "containers": []}
    pod = {"kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
    fleet = {"kind": "DaemonSet", "metadata": {"name": "web"}, "spec": {"template": {"spec": spec}}}
    of_fleet = {"resource": "daemonsets", "namespace": "shop", "name": "web", "apiGroup": "apps", "apiVersion": "v1"}
    imported(tmp_path / "lake", write(tmp_path / "a.log", [
        event(1, verb="create", objectRef=POD, requestObject=pod, responseObject=pod, responseStatus={"code": 201}),
        event(2, verb="create", objectRef=of_fleet, requestObject=fleet, responseObject=fleet, responseStatus={"code": 201}),
    ]))  # fmt: skip
    lake = str(tmp_path / "lake")
    assert answer(lake, "privileged-workloads").frame["resource"].to_list() == ["pods", "daemonsets"]
    assert answer(lake, "privileged-workloads", "ds/web").frame["resource"].to_list() == ["daemonsets"]
    assert answer(lake, "privileged-workloads", "po").frame["resource"].to_list() == ["pods"]
    with pytest.raises(UsageError, match="not of secrets"):
        answer(lake, "privileged-workloads", "secret/web")


def test_an_event_that_a_collection_took_along_was_deleted(tmp_path: Path) -> None:
    ref = {"resource": "events", "namespace": "shop", "apiVersion": "v1"}
    held = {"kind": "EventList", "items": [{"metadata": {"name": "web.17"}}, {"metadata": {"name": "db.1"}}]}
    imported(tmp_path / "lake", write(tmp_path / "a.log", [
        event(1, verb="delete", objectRef=ref | {"name": "web.17"}),
        event(2, verb="delete", objectRef=ref | {"name": "db.1"}),
        event(3, verb="deletecollection", objectRef=ref, responseObject=held),
        event(4, verb="deletecollection", objectRef=ref, level="Metadata"),  # of which nobody can say what it held
        event(5, verb="deletecollection", objectRef=ref, responseObject=held | {"items": [{"metadata": {"name": "db.2"}}]}),
    ]))  # fmt: skip
    asked = answer(str(tmp_path / "lake"), "event-deletions", "event/web.*", namespace="shop")
    assert [(int(row["audit_id"][-2:]), row["count"]) for row in asked.frame.to_dicts()] == [(1, None), (3, 2), (4, None)]
    assert answer(str(tmp_path / "lake"), "event-deletions").total == 5


def test_a_uid_that_a_question_cannot_narrow_to_is_said(lake: str) -> None:
    uid = "00000002-0000-4000-8000-000000000001"
    said = f"this is about every object of that name, not only the one with uid {uid}: `auditlens history` tells them apart"
    for name, question in questions().items():
        if question.takes_object and not question.of:
            assert (said in answer(lake, name, uid).limits) == (not question.takes("uid")), name
