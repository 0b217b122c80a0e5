"""A table on a page is a question's answer: the same rows as the command line's, what was refused, open or anonymous too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import event, when, write
from streamlit.testing.v1 import AppTest

from auditlens import ask, history, sql
from auditlens.importing.files.run import import_files

from .helpers import APP, frame, texts

Page = Callable[..., AppTest]
_SECRET = {"resource": "secrets", "namespace": "shop", "apiVersion": "v1"}
_POD = {"resource": "pods", "namespace": "shop", "name": "web-1", "apiVersion": "v1"}


def refused(n: int, user: str | None, code: int, **fields: Any) -> dict[str, Any]:
    """A request that did not get through."""
    who = {"user": {"username": user} if user else {}}
    status = {"status": {"metadata": {}, "status": "Failure", "code": code}}
    return event(n, **who, responseStatus=status["status"], **fields)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refused, open, anonymous, impersonated, cut and conflicting requests, with sessions, tokens and changes of rights."""
    directory = tmp_path_factory.mktemp("answers")
    bob = {"impersonatedUser": {"username": "bob", "groups": ["ops"]}}
    forbid = {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}
    shell = {"requestURI": "/api/v1/namespaces/shop/pods/web-1/exec?command=sh", "objectRef": _POD | {"subresource": "exec"}}
    role = {
        "resource": "rolebindings",
        "namespace": "shop",
        "name": "b",
        "apiGroup": "rbac.authorization.k8s.io",
        "apiVersion": "v1",
    }
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": "b"},
        "roleRef": {"name": "admin"},
        "subjects": [{"kind": "User", "name": "x"}],
    }
    token = {"resource": "serviceaccounts", "subresource": "token", "namespace": "shop", "name": "ci", "apiVersion": "v1"}
    events = [
        event(0, verb="list", requestURI="/api/v1/secrets", objectRef=_SECRET | {"namespace": ""}),
        event(1, verb="watch", requestURI="/api/v1/secrets?watch=true", objectRef=_SECRET, stage="ResponseStarted"),
        refused(2, "mallory", 403, verb="get", objectRef=_SECRET | {"name": "s"}, annotations=forbid),
        refused(3, None, 401, stage="ResponseStarted", annotations=None),
        event(4, user={"username": "system:anonymous", "groups": ["system:unauthenticated"]}, objectRef=None, requestURI="/apis"),
        event(5, **bob),
        refused(6, "carol", 403, **bob, annotations=forbid),
        event(7, verb="get", stage="ResponseStarted", responseStatus={"metadata": {}, "code": 101}, **shell),
        event(7, verb="get", responseStatus={"metadata": {}, "code": 101}, stageTimestamp=when(60), **shell),
        event(8, verb="create", objectRef=role, requestObject=binding, responseObject=binding, responseStatus={"metadata": {}, "code": 201}),
        refused(9, "mallory", 403, verb="create", objectRef=role, requestObject=binding, annotations=forbid),
        event(10, verb="create", objectRef=token, responseStatus={"metadata": {}, "code": 201},
              annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=1"}),
        event(11, user={"username": "system:serviceaccount:shop:ci", "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]}}),
        refused(12, "alice", 409, verb="update"),
        event(12, verb="update", auditID="again", user={"username": "dave"}),
        event(13, verb="update", requestObject="skipped-too-big-size-object"),
        *(event(n, verb="get", requestURI="/api/v1/namespaces/shop/pods/web-1", objectRef=_POD) for n in range(100, 160)),
    ]  # fmt: skip
    import_files([write(directory / "audit.log", events)], directory / "lake")
    return directory / "lake"


def pages() -> list[tuple[str, str]]:
    """The address of each page that is a question's, and the question."""
    found = []
    for name in ("access", "performance"):
        tree = ast.parse((APP.parent / "views" / f"{name}.py").read_text())
        declared = next(n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "TABS")
        found += [(f"{name}?tab={tab}", told[0]) for tab, told in ast.literal_eval(declared).items()]
    return [*found, ("ingest", "imports"), ("ingest?tab=Rejects", "rejects")]


@pytest.mark.parametrize(("url", "question"), pages())
def test_a_page_shows_the_rows_of_its_question(page: Page, lake: Path, url: str, question: str) -> None:
    expected = ask(lake, question, limit=5000).frame
    app = page(lake, url)
    assert not app.error
    if not expected.height:
        assert "rows**" not in texts(app)
        return
    assert f"**{expected.height:,} row" in texts(app)
    shown = next(d.value for d in app.dataframe if len(d.value) == expected.height)
    compared = [c for c in ("time", "username", "verb", "code", "requests", "source", "line", "credential") if c in shown.columns]
    assert compared
    for column in compared:
        told = expected[column].dt.epoch("ms") if column == "time" else expected[column]
        seen = shown[column].astype("datetime64[ms, UTC]").astype("int64") if column == "time" else shown[column]
        assert [None if v != v else v for v in seen] == told.to_list(), column


@pytest.mark.parametrize(
    "question", ["secret-access", "exec-sessions", "impersonation", "rbac-changes", "anonymous-requests", "denied", "conflicts"]
)
def test_the_log_has_what_the_pages_are_compared_on(lake: Path, question: str) -> None:
    assert ask(lake, question).total > 0


def test_flags_of_a_question_are_toggles(page: Page, lake: Path) -> None:
    few, many = (ask(lake, "rbac-changes", attempts=a).total for a in (False, True))
    assert many > few
    assert len(frame(page(lake, "access?tab=Rights"))) == few
    assert len(frame(page(lake, "access?tab=Rights&attempts=true"))) == many


def test_charts_sum_to_what_questions_count(lake: Path) -> None:
    """The queries of charts are over the questions, or count what they count."""
    sys.path.insert(0, str(APP.parent))
    import os

    before = os.environ.get("AUDITLENS_LAKE")
    os.environ["AUDITLENS_LAKE"] = str(lake)
    try:
        from parts import store

        def total(name: str, column: str, **params: Any) -> int:
            version = store.lake().version()
            return int(store.prepare(version, name, since=None, until=None, cluster=None, **params)[column].sum())

        requests = ask(lake, "top", limit=1000).frame["requests"].sum()
        assert total("deciders", "refused") == ask(lake, "denied").total
        assert total("totals", "requests") == requests
        assert total("totals", "denied") == ask(lake, "denied").total
        shape = store.prepare(store.lake().version(), "shape", step=60.0, since=None, until=None, cluster=None)
        assert shape["events"].sum() == sql(lake, "select count(*) from audit").item()
        assert shape.filter("answered")["events"].sum() == requests
        assert total("reject_reasons", "records") == ask(lake, "rejects").total
    finally:
        if before is None:
            del os.environ["AUDITLENS_LAKE"]
        else:
            os.environ["AUDITLENS_LAKE"] = before


def test_a_fault_is_told_with_an_id_and_logged(
    page: Page, lake: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from auditlens.answers import answer

    value = "Cnry000001xQ7zKp9Lm3Rt5V"

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError(value)

    monkeypatch.setattr(answer, "ask", broken)
    app = page(lake, "access?tab=Secrets&since=2026-11-23T00:00:00Z", check=False)
    said = " ".join(e.value for e in app.error)
    assert "This page failed" in said and "id " in said
    fault = said.split("id ")[1].split(";")[0]
    assert f"fault {fault}" in caplog.text and "KeyError" in caplog.text
    assert "test_answers.py" in caplog.text and "Cnry" not in caplog.text, "where it failed, and nothing of what it failed at"


def test_an_object_shows_its_history(page: Page, lake: Path) -> None:
    app = page(lake, "object?object=pods/web-1&namespace=shop&tab=Changes&reads=true")
    shown = next(d.value for d in app.dataframe if "life" in d.value.columns)
    assert len(shown) == history(lake, "pod/web-1", namespace="shop", reads=True).total > 60
