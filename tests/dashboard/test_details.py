"""What a reader trips over: what is seen first at 1280 pixels, one meaning of gap, messages that go when they are no longer true."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import day, event, needs_captures, when, write
from streamlit.testing.v1 import AppTest

from auditlens import ask, completeness, sql
from auditlens.forensics.completeness import gaps
from auditlens.importing.files.run import import_files

from .helpers import APP, frame, texts

Page = Callable[..., AppTest]
sys.path.insert(0, str(APP.parent))
WIDE = 960  # pixels of a table at 1280


def widths(app: AppTest, n: int = 0) -> dict[str, int]:
    """The columns of a table with the pixel each ends at."""
    proto = app.dataframe[n].proto
    config, at, ends = json.loads(proto.columns), 0, {}
    for name in app.dataframe[n].value.columns:
        at += int(config.get(name, {}).get("width") or 0)
        ends[name] = at
    return ends


@needs_captures
def test_rights_begin_with_the_outcome_then_role_and_subject(page: Page, capture_lake: Path) -> None:
    app = page(capture_lake, "access?tab=Rights&attempts=true")
    shown = frame(app)
    assert list(shown.columns)[:5] == ["outcome", "time", "username", "verb", "grants"]
    assert {"forbidden", "created"} <= {o for cell in shown["outcome"].dropna() for o in cell}
    assert shown["grants"].str.fullmatch("ClusterRole/cluster-admin → User eve").any()
    config = json.loads(app.dataframe[0].proto.columns)["outcome"]["type_config"]
    colours = {o["value"]: o["color"] for o in config["options"]}
    assert colours["forbidden"] != colours["created"]
    assert widths(app)["verb"] < WIDE


def test_impersonation_shows_who_was_refused(page: Page, capture_lake: Path) -> None:
    app = page(capture_lake, "access?tab=Impersonation")
    shown, expected = frame(app), ask(capture_lake, "impersonation").frame
    refused = expected.filter((expected["code"] == 403) & expected["wanted"].is_not_null())
    assert refused.height and shown["wanted"].notna().sum() == refused.height
    assert next(iter(shown.columns)) == "outcome" and widths(app)["wanted"] < WIDE


def test_denials_show_their_reason_in_view(page: Page, capture_lake: Path) -> None:
    assert widths(page(capture_lake, "access?tab=Denials"))["reason"] < WIDE


def silent(seconds: int) -> list[dict[str, object]]:
    """A quiet log: an event every ten seconds, and in the middle a silence."""
    moments = [n * 10 + (seconds if n >= 60 else 0) for n in range(120)]
    return [event(n, stageTimestamp=when(s), requestReceivedTimestamp=when(s)) for n, s in enumerate(moments)]


@pytest.mark.parametrize(("seconds", "said"), [(0, "no gap"), (3600, "1 gap")])
def test_a_hole_is_what_completeness_calls_a_gap(page: Page, tmp_path: Path, seconds: int, said: str) -> None:
    lake = tmp_path / "lake"
    import_files([write(tmp_path / "audit.log", silent(seconds))], lake)
    found = completeness(lake).frame
    expected = found.filter(found["kind"] == "gap").height if found.height else 0
    assert len(gaps(lake)) == expected == (1 if seconds else 0)
    text = texts(page(lake))
    assert said in text and ("with holes" in text) == bool(seconds)


def test_the_apiservers_log_counts_its_lines(page: Page, capture_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parts import store

    monkeypatch.setenv("AUDITLENS_LAKE", str(capture_lake))
    shape = store.prepare(store.lake().version(), "klog_shape", step=2.0, cluster=None, since=None, until=None)
    assert shape["events"].sum() == sql(capture_lake, "select count(*) from klog where time is not null").item()


def test_a_range_that_is_none_says_what_was_given_and_what_is_understood(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "?since=yesterday-ish")
    said = " ".join(e.value for e in app.error)
    assert "yesterday-ish" in said and "RFC 3339" in said and "2h, 7d, end-2h" in said
    said = " ".join(e.value for e in page(small_lake, "?since=2026-11-24&until=2026-11-23").error)
    assert "ends before it begins" in said and "2026-11-24" in said


def test_no_budget_is_no_verdict(page: Page, small_lake: Path) -> None:
    assert "Within budget" not in [m.label for m in page(small_lake, "policy?tab=Recommend").metric]
    assert "Within budget" in [m.label for m in page(small_lake, "policy?tab=Recommend&budget-on=true").metric]


def test_the_policy_has_line_numbers(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "policy")
    app.text_area(key="policy-text").set_value("apiVersion: audit.k8s.io/v1\nkind: Policy\n\nrules:\n- level: Loud\n").run()
    numbered = next(c for c in app.code if c.proto.show_line_numbers)
    assert numbered.value.split("\n")[4] == "- level: Loud" and "line 5" in texts(app)


def test_after_an_upload_the_lake_is_not_called_empty(page: Page, tmp_path: Path) -> None:
    app = page(tmp_path / "lake", "ingest")
    assert "This lake is empty" in texts(app)
    app.file_uploader(key="upload").set_value(
        ("audit.log", write(tmp_path / "audit.log", list(day(12))).read_bytes(), "text/plain")
    ).run()
    next(b for b in app.button if b.label == "Import").click().run()
    assert not app.exception and "12 records = 12 rows" in texts(app)
    assert "This lake is empty" not in texts(app)


def test_rows_are_clicked_not_ticked() -> None:
    """test_browser.py clicks them."""
    assert all("Select a row" not in p.read_text() for p in APP.parent.rglob("*.py"))
