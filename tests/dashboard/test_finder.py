"""The search in the head of every page: to the page of what is called just so, else a list to choose from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from auditlens import find, sql

from .helpers import APP, HOSTILE, frame, texts
from .test_pages import NAMES, harmless

Page = Callable[..., AppTest]


@pytest.mark.parametrize("url", NAMES)
def test_every_page_has_the_search(page: Page, small_lake: Path, url: str) -> None:
    assert page(small_lake, url).text_input(key="find-words").label == "Find in the log"


def searched(page: Page, lake: Path, words: str) -> AppTest:
    app = page(lake, "ingest")
    app.text_input(key="find-words").set_value(words).run()
    assert not app.exception
    return app


def test_what_is_called_just_so_is_opened(page: Page, small_lake: Path) -> None:
    audit_id = sql(small_lake, "select audit_id from audit order by line limit 1").item()
    app = searched(page, small_lake, audit_id)
    assert app.title[0].value == "Event" and app.query_params["audit_id"] == audit_id
    app = searched(page, small_lake, "secret/s-8")
    assert app.title[0].value == "Object" and app.query_params["object"] == "secrets/s-8"
    app = searched(page, small_lake, "who-deleted")
    assert app.title[0].value == "Ask" and app.query_params["question"] == "who-deleted"


def test_what_is_not_is_listed_and_closed(page: Page, small_lake: Path) -> None:
    app = searched(page, small_lake, "s-1")
    expected = find(small_lake, "s-1", limit=200)
    assert expected.total > 1 and f"{expected.total:,} found" in texts(app)
    assert frame(app)["value"].tolist() == expected.frame["value"].to_list()
    app.button(key="find-close").click().run()
    assert "found**" not in texts(app)


def test_an_empty_lake_and_hostile_words(page: Page, hostile_lake: Path, tmp_path: Path) -> None:
    assert not searched(page, tmp_path / "none", "web").error
    for words in HOSTILE:
        harmless(searched(page, hostile_lake, words[:200]))
    assert "found** for" in texts(searched(page, hostile_lake, "<b>nothing</b>"))


def test_each_hit_has_a_page() -> None:
    sys.path.insert(0, str(APP.parent))
    from parts.finder import place

    row = {"value": "v", "resource": "pods", "api_group": "", "namespace": "shop", "name": "web"}
    assert place(row | {"what": "object"}) == ("object", {"object": "pods/web", "namespace": "shop"})
    assert place(row | {"what": "user"}) == ("ask", {"question": "user-activity", "user": "v"})
    assert place(row | {"what": "address"}) == ("ask", {"question": "session", "source_ip": "v"})
    assert place(row | {"what": "credential"}) == ("ask", {"question": "session", "credential": "v"})
