"""An investigation in a real browser, on a real capture: figures, clicks from overview to evidence, brushes, links, exports, uploads."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from conftest import day, write

from auditlens import ask, sql
from auditlens.importing.run import import_files

from .helpers import ARTEFACTS, HOSTILE, ROOT, Tab, serve, stop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Every page as it is worth a picture, by file name.
VIEWS = {
    "overview": "", "timeline": "timeline", "timeline-users": "timeline?by=users", "ask": "ask?question=who-deleted", "ask-top": "ask?question=top",
    "sql": "ask?with=SQL", "access": "access", "access-sessions": "access?tab=Sessions", "access-rights": "access?tab=Rights",
    "performance": "performance", "performance-load": "performance?tab=Lists and watches", "policy": "policy", "policy-simulate": "policy?tab=Simulate",
    "policy-request": "policy?tab=One request", "policy-coverage": "policy?tab=Coverage", "policy-recommend": "policy?tab=Recommend", "performance-slow": "performance?tab=Slow requests", "access-secrets": "access?tab=Secrets", "ingest": "ingest", "ingest-gaps": "ingest?tab=Gaps", "ingest-upload": "ingest?tab=Upload",
}  # fmt: skip

README = {"dashboard-overview": ("light", ""), "dashboard-why": ("dark", "{chained}&tab=Why")}
IMAGES = ROOT / "docs" / "images"
OBJECT_VIEWS = {f"object-{t.lower()}": t for t in ("Changes", "State", "Diff", "Fields", "Family", "Why")}


@pytest.fixture(scope="session")
def chained(capture_lake: Path) -> str:
    """A pod that a replica set's controller made for a deployment: what it came from is a chain."""
    namespace, name = sql(
        capture_lake,
        "select namespace, object_name from audit where resource = 'pods' and verb = 'create' and code = 201 and owner_kind = 'ReplicaSet' "
        "and username like '%replicaset-controller' order by stage_time limit 1",
    ).row(0)
    return f"object?object=pods/{name}&namespace={namespace}"


@pytest.fixture(scope="session")
def changed(capture_lake: Path) -> dict[str, Any]:
    """The deployment that was changed most."""
    return sql(
        capture_lake,
        "select resource, api_group, namespace, name, count(*) as n from audit where resource = 'deployments' and name is not null "
        "and verb in ('create', 'update', 'patch') and stage = 'ResponseComplete' and code < 400 group by all order by n desc limit 1",
    ).row(0, named=True)


def of(changed: dict[str, Any]) -> str:
    return f"object?object={changed['resource']}.{changed['api_group']}/{changed['name']}&namespace={changed['namespace']}"


def test_overview_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    tab.open()
    events, denied, failed = sql(
        capture_lake,
        "select count(*), count(*) filter (where one and code in (401, 403)), count(*) filter (where one and code >= 500) from "
        "(select *, stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401) as one from audit)",
    ).row(0)
    assert tab.metric("Log") == f"{events:,} events"
    assert (tab.metric("Denied"), tab.metric("Failed")) == (f"{denied:,}", f"{failed:,}")
    assert not tab.outside, "nothing is fetched from elsewhere"


def test_from_overview_to_object_to_its_evidence(tab: Tab) -> None:
    tab.open()
    tab.row(3, 0)
    tab.page.get_by_role("link", name="Open the object").click()
    tab.page.wait_for_url("**/object?**")
    tab.settle()
    assert "Changes" in tab.words()
    tab.row(0, 0)
    assert "evidence" in tab.words()
    tab.page.get_by_role("link", name="Open the event").click()
    tab.page.wait_for_url("**/event?**")
    tab.settle()
    audit_id = parse_qs(urlsplit(tab.page.url).query)["audit_id"][0]
    assert tab.page.get_by_role("textbox", name="Audit id").input_value() == audit_id
    tab.page.get_by_role("tab", name="Response body").click()
    assert '"kind"' in tab.words()


def test_why_leads_to_the_root_and_its_event(tab: Tab, changed: dict[str, Any]) -> None:
    tab.open(of(changed) + "&tab=Why")
    if "not in this version" in tab.words():
        pytest.skip("this version has no why")
    tab.page.locator('[data-testid="stVegaLiteChart"]').last.locator("svg.marks").click(position={"x": 60, "y": 30})
    tab.settle()
    assert "Open the event" in tab.words()


def test_a_brush_sets_the_window_of_every_page(tab: Tab) -> None:
    tab.open()
    whole = tab.metric("Log")
    chart = tab.page.locator('[data-testid="stVegaLiteChart"]').nth(1).locator("svg.marks")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    y = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] * 0.4, y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=6)
    tab.page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=6)
    tab.page.mouse.up()
    tab.page.wait_for_url("**since=**")
    tab.settle()
    assert tab.metric("Log") != whole
    tab.page.get_by_role("link", name="Access").click()
    tab.page.wait_for_url("**/access**")
    tab.settle()
    assert "since=" in tab.page.url and "until=" in tab.page.url
    assert "whole log" not in tab.words()


def test_a_link_opens_the_same_view(tab: Tab, capture_lake: Path) -> None:
    first, last = sql(capture_lake, "select min(stage_time), max(stage_time) from audit").row(0)
    middle = first + (last - first) / 2
    since = middle.strftime("%Y-%m-%dT%H:%M:%SZ")
    tab.open(f"ask?question=denied&since={since}&user=e*")
    expected = ask(capture_lake, "denied", since=since, user="e*")
    assert f"{expected.height:,} row" in tab.words()
    assert tab.page.get_by_role("textbox", name="user", exact=True).input_value() == "e*"


def test_local_times(tab: Tab, capture_lake: Path) -> None:
    when = sql(capture_lake, "select min(stage_time) from audit").item()
    tab.open(
        "event?zone=local&audit_id="
        + sql(capture_lake, "select audit_id from audit where stage = 'ResponseComplete' order by stage_time limit 1").item()
    )
    from zoneinfo import ZoneInfo

    assert when.astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y-%m-%d %H:%M") in tab.words()


@pytest.mark.parametrize("format", ["CSV", "JSON", "Parquet"])
def test_exports_hold_every_row(tab: Tab, capture_lake: Path, tmp_path: Path, format: str) -> None:
    tab.open("ask?question=who-deleted")
    expected = ask(capture_lake, "who-deleted")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name=format, exact=True).click()
    target = tmp_path / download.value.suggested_filename
    download.value.save_as(target)
    read = {"CSV": pl.read_csv, "JSON": lambda p: json.loads(p.read_text()), "Parquet": pl.read_parquet}[format]
    assert len(read(target)) == expected.height


def test_sql_runs(tab: Tab) -> None:
    tab.open("ask?with=SQL")
    tab.page.get_by_role("button", name="Run").click()
    tab.settle()
    assert "rows" in tab.words()


def test_the_object_search_types_ahead(tab: Tab, changed: dict[str, Any]) -> None:
    tab.open("object")
    tab.page.get_by_role("searchbox", name="Search the objects of the log").press_sequentially(changed["name"], delay=30)
    tab.page.wait_for_timeout(900)
    tab.settle()
    tab.page.locator('[data-testid="stSelectbox"]').last.locator("input").click()
    assert tab.page.get_by_role("option").first.inner_text().count(changed["name"])


@pytest.mark.parametrize("name", ["Changes", "State", "Diff", "Fields", "Family"])
def test_object_views(tab: Tab, changed: dict[str, Any], name: str) -> None:
    tab.open(f"{of(changed)}&tab={name}")
    assert "failed in this version" not in tab.words()
    assert "This page failed" not in tab.words()


def test_a_policy_is_linted_while_it_is_written(tab: Tab) -> None:
    tab.open("policy")
    box = tab.page.get_by_role("textbox", name="Policy (audit.k8s.io/v1)")
    box.fill("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  resource: [pods]\n")
    box.press("Control+Enter")
    tab.settle()
    assert "line 5" in tab.words()


def test_an_upload_is_imported_and_shown(chromium: Any, tmp_path: Path) -> None:
    log = write(tmp_path / "audit.log.gz", list(day(64)))
    process, url = serve(tmp_path / "lake", tmp_path / "server.log")
    try:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        tab = Tab(context.new_page(), url).open("ingest")
        assert "This lake is empty" in tab.words()
        tab.page.locator('input[type="file"]').set_input_files(log)
        tab.settle()
        tab.page.get_by_role("button", name="Import", exact=True).click()
        tab.page.wait_for_selector("text=64 records = 64 rows", timeout=60_000)
        tab.page.get_by_test_id("stMain").get_by_role("link", name="Overview").click()
        tab.page.wait_for_selector("text=64 events")
        context.close()
    finally:
        stop(process)
    assert len(gzip.decompress(log.read_bytes()).splitlines()) == 64


def test_hostile_text_does_nothing(chromium: Any, hostile_lake: Path, tmp_path: Path) -> None:
    process, url = serve(hostile_lake, tmp_path / "server.log")
    try:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        tab = Tab(context.new_page(), url)
        tab.page.on("dialog", lambda d: pytest.fail(f"a script ran: {d.message}"))
        for path in ("", "timeline", "ask?question=requests", "access", "event?audit_id=00000000-0000-4000-8000-000000000001",
                     "event?audit_id=00000000-0000-4000-8000-000000000002", "object", "ingest?tab=Rejects"):  # fmt: skip
            tab.open(path)
            assert not tab.page.locator("a[href^='http://evil'], a[href^='https://evil'], img[src*='evil.example']").count(), path
            assert "\u202e" not in tab.words()
        assert not tab.outside
        assert HOSTILE[0].startswith("<script>")
        context.close()
    finally:
        stop(process)


def test_live_pages_follow_the_lake(chromium: Any, tmp_path: Path) -> None:
    import_files([write(tmp_path / "a" / "audit.log", list(day(40)))], tmp_path / "lake")
    process, url = serve(tmp_path / "lake", tmp_path / "server.log")
    try:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        tab = Tab(context.new_page(), url).open("?live=true")
        assert tab.metric("Log") == "40 events"
        import_files([write(tmp_path / "b" / "audit.log", list(day(24, first=500)))], tmp_path / "lake")
        tab.page.wait_for_selector("text=64 events", timeout=30_000)
        context.close()
    finally:
        stop(process)


SIZES = ((1280, 800), (1920, 1080))


@pytest.fixture(scope="module", params=["light", "dark"])
def painter(request: pytest.FixtureRequest, chromium: Any, server: str) -> Iterator[tuple[str, Tab]]:
    context = chromium.new_context(color_scheme=request.param, timezone_id="Europe/Berlin")
    yield request.param, Tab(context.new_page(), server)
    context.close()


@pytest.mark.parametrize("name", [*VIEWS, *OBJECT_VIEWS])
def test_pictures_of_every_page(painter: tuple[str, Tab], changed: dict[str, Any], chained: str, name: str) -> None:
    """Kept to be looked at; what a test can see of them: nothing overflows sideways, nothing is an error."""
    theme, tab = painter
    path = VIEWS.get(name) or (f"{chained}&tab=Why" if name == "object-why" else f"{of(changed)}&tab={OBJECT_VIEWS.get(name)}")
    ARTEFACTS.mkdir(exist_ok=True)
    for n, (width, height) in enumerate(SIZES):
        tab.page.set_viewport_size({"width": width, "height": height})
        tab.settle() if n else tab.open("" if name == "overview" else path)
        tall = tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        tab.page.set_viewport_size({"width": width, "height": max(height, min(tall + 20, 3000))})
        tab.settle()
        tab.page.screenshot(path=ARTEFACTS / f"{name}-{theme}-{width}x{height}.png")
        over = tab.page.evaluate(
            "(() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth })()"
        )
        assert over <= 1, f"{name} overflows by {over} px at {width}"
        assert "This page failed" not in tab.words(), name
        assert not tab.page.locator('[data-testid="stAlertContentError"]').count(), name


@pytest.mark.parametrize("name", README)
def test_pictures_of_the_readme(chromium: Any, server: str, chained: str, name: str) -> None:
    """What README.md shows; `GOLDEN=1 pytest tests/dashboard/test_browser.py -k readme` takes the pictures anew."""
    theme, path = README[name]
    context = chromium.new_context(viewport={"width": 1280, "height": 860}, color_scheme=theme, timezone_id="UTC")
    tab = Tab(context.new_page(), server).open(path.format(chained=chained))
    shown = tab.page.screenshot()
    context.close()
    target = IMAGES / f"{name}.png"
    if os.environ.get("GOLDEN"):
        IMAGES.mkdir(exist_ok=True)
        target.write_bytes(shown)
    assert target.stat().st_size < 200_000
    assert f"docs/images/{name}.png" in (IMAGES.parents[1] / "README.md").read_text()
