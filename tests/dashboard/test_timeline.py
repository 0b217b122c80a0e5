"""The timeline: lives from creation to deletion, children below owners, how many of how many, and filters that are the URL."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import event, when, write
from streamlit.testing.v1 import AppTest

from auditlens import sql
from auditlens.importing.files.run import import_files

from .helpers import APP, frame, texts

Page = Callable[..., AppTest]
sys.path.insert(0, str(APP.parent))


def made(n: int, verb: str, kind: str, name: str, uid: str, owner: tuple[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A request for an object whose answer tells its uid and its owner."""
    resource = f"{kind.lower()}s"
    group = "" if kind == "Pod" else "apps"
    owners = [{"kind": owner[0], "name": owner[1], "uid": "o", "apiVersion": "apps/v1"}] if owner else []
    body = {
        "kind": kind,
        "apiVersion": f"{group}/v1".lstrip("/"),
        "metadata": {"name": name, "namespace": "shop", "uid": uid, "ownerReferences": owners},
    }
    where = {"resource": resource, "namespace": "shop", "name": name, "apiVersion": "v1", "apiGroup": group}
    code = {"create": 201}.get(verb, 200)
    more = {"responseObject": body, **more}
    return event(n, verb=verb, objectRef=where, responseStatus={"metadata": {}, "code": code}, requestReceivedTimestamp=when(n),
                 stageTimestamp=when(n), requestURI=more.pop("uri", f"/x/{name}"), **more)  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with its child and grandchild, a pod that lived twice, one that was there before, a dry run, a session."""
    directory = tmp_path_factory.mktemp("timeline")
    events = [
        made(0, "create", "Pod", "z", "u-z1"), made(10, "delete", "Pod", "z", "u-z1"), made(20, "create", "Pod", "z", "u-z2"),
        made(1, "create", "Deployment", "web", "u-d"), made(2, "create", "ReplicaSet", "web-1", "u-r", ("Deployment", "web")),
        made(3, "create", "Pod", "a", "u-a", ("ReplicaSet", "web-1")), made(30, "delete", "Pod", "old", "u-old"),
        made(31, "delete", "Deployment", "web", "u-d", uri="/x/web?dryRun=All"),
        made(25, "patch", "Pod", "z", "u-z2", responseObject=None),
        event(40, verb="create", requestURI="/api/v1/namespaces/shop/pods/a/exec?command=sh", user={"username": "eve"},
              objectRef={"resource": "pods", "namespace": "shop", "name": "a", "subresource": "exec", "apiVersion": "v1"}),
    ]  # fmt: skip
    import_files([write(directory / "audit.log", events)], directory / "lake")
    return directory / "lake"


@pytest.fixture
def asked(lake: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pl.DataFrame]:
    """The dashboard's own queries on this lake."""
    from parts import store

    monkeypatch.setenv("AUDITLENS_LAKE", str(lake))
    version = store.lake().version()
    given = {"cluster": None, "since": None, "until": None}
    return lambda name, **params: store.prepare(version, name, **given | params)


def test_a_life_is_from_creation_to_deletion_by_uid(asked: Callable[..., pl.DataFrame]) -> None:
    from parts import swimlanes

    shown = swimlanes.lanes(asked, 60, 30, by="objects", noise=False)
    lives = swimlanes.lives(asked, shown, by="objects")
    rows = {(r["lane"], r["uid"]): (r["created"], r["deleted"]) for r in lives.iter_rows(named=True)}
    first, second = rows["pods/z · shop", "u-z1"], rows["pods/z · shop", "u-z2"]
    assert first[0] < first[1] < second[0] and second[1] is None
    assert rows["pods/old · shop", "u-old"][0] is None and rows["deployments/web · shop", "u-d"][1] is None, (
        "a dry run ends nothing"
    )
    low, high = lives["first_time"].min(), lives["last_time"].max()
    bars = swimlanes.bars(lives, low, high)  # type: ignore[arg-type]
    assert bars.filter(lane="pods/z · shop")["uid"].sort().to_list() == ["u-z1", "u-z2"], (
        "what tells no uid is no life of its own"
    )
    assert bars.filter(uid="u-old")["begin"].item() == low and bars.filter(uid="u-z2")["end"].item() == high


def test_children_stand_below_their_owner(asked: Callable[..., pl.DataFrame]) -> None:
    from parts import swimlanes

    shown = swimlanes.lanes(asked, 60, 30, by="objects", noise=False)
    order = swimlanes.tree(shown.found, swimlanes.lives(asked, shown, by="objects"))
    lanes = list(order)
    at = lanes.index("deployments/web · shop")
    assert lanes[at : at + 3] == ["deployments/web · shop", "replicasets/web-1 · shop", "pods/a · shop"]
    assert [order[x] for x in lanes[at : at + 3]] == [0, 1, 2] and set(lanes) == set(shown.names)


def test_how_many_of_how_many_is_said(page: Page, small_lake: Path, lake: Path) -> None:
    lanes = sql(
        small_lake,
        "select count(distinct (resource, namespace, coalesce(name, object_name))) from requests where resource is not null and "
        "(verb in ('create', 'update', 'patch', 'delete', 'deletecollection') or code >= 400)",
    ).item()
    assert f"5 of {lanes:,} objects" in texts(page(small_lake, "timeline?lanes=5"))
    assert "5 of 5 objects" in texts(page(lake, "timeline"))


def test_filters_are_the_url(page: Page, lake: Path) -> None:
    assert "1 of 1 objects" in texts(page(lake, "timeline?kind=deployments"))
    assert "1 of 1 objects" in texts(page(lake, "timeline?user=eve"))
    assert "2 of 2 objects" in texts(page(lake, "timeline?words=WEB"))
    app = page(lake, "timeline?words=web&kind=replicasets&namespace=shop")
    assert "1 of 1 objects" in texts(app)
    app.selectbox(key="choice-kind").set_value("deployments").run()
    assert app.query_params["kind"] == "deployments" and app.query_params["words"] == "web"
    app.selectbox(key="choice-kind").set_value("all kinds").run()
    assert "kind" not in app.query_params
    assert "No change, failure or session here" in texts(page(lake, "timeline?words=%25"))


def test_sessions_and_dry_runs_are_apart(page: Page, lake: Path) -> None:
    app = page(lake, "timeline")
    assert "**Sessions** · 1 exec" in texts(app)
    shown = frame(app)
    assert sorted(shown["verb"]) == sorted(["create"] * 6 + ["delete"] * 3 + ["patch"])
    text = (APP.parent / "sql" / "marked.sql").read_text()
    assert "'dry-run'" in text


def test_what_a_mark_leads_to_stands_above_the_chart(page: Page, lake: Path) -> None:
    kinds = [element.type for element in page(lake, "timeline").main]
    source = (APP.parent / "views" / "timeline.py").read_text()
    assert kinds and source.index("above = st.container()") < source.index("picked = _charts(") < source.index("with above:")
