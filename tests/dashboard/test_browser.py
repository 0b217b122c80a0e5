"""An investigation in a real browser, on a real capture: figures, clicks from overview to evidence, brushes, links, exports, uploads."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest
from conftest import ask, day, write

from auditlens import Lake, policy, sql, why
from auditlens.importing.files.run import import_files

from .helpers import ARTEFACTS, HOSTILE, ROOT, Tab, serve, stop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Every page as it is worth a picture, by file name; {changed}, {chained} and {event} are of the capture.
VIEWS = {
    "overview": "", "overview-missing": "?holes=true",
    "timeline": "timeline", "timeline-users": "timeline?by=users", "timeline-nodes": "timeline?by=nodes",
    "ask": "ask?question=who-deleted", "ask-top": "ask?question=top", "sql": "ask?with=SQL",
    "object": "object", "object-changes": "{changed}&tab=Changes", "object-state": "{changed}&tab=State", "object-diff": "{changed}&tab=Diff",
    "object-fields": "{changed}&tab=Fields", "object-family": "{changed}&tab=Family", "object-why": "{chained}&tab=Why",
    "event": "{event}", "event-impact": "{event}&tab=Impact", "event-curl": "{event}&tab=As curl", "event-neighbours": "{event}&tab=Neighbours",
    "access": "access", "access-secrets": "access?tab=Secrets", "access-sessions": "access?tab=Sessions", "access-impersonation": "access?tab=Impersonation",
    "access-rights": "access?tab=Rights", "access-tokens": "access?tab=Tokens", "access-anonymous": "access?tab=Anonymous",
    "performance": "performance", "performance-slow": "performance?tab=Slow requests", "performance-traces": "performance?tab=Traces",
    "performance-flow": "performance?tab=Flow control", "performance-watches": "performance?tab=Watches", "performance-polling": "performance?tab=Polling", "performance-conflicts": "performance?tab=Conflicts",
    "policy": "policy", "policy-request": "policy?tab=One request", "policy-simulate": "policy?tab=Simulate", "policy-coverage": "policy?tab=Coverage",
    "policy-recommend": "policy?tab=Recommend",
    "ingest": "ingest", "ingest-streams": "ingest?tab=Streams", "ingest-rejects": "ingest?tab=Rejects", "ingest-completeness": "ingest?tab=Completeness",
    "ingest-tables": "ingest?tab=Tables", "ingest-upload": "ingest?tab=Upload",
}  # fmt: skip

# Theme, place and height; where they end, nothing is cut in two.
README = {"dashboard-overview": ("light", "", 724), "dashboard-why": ("dark", "{chained}&tab=Why", 802)}
IMAGES = ROOT / "docs" / "images"


@pytest.fixture(scope="session")
def chained(capture_lake: Path) -> str:
    """A pod that the garbage collector deleted after its owners: why it went is a chain."""
    namespace, name = sql(
        capture_lake,
        "select namespace, name from audit where resource = 'pods' and verb = 'delete' and code = 200 "
        "and username like '%generic-garbage-collector' and namespace is not null order by stage_time limit 1",
    ).row(0)
    return f"object?object=pods/{name}&namespace={namespace}"


@pytest.fixture(scope="session")
def most(capture_lake: Path) -> dict[str, Any]:
    """The deployment that was changed most."""
    return sql(
        capture_lake,
        "select resource, api_group, namespace, name, count(*) as n from audit where resource = 'deployments' and name is not null "
        "and verb in ('create', 'update', 'patch') and stage = 'ResponseComplete' and code < 400 group by all order by n desc, name limit 1",
    ).row(0, named=True)


@pytest.fixture(scope="session")
def changed(most: dict[str, Any]) -> str:
    return f"object?object={most['resource']}.{most['api_group']}/{most['name']}&namespace={most['namespace']}"


@pytest.fixture(scope="session")
def shown(capture_lake: Path) -> dict[str, Any]:
    """The first refusal, by its id."""
    return ask(capture_lake, "denied", limit=1).row(0, named=True)


@pytest.fixture(scope="session")
def places(changed: str, chained: str, shown: dict[str, Any]) -> dict[str, str]:
    """What the addresses in VIEWS and README leave open."""
    return {"changed": changed, "chained": chained, "event": f"event?audit_id={shown['audit_id']}"}


# --- each page shows what the API answers


def test_overview_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    tab.open()
    events = sql(capture_lake, "select count(*) from audit").item()
    denied = ask(capture_lake, "denied", limit=100_000).height
    failed = sql(capture_lake, "select count(*) from requests where code >= 500 and not is_open").item()
    assert tab.metric("Log") == f"{events:,} events"
    assert (tab.metric("Denied"), tab.metric("Failed")) == (f"{denied:,}", f"{failed:,}")
    assert not tab.outside, "nothing is fetched from elsewhere"


def test_overview_ranks_as_the_api_does(tab: Tab, capture_lake: Path) -> None:
    tab.open()
    most, first = ask(capture_lake, "top").row(0, named=True), ask(capture_lake, "most-changed").row(0, named=True)
    assert tab.cells(2)[0][:2] == [most["value"], str(most["requests"])]
    assert tab.cells(3)[0][:4] == [first["resource"], first["namespace"], first["name"], str(first["changes"])]


def test_object_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path, most: dict[str, Any], changed: str) -> None:
    tab.open(f"{changed}&reads=true")
    failed, uids = sql(
        capture_lake,
        f"select count(*) filter (where code >= 400), count(distinct uid) from audit_objects where resource = 'deployments' and name = '{most['name']}' "
        f"and namespace = '{most['namespace']}' and via <> 'owner'",
    ).row(0)
    assert (tab.metric("Failed"), tab.metric("Uids")) == (str(failed), str(uids))
    expected = ask(capture_lake, "history", resource="deployments", name=most["name"], namespace=most["namespace"], reads=True)
    rows = tab.cells(0)
    assert [r[2] for r in rows] == expected["username"].to_list()[: len(rows)]


def test_timeline_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    tab.open("timeline?by=users&noise=true&lanes=80")
    users = sql(
        capture_lake,
        "select count(distinct coalesce(impersonated_username, username)) from audit where verb in ('create', 'update', 'patch', 'delete', 'deletecollection')",
    ).item()
    lanes, events = re.findall(r"(\d+) of [\d,]+ users[^·]* · ([\d,]+) events", tab.words())[0]
    assert int(lanes) >= users and int(events.replace(",", "")) > 0


def test_access_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    tab.open("access")
    denied = ask(capture_lake, "denied", limit=5000)
    assert f"{denied.height:,} rows" in tab.words()
    rows = tab.cells(0)
    assert [r[2] for r in rows[:5]] == denied["username"].to_list()[:5]
    tab.choose("Sessions")
    tab.says(f"{ask(capture_lake, 'exec-sessions').height} row")


def test_performance_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    tab.open("performance?tab=Slow requests")
    slowest = ask(capture_lake, "slowest-requests", limit=1).row(0, named=True)
    first = tab.cells(0)[0]
    assert (round(float(first[1].replace(",", "")), 1), first[2]) == (round(slowest["latency_ms"], 1), slowest["username"])


def test_ingest_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    tab.open("ingest")
    sources, records, rejects = sql(capture_lake, "select count(*), sum(records), sum(rejects) from imports").row(0)
    assert (tab.metric("Sources"), tab.metric("Records"), tab.metric("Rejects")) == (
        f"{sources:,}",
        f"{records:,}",
        f"{rejects:,}",
    )
    tab.choose("Tables")
    held = {row[0]: row[1:] for row in tab.cells(0)}
    assert str(sql(capture_lake, "select count(*) from audit").item()) in held["audit"]


def test_policy_shows_the_figures_of_the_api(tab: Tab, capture_lake: Path) -> None:
    text = (ROOT / "policies" / "security.yaml").read_text()
    tab.open("policy?tab=Simulate")
    result = policy.simulate(Lake(capture_lake), policy.load(text))
    assert (tab.metric("Dead rules"), len(tab.cells(0)) > 0) == (str(len(result.dead)), True)
    tab.choose("Coverage")
    answers = policy.coverage(policy.load(text))
    tab.says(f"{sum(a.grade == 'yes' for a in answers)} answered in full")
    lacking = next(a for a in answers if a.grade == "partly")
    tab.row(0, [row[0] for row in tab.cells(0)].index(lacking.requirement.name)).says("Rules that would be needed")
    assert all(f"rules[{loss.rule}] takes" in tab.words() for loss in lacking.losses if loss.rule is not None)


# --- ways through the pages


def test_from_overview_to_the_event_that_is_why(tab: Tab, capture_lake: Path) -> None:
    """Overview, an object of it, what caused its last change, the root's event, and its line in the log."""
    tab.open()
    _, namespace, name = tab.cells(3)[0][:3]
    tab.row(3, 0).follow("Open the object", "object")
    assert parse_qs(urlsplit(tab.page.url).query)["object"][0].endswith(f"/{name}") and namespace in tab.page.url
    tab.choose("Why")
    tab.act(lambda: tab.chart("The chain of causes, root first").locator("svg.marks").click(position={"x": 60, "y": 30}))
    tab.says("evidence").follow("Open the event", "event")
    audit_id = parse_qs(urlsplit(tab.page.url).query)["audit_id"][0]
    assert tab.page.get_by_role("textbox", name="Audit id").input_value() == audit_id
    wanted = sql(
        capture_lake,
        f"select source, line, request_object from audit where audit_id = '{audit_id}' and stage <> 'RequestReceived'",
    ).row(0)
    assert f"{wanted[0]}:{wanted[1]}" in tab.words()
    if wanted[2]:
        tab.choose("Request body")
        tab.says('": ')


def test_a_change_leads_to_its_event(tab: Tab, changed: str) -> None:
    tab.open(changed)
    tab.row(0, 0).says("evidence").follow("Open the event", "event")
    tab.choose("Response body")
    tab.says('"kind"')


def test_a_difference_leads_to_the_request_that_made_it(tab: Tab, changed: str) -> None:
    tab.open(f"{changed}&tab=Diff").row(0, 0).says("evidence").follow("Open the event", "event")


def test_a_field_leads_to_why_it_is_so(tab: Tab, changed: str) -> None:
    path = tab.open(f"{changed}&tab=Fields").cells(0)[0][0]
    tab.row(0, 0).follow("Why this?", "object")
    query = parse_qs(urlsplit(tab.page.url).query)
    assert (query["tab"], query["event"]) == (["Why"], [path]) and "at" in query
    tab.says("Before and after")


def test_why_leads_to_the_root_and_its_event(tab: Tab, capture_lake: Path, chained: str) -> None:
    tab.open(f"{chained}&tab=Why")
    target, namespace = re.findall("object=(.*)&namespace=(.*)", chained)[0]
    links = why(capture_lake, target, namespace=namespace).tree["links"]
    assert len(links) > 2
    tab.act(lambda: tab.chart("The chain of causes, root first").locator("svg.marks").click(position={"x": 60, "y": 30}))
    tab.says(f"{links[-1]['source']}:{links[-1]['line']}")


def test_a_brush_sets_the_window_of_every_page(tab: Tab, capture_lake: Path) -> None:
    tab.open().brush("Requests over time by outcome class")
    query = parse_qs(urlsplit(tab.page.url).query)
    since, until = query["since"][0], query["until"][0]
    inside = sql(capture_lake, f"select count(*) from audit where stage_time between '{since}' and '{until}'").item()
    assert tab.metric("Log") == f"{inside:,} events"
    tab.page.get_by_role("link", name="Access").click()
    tab.page.wait_for_url("**/access**")
    tab.settle()
    assert f"since={since}" in unquote(tab.page.url) and f"until={until}" in unquote(tab.page.url)
    assert "whole log" not in tab.words()


def test_a_brush_zooms_into_the_timeline(tab: Tab) -> None:
    tab.open("timeline").brush("Swim lanes: lives, changes, failures and deletions in time", 0.5, 0.7)
    narrow = tab.page.url
    tab.act(tab.page.get_by_role("button", name="Zoom out").click)
    assert tab.page.url != narrow and "since=" in tab.page.url
    tab.act(tab.page.get_by_role("button", name="Whole log").last.click)
    assert "since=" not in tab.page.url


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
    tab.act(tab.page.get_by_role("button", name="Run").click)
    tab.says("50 rows")


def test_an_answers_row_leads_to_its_evidence(tab: Tab, capture_lake: Path) -> None:
    tab.open("ask?question=who-deleted")
    first = ask(capture_lake, "who-deleted").row(0, named=True)
    tab.row(0, 0).says(f"{first['source']}:{first['line']}")


def test_a_click_anywhere_in_a_row_opens_it_also_when_sorted(tab: Tab, capture_lake: Path) -> None:
    tab.open("ask?question=who-deleted")
    rows = ask(capture_lake, "who-deleted").to_dicts()
    tab.row(0, 1, at=500).says(f"{rows[1]['source']}:{rows[1]['line']}")
    tab.open("ask?question=who-deleted")
    table = tab.page.locator('[data-testid="stDataFrame"]').first
    table.click(position={"x": 60, "y": 15})  # the heading of the first column, which is the time
    tab.settle()
    table.click(position={"x": 60, "y": 15})
    tab.settle()
    assert tab.cells(0)[0] != tab.cells(0)[-1]
    last = max(rows, key=lambda r: r["time"])
    tab.row(0, 0, at=500).says(f"{last['source']}:{last['line']}")


def test_the_object_search_types_ahead(tab: Tab, most: dict[str, Any]) -> None:
    tab.open("object")
    box = tab.page.get_by_role("searchbox", name="Search the objects of the log")
    tab.act(lambda: box.press_sequentially(most["name"], delay=30))
    tab.page.wait_for_timeout(600)  # the last letters
    tab.settle()
    tab.page.locator('[data-testid="stSelectbox"]').last.locator("input").click()
    assert most["name"] in tab.page.get_by_role("option").first.inner_text()


def test_a_policy_is_linted_while_it_is_written(tab: Tab) -> None:
    tab.open("policy")
    box = tab.page.get_by_role("textbox", name="Policy (audit.k8s.io/v1)")
    box.fill("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  resource: [pods]\n")
    tab.act(lambda: box.press("Control+Enter"))
    tab.says("line 5")


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
        tab.says("64 records = 64 rows")
        tab.page.get_by_test_id("stMain").get_by_role("link", name="Overview").click()
        tab.says("64 events")
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
        for path in ("", "timeline", "ask?question=requests", "access", "event?audit_id=00000000-0000-4000-a000-000000000001",
                     "event?audit_id=00000000-0000-4000-a000-000000000002", "object", "ingest?tab=Rejects"):  # fmt: skip
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
        tab.says("64 events")
        context.close()
    finally:
        stop(process)


SIZES = ((1280, 800), (1920, 1080))
BOTTOM = "document.querySelector('[data-testid=stMain] [data-testid=stVerticalBlock]').getBoundingClientRect().bottom"


@pytest.fixture(scope="module", params=["light", "dark"])
def painter(request: pytest.FixtureRequest, chromium: Any, server: str) -> Iterator[tuple[str, Tab]]:
    context = chromium.new_context(color_scheme=request.param, timezone_id="Europe/Berlin")
    yield request.param, Tab(context.new_page(), server)
    context.close()


@pytest.mark.parametrize("name", VIEWS)
def test_pictures_of_every_page(painter: tuple[str, Tab], places: dict[str, str], name: str) -> None:
    """Kept to be looked at; what a test can see of them: nothing overflows sideways, nothing is an error."""
    theme, tab = painter
    ARTEFACTS.mkdir(exist_ok=True)
    for n, (width, height) in enumerate(SIZES):
        tab.page.set_viewport_size({"width": width, "height": 3000})
        tab.settle() if n else tab.open(VIEWS[name].format_map(places))
        tall = max(height, min(3000, tab.page.evaluate(BOTTOM) + 40))
        picture = ARTEFACTS / f"{name}-{theme}-{width}x{height}.png"
        tab.page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": width, "height": tall})
        over = tab.page.evaluate(
            "(() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth })()"
        )
        assert over <= 1, f"{name} overflows by {over} px at {width}"
        assert "This page failed" not in tab.words(), name
        assert not tab.page.locator('[data-testid="stAlertContentError"]').count(), name


@pytest.mark.parametrize("name", README)
def test_pictures_of_the_readme(chromium: Any, server: str, places: dict[str, str], name: str) -> None:
    """What README.md and docs/dashboard.md show; `GOLDEN=1 pytest tests/dashboard/test_browser.py -k readme` takes the pictures anew."""
    theme, path, height = README[name]
    context = chromium.new_context(viewport={"width": 1280, "height": height}, color_scheme=theme, timezone_id="UTC")
    tab = Tab(context.new_page(), server).open(path.format_map(places))
    taken = tab.page.screenshot()
    context.close()
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / f"{name}.png").write_bytes(taken)
    target = IMAGES / f"{name}.png"
    if os.environ.get("GOLDEN"):
        target.write_bytes(taken)
    kept = target.read_bytes()
    assert taken[:24] == kept[:24], "both are PNG of the same width and height"
    assert len(taken) < 200_000 and len(kept) < 200_000
    pages = (ROOT / "README.md", ROOT / "docs" / "dashboard.md")
    assert any(f"images/{name}.png)" in page.read_text() for page in pages)
