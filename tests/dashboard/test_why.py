"""Why this: what can be asked, that the choice is the URL, and the before and after beside the causes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import needs_captures
from streamlit.testing.v1 import AppTest

from auditlens import Lake, sql, why
from auditlens.forensics.happenings import common, happenings

from .helpers import frame, texts

pytestmark = needs_captures

Page = Callable[..., AppTest]
DEPLOY = "object?object=deployments.apps/{name}&namespace={namespace}&tab=Why"


@pytest.fixture(scope="module")
def scaled(capture_lake: Path) -> dict[str, str]:
    """A deployment whose replicas were changed, and that is not the last that happened to it."""
    return sql(
        capture_lake,
        "select namespace, name from audit where resource = 'deployments' and verb = 'patch' and subresource is null and code = 200 "
        "and request_object like '%paused%' order by stage_time limit 1",
    ).row(0, named=True)


def test_what_is_offered_is_what_is_answered(capture_lake: Path, scaled: dict[str, str]) -> None:
    target, where = f"deployments.apps/{scaled['name']}", scaled["namespace"]
    found = happenings(Lake(capture_lake), target, namespace=where)
    assert {"creation", "change", "scale"} <= {h.kind for h in found}
    assert [h.time for h in found] == sorted((h.time for h in found), reverse=True)
    for one in found:
        links = why(capture_lake, target, namespace=where, event=one.event, at=one.at).tree["links"]
        assert links[0]["audit_id"] == one.audit_id, one


def test_the_choice_is_the_url(page: Page, capture_lake: Path, scaled: dict[str, str]) -> None:
    target, where = f"deployments.apps/{scaled['name']}", scaled["namespace"]
    found = happenings(Lake(capture_lake), target, namespace=where)
    one = next(h for h in found if h.kind == "scale")
    app = page(capture_lake, f"{DEPLOY.format_map(scaled)}&event={quote(one.event)}&at={one.at}")
    expected = why(capture_lake, target, namespace=where, event=one.event, at=one.at)
    assert frame(app, -1)["effect"].tolist() == expected.frame["effect"].to_list()
    box = app.selectbox(key="happening")
    assert len(box.options) == len(found) + 1 and box.value == (one.event, one.at)
    made = next(h for h in found if h.kind == "creation")
    box.set_value((made.event, made.at)).run()
    assert (app.query_params["event"], app.query_params["at"]) == ("create", made.at)
    assert frame(app, -1)["effect"].tolist()[0].endswith("created")


def test_before_and_after_stand_beside_the_cause(page: Page, capture_lake: Path, scaled: dict[str, str]) -> None:
    target, where = f"deployments.apps/{scaled['name']}", scaled["namespace"]
    one = next(h for h in happenings(Lake(capture_lake), target, namespace=where) if h.kind == "scale")
    app = page(capture_lake, f"{DEPLOY.format_map(scaled)}&event={quote(one.event)}&at={one.at}")
    told = app.table[0].value
    assert told["field"].tolist()[0] == "`spec.replicas`" and told["before"].tolist()[0] != told["after"].tolist()[0]
    assert "Before and after" in texts(app)


def test_a_field_that_is_no_choice_is_asked_all_the_same(page: Page, capture_lake: Path, scaled: dict[str, str]) -> None:
    app = page(capture_lake, f"{DEPLOY.format_map(scaled)}&event=spec.nothing[name=<b>]")
    assert not app.error and "The log does not tell why" in texts(app)
    assert app.query_params["event"] == "spec.nothing[name=<b>]"


def test_the_one_path_of_several_fields() -> None:
    assert common(["spec.replicas"]) == "spec.replicas"
    assert common(["spec.a.b", "spec.a.c[name=x].d"]) == "spec.a"
    assert common(["metadata.labels.a", "spec.b"]) == "spec.b"
    assert common([]) == ""
