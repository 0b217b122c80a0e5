"""Every page's logic without a browser: what it shows of a lake, of an empty one, of one without audit events, of a hostile one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ask, day, event, write
from streamlit.testing.v1 import AppTest

from auditlens import completeness, sql
from auditlens.importing.files.run import import_files

from .helpers import APP, HOSTILE, frame, metrics, texts

Page = Callable[..., AppTest]

NAMES = ("", "timeline", "ask", "object", "event", "access", "performance", "policy", "ingest")
TABS = (
    *(f"access?tab={t}" for t in ("Secrets", "Sessions", "Impersonation", "Rights", "Tokens", "Anonymous")),
    *(f"performance?tab={t}" for t in ("Slow requests", "Traces", "Flow control", "Watches", "Polling", "Conflicts")),
    *(f"ingest?tab={t}" for t in ("Streams", "Rejects", "Completeness", "Tables", "Upload")),
    *(f"policy?tab={t}" for t in ("One request", "Simulate", "Coverage", "Recommend")),
    *(f"timeline?by={t}" for t in ("users", "nodes")),
    "ask?with=SQL",
)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_lake_says_how_to_begin(page: Page, tmp_path: Path, name: str) -> None:
    app = page(tmp_path / "none", name)
    assert not app.error
    if name != "policy":  # which needs no lake
        assert "This lake is empty" in texts(app)


@pytest.mark.parametrize("url", [*NAMES, *TABS])
def test_a_page_shows_a_lake(page: Page, small_lake: Path, url: str) -> None:
    app = page(small_lake, url)
    assert not app.error
    assert app.title


@pytest.mark.parametrize("url", NAMES)
def test_a_window_without_events_is_said(page: Page, small_lake: Path, url: str) -> None:
    app = page(small_lake, f"{url}?since=2020-01-01&until=2020-01-02")
    assert not app.error
    if url in ("", "timeline", "ask", "access"):
        assert "nothing in this time range" in texts(app)
        app.button(key="zoom-out").click().run()
        assert "nothing in this time range" not in texts(app) and not app.exception


def test_a_range_that_is_none_shows_the_whole_log(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "?since=yesterday-ish")
    assert "not understood" in texts(app)
    assert metrics(app)["Log"].startswith("280")


def test_overview_figures_are_the_lakes(page: Page, small_lake: Path) -> None:
    shown = metrics(page(small_lake))
    events, requests, denied = sql(
        small_lake,
        "select count(*), count(*) filter (where stage = 'ResponseComplete'), count(*) filter (where code = 403) from audit",
    ).row(0)
    assert shown["Log"] == f"{events:,} events"
    assert (shown["Requests"], shown["Denied"], shown["Rejected records"]) == (f"{requests:,}", f"{denied:,}", "1")


def test_the_cluster_filter_is_part_of_the_url(page: Page, small_lake: Path) -> None:
    assert metrics(page(small_lake, "?cluster=west"))["Log"] == "40 events"


def test_an_answer_is_that_of_the_api(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "ask?question=who-deleted&resource=pods&namespace=pay")
    expected = ask(small_lake, "who-deleted", resource="pods", namespace="pay")
    assert expected.height > 0
    assert len(frame(app)) == expected.height
    assert sorted(frame(app)["audit_id"]) == sorted(expected["audit_id"])
    assert f"{expected.height:,} rows" in texts(app)


def test_the_recipes_give_the_same_answer(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "ask?question=who-deleted&resource=pod&namespace=p*&since=2026-11-23T12:00:00Z")
    expected = ask(small_lake, "who-deleted", resource="pods", namespace="p*")
    command, statement = [c.value for c in app.code if "auditlens ask" in c.value or "select" in c.value]
    assert "who-deleted" in command and "--since 2026-11-23T12:00:00.000000Z" in command and "-n 'p*'" in command
    assert sql(small_lake, statement).height == expected.height


def test_every_question_has_a_form_and_an_answer(page: Page, small_lake: Path) -> None:
    from auditlens.answers.questions import questions

    for name, question in questions().items():
        app = page(small_lake, f"ask?question={name}")
        assert not app.error, name
        labels = {w.label for w in (*app.text_input, *app.number_input, *app.checkbox)}
        assert {p.name.replace("_", " ") for p in question.params} - {"since", "until", "cluster"} <= labels, name


def test_sql_is_run_when_asked_and_only_reads(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "ask?with=SQL")
    app.text_area(key="sql").set_value("select count(*) as n from audit")
    app.button[0].click().run()
    assert [d.value["n"].tolist() for d in app.dataframe if "n" in d.value.columns] == [[280]]
    for bad in ("drop table audit", "select * from '/etc/passwd'", "copy (select 1) to '/tmp/x.csv'", "select 1; select 2"):
        app.text_area(key="sql").set_value(bad)
        app.button[0].click().run()
        assert app.error, bad


def test_an_object_shows_its_requests(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "object?object=secrets/s-8&namespace=shop")
    assert not app.error
    assert metrics(app)["Changes"] == "1"
    assert "`s-8`" in texts(app)


def test_the_object_search_finds_by_every_word(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "object")
    app.text_input(key="find").set_value("shop secret s-16").run()
    assert app.selectbox(key="pick").options[0].startswith("secrets/s-16 shop")


def test_a_dry_run_changes_nothing(page: Page, tmp_path: Path) -> None:
    where = {"resource": "configmaps", "namespace": "shop", "name": "kept", "apiVersion": "v1"}
    uri = "/api/v1/namespaces/shop/configmaps/kept"
    events = [
        event(0, verb="update", requestURI=uri, objectRef=where),
        event(1, verb="delete", requestURI=f"{uri}?dryRun=All", objectRef=where),
    ]
    import_files([write(tmp_path / "audit.log", events)], tmp_path / "lake")
    app = page(tmp_path / "lake", "object?object=configmaps/kept&namespace=shop")
    assert (metrics(app)["Changes"], metrics(app)["Deletion asked"]) == ("1", "never in the log")
    assert frame(page(tmp_path / "lake"), -1)["changes"].tolist() == [1]


def test_a_trace_shows_its_steps_and_its_event(page: Page, tmp_path: Path) -> None:
    import_files(sorted((Path(__file__).parent / "data").glob("slow-list.*")), tmp_path)
    app = page(tmp_path, "performance?tab=Traces")
    assert "The steps of" in texts(app)
    http = frame(app, 1)
    assert http["apf_pl"].to_list() == ["global-default"]
    assert f"{app.table[0].value['value'].tolist()}".count(http["uri"][0].partition("?")[0])


def test_traces_begin_with_the_slowest(page: Page, capture_lake: Path) -> None:
    assert frame(page(capture_lake, "performance?tab=Traces"))["total_ms"].is_monotonic_decreasing


def test_flow_control_is_told_of_a_log_of_requests(page: Page, tmp_path: Path) -> None:
    import_files(sorted((Path(__file__).parent / "data").glob("slow-list.*")), tmp_path)
    assert len(frame(page(tmp_path, "performance?tab=Flow control")))


def test_an_unknown_object_is_said(page: Page, small_lake: Path) -> None:
    assert "holds no request for this object" in texts(page(small_lake, "object?object=pods/nobody&namespace=shop"))


def test_an_event_shows_its_fields_and_where_it_stands(page: Page, small_lake: Path) -> None:
    audit_id, source, line = sql(
        small_lake, "select audit_id, source, line from audit where verb = 'create' order by line limit 1"
    ).row(0)
    app = page(small_lake, f"event?audit_id={audit_id}")
    facts = app.table[0].value
    assert dict(zip(facts["field"], facts["value"], strict=True))["verb"] == "`create`"
    assert f"{source}:{line}" in texts(app)


def test_an_event_that_is_not_there_is_said(page: Page, small_lake: Path) -> None:
    assert "No event has this audit id" in texts(page(small_lake, "event?audit_id=nope"))


def test_rejects_show_their_text(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "ingest?tab=Rejects")
    assert any("<script>broken" in str(list(d.value["text"])) for d in app.dataframe if "text" in d.value)


def test_the_import_sums_add_up(page: Page, small_lake: Path) -> None:
    shown = metrics(page(small_lake, "ingest"))
    assert (shown["Records"], shown["Rows"], shown["Rejects"]) == ("281", "280", "1")


def test_a_policy_is_linted_in_place(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "policy")
    app.text_area(key="policy-text").set_value("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Loud\n").run()
    assert "line 4" in texts(app) and "AP" in texts(app)
    app.text_area(key="policy-text").set_value(": not yaml [").run()
    assert not app.exception and "line 1" in texts(app)


def test_a_refused_policy_is_refused_in_the_servers_words(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "policy?tab=Simulate")
    app.text_area(key="policy-text").set_value("kind: Policy\n").run()
    assert "refuses this policy" in texts(app)


def test_one_request_names_the_rule_that_decides(page: Page, small_lake: Path) -> None:
    app = page(small_lake, "policy?tab=One request&p-resource=secrets&p-verb=get")
    assert "decides" in texts(app)


def test_live_pages_follow_the_lake(page: Page, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    import_files([write(tmp_path / "a" / "audit.log", list(day(40)))], lake)
    app = page(lake)
    assert metrics(app)["Log"] == "40 events"
    import_files([write(tmp_path / "b" / "audit.log", list(day(24, first=500)))], lake)
    app.run()
    assert metrics(app)["Log"] == "64 events"


def test_a_lake_being_written_to_and_compacted(page: Page, tmp_path: Path) -> None:
    from threading import Event, Thread

    from auditlens import Lake
    from auditlens.lake.maintenance import compact

    lake, over, failed = tmp_path / "lake", Event(), []
    import_files([write(tmp_path / "0" / "audit.log", list(day(40)))], lake)

    def writer() -> None:
        try:
            for n in range(1, 40):
                if over.is_set():
                    return
                import_files([write(tmp_path / str(n) / "audit.log", list(day(20, first=1000 * n)))], lake)
                if n % 3 == 0:
                    compact(Lake(lake))
        except Exception as e:
            failed.append(e)

    thread = Thread(target=writer)
    thread.start()
    try:
        counts = [int(metrics(page(lake))["Log"].split()[0].replace(",", "")) for _ in range(4)]
        for url in (
            "timeline",
            "access?tab=Secrets",
            "performance",
            "object?object=secrets/s-8&namespace=shop",
            "ask?question=top",
            "ingest",
        ):
            assert not page(lake, url).error, url
    finally:
        over.set()
        thread.join()
    assert not failed and counts == sorted(counts) and counts[-1] > 40


def test_a_lake_with_only_apiserver_logs(page: Page, tmp_path: Path) -> None:
    log = (
        b'I1123 12:00:00.000001       1 controller.go:1] "Starting" name="<b>x</b>"\nE1123 12:00:01.000001       1 x.go:2] boom\n'
    )
    import_files([write(tmp_path / "apiserver.log", log)], tmp_path / "lake")
    assert sql(tmp_path / "lake", "select count(*) from klog").item() == 2
    for url in NAMES:
        app = page(tmp_path / "lake", url)
        assert not app.error, url
        if url in ("", "timeline", "ask", "object", "access"):
            assert "No audit events here yet" in texts(app), url


@pytest.mark.parametrize(
    "url", ["", "timeline", "ask?question=who-deleted&attempts=true", "ask?question=requests", "ask?question=denied", "object", "access", "access?tab=Tokens",
            "performance?tab=Slow requests", "performance", "ingest", "ingest?tab=Rejects"],
)  # fmt: skip
def test_hostile_text_stays_text(page: Page, hostile_lake: Path, url: str) -> None:
    app = page(hostile_lake, url)
    assert not app.error
    harmless(app)


@pytest.mark.parametrize("n", range(len(HOSTILE)))
def test_hostile_events_and_objects_stay_text(page: Page, hostile_lake: Path, n: int) -> None:
    from urllib.parse import quote

    app = page(hostile_lake, f"event?audit_id=00000000-0000-4000-a000-{n:012d}")
    harmless(app)
    assert app.table[0].value["value"].str.len().max() > 5
    name, namespace = quote(HOSTILE[n]), quote(HOSTILE[n][:200])
    harmless(page(hostile_lake, f"ask?question=requests&user={name}"))
    for tab in ("Changes", "State", "Family", "Why") if n in (0, 3) else ("Changes",):
        harmless(page(hostile_lake, f"object?object=pods/{name}&namespace={namespace}&tab={tab}"))


def harmless(app: AppTest) -> None:
    """Log text on a page stands in code spans, in tables or in boxes of text; and no character in it acts."""
    import re

    acting = re.compile("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b]")
    boxes = (*app.markdown, *app.caption, *app.subheader, *app.warning, *app.info, *app.error, *app.success)
    cells = (cell for table in app.table for column in table.value for cell in table.value[column])  # these are Markdown too
    for value in map(str, (*(box.value for box in boxes), *cells)):
        assert not acting.search(value), value
        outside = re.sub(r"(`+).+?\1(?!`)", "", value, flags=re.DOTALL)
        for sign in ("<script", "evil.example", "[click]", ":red[red]", "**bold**", ":material/skull:"):
            assert sign not in outside, value
    for table in app.dataframe:
        for column in table.value.columns:
            if table.value[column].dtype == object:
                assert not table.value[column].dropna().astype(str).str.contains(acting).any(), column
    for code in app.code:
        assert not acting.search(code.value.replace("\t", "")), code.value


def test_no_page_lets_markup_through() -> None:
    for path in APP.parent.rglob("*.py"):
        text = path.read_text()
        assert "unsafe_allow_html" not in text and "st.write(" not in text, path
        assert "st.html(" not in text.replace("st.html(STYLE)", ""), path


def test_a_label_from_the_log_cannot_leave_its_code_span() -> None:
    import sys

    sys.path.insert(0, str(APP.parent))
    from parts.show import literal, words

    assert literal("a`b") == "``a`b``"
    assert literal("`x") == "`` `x ``"
    assert literal("``") == "``` `` ```"
    assert literal("\u202eabc") == "`\\u202eabc`"
    assert words("see http://evil.example or *this*") == "see `http://evil.example` or `*this*`"


def test_colours_differ_for_every_kind_of_eye() -> None:
    """Neighbouring classes differ in lightness or hue also where red and green look the same (Viénot's simulation)."""
    import sys

    sys.path.insert(0, str(APP.parent))
    from parts.palette import CLASSES

    def seen(colour: str, kind: str) -> tuple[float, ...]:
        r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        r, g, b = (c**2.2 for c in (r, g, b))
        if kind == "deutan":
            r = g = 0.29 * r + 0.71 * g
        elif kind == "protan":
            r = g = 0.11 * r + 0.89 * g
        return tuple(c ** (1 / 2.2) * 255 for c in (r, g, b))

    for theme in ("light", "dark"):
        for kind in ("full", "deutan", "protan"):
            for i, a in enumerate(CLASSES):
                for b in CLASSES[i + 1 :]:
                    pair = seen(getattr(a, theme), kind), seen(getattr(b, theme), kind)
                    assert sum((x - y) ** 2 for x, y in zip(*pair, strict=True)) ** 0.5 > 24, (theme, kind, a.word, b.word)


def test_an_upload_cannot_name_its_place(small_lake: Path) -> None:
    import sys

    sys.path.insert(0, str(APP.parent))
    source = (APP.parent / "views" / "ingest.py").read_text()
    assert "_NAME.sub" in source
    import re

    clean = re.compile(r"[^A-Za-z0-9._-]+")
    assert clean.sub("_", Path("../../etc/passwd").name).lstrip(".") == "passwd"


def test_event_helper_keeps_ids() -> None:
    assert event(3)["auditID"].endswith("3")


def test_streams_show_rate_and_lag(page: Page, tmp_path: Path) -> None:
    for n in range(3):  # a file that grows is read in pieces, as a followed one
        import_files([write(tmp_path / "live" / "audit.log", list(day(40, first=100 * n)))], tmp_path / "lake")
    app = page(tmp_path / "lake", "ingest?tab=Streams")
    shown = frame(app)
    assert (shown["commits"].tolist(), shown["records"].tolist()) == ([3], [120])
    assert shown["lag_s"].notna().all() and shown["per_second"].notna().all()
    assert metrics(app)["Streams"] == "1"


def test_no_stream_is_said(page: Page, small_lake: Path) -> None:
    assert "Nothing streams into this lake" in texts(page(small_lake, "ingest?tab=Streams"))


def test_completeness_is_that_of_the_command_line(page: Page, tmp_path: Path) -> None:
    early, late = list(day(40)), list(day(40))
    for e in late:
        e["auditID"] = "f" + e["auditID"][1:]
        for field in ("requestReceivedTimestamp", "stageTimestamp"):
            e[field] = e[field].replace("2026-11-23", "2026-11-25")
    import_files([write(tmp_path / "audit.log", early + late)], tmp_path / "lake")
    expected = completeness(tmp_path / "lake").frame
    assert "gap" in expected["kind"].to_list()
    for url in ("ingest?tab=Completeness", "?holes=true"):
        shown = next(d.value for d in page(tmp_path / "lake", url).dataframe if "kind" in d.value.columns)
        assert shown["what"].tolist() == expected["what"].to_list(), url


def test_login_comes_before_everything(monkeypatch: pytest.MonkeyPatch, small_lake: Path) -> None:
    monkeypatch.setenv("AUDITLENS_LAKE", str(small_lake))

    def seen(**user: object) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        app.secrets["auth"] = {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "x" * 32, "client_id": "c"}
        app.secrets["auditlens"] = {"users": ["alice@example.com", "*@sec.example.com"]}
        app.user = user
        app.run()
        assert not app.exception
        return app

    out = seen(is_logged_in=False)
    assert [b.label for b in out.button] == ["Log in"] and not out.metric
    assert seen(is_logged_in=True, email="Alice@example.com").metric
    assert seen(is_logged_in=True, email="x@sec.example.com").metric
    for refused in ({"email": "mallory@example.com"}, {"email": "alice@example.com", "email_verified": False}, {}):
        app = seen(is_logged_in=True, **refused)
        assert not app.metric and "not on the list" in texts(app)


def test_secrets_that_cannot_be_read_let_nobody_in(monkeypatch: pytest.MonkeyPatch, small_lake: Path, tmp_path: Path) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text("[auth\n")
    monkeypatch.setenv("AUDITLENS_LAKE", str(small_lake))
    import streamlit as st

    before = st.get_option("secrets.files")
    st.config.set_option("secrets.files", [str(tmp_path / ".streamlit" / "secrets.toml")])
    try:
        app = AppTest.from_file(str(APP), default_timeout=60).run()
    finally:
        st.config.set_option("secrets.files", before)
    assert not app.metric and "nobody is let in" in texts(app)


def test_a_very_busy_object_is_followed_when_asked(page: Page, tmp_path: Path) -> None:
    events = [
        event(n, verb="update", objectRef={"resource": "configmaps", "namespace": "shop", "name": "busy", "apiVersion": "v1"},
              requestURI="/api/v1/namespaces/shop/configmaps/busy", responseStatus={"metadata": {}, "code": 200})
        for n in range(2100)
    ]  # fmt: skip
    import_files([write(tmp_path / "audit.log", events)], tmp_path / "lake")
    app = page(tmp_path / "lake", "object?object=configmaps/busy&namespace=shop")
    assert metrics(app)["Changes"] == "2,100" and not app.dataframe
    app.button(key="follow-all").click().run()
    assert len(frame(app)) > 0 and not app.exception


def test_the_family_reaches_owners_and_what_they_own(page: Page, capture_lake: Path) -> None:
    found = sql(
        capture_lake,
        "select namespace, object_name, owner_name from audit where resource = 'pods' and verb = 'create' and code = 201 "
        "and owner_kind = 'ReplicaSet' and username like '%replicaset-controller' order by stage_time limit 1",
    )
    namespace, pod, replicas = found.row(0)
    app = page(capture_lake, f"object?object=pods/{pod}&namespace={namespace}&tab=Family")
    shown = frame(app)
    assert shown["name"][1] == replicas and set(shown["relation"]) == {"owner"}
    assert shown["depth"].tolist() == [-2, -1] and shown["resource"].tolist() == ["Deployment", "ReplicaSet"]
    app = page(capture_lake, f"object?object=deployments.apps/{shown['name'][0]}&namespace={namespace}&tab=Family")
    assert {replicas, pod} <= set(frame(app)["name"]) and set(frame(app)["depth"]) == {1, 2}


def test_columns_hold_what_they_show() -> None:
    import sys

    import polars as pl

    sys.path.insert(0, str(APP.parent))
    from parts import scope, show

    account = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    frame = pl.DataFrame(
        {
            "verb": ["get"] * 13 + ["deletecollection"] + ["get"] * 6,
            "username": [account] * 20,
            "uri": ["/" * 500] * 20,
            "n": [1234567] * 20,
        }
    )
    made = show.configuration(frame, scope.Scope(None, None, None, "UTC"), {"n": {"label": "a heading longer than the number"}})
    widths = {name: column["width"] for name, column in made.items()}
    assert widths["username"] > 5.6 * len(account) and widths["verb"] > 5.6 * len("deletecollection")
    assert widths["uri"] < 400 and widths["n"] > 5.6 * len("a heading longer than the number")
