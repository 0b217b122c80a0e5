"""Policy: an audit policy linted as it is written, tried on single requests and on this lake's traffic."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import streamlit as st
from parts import charts, palette, scope, show, store
from parts.show import literal

import auditlens
from auditlens import AuditlensError, bundled, policy
from auditlens.answers.questions import questions
from auditlens.policy import PolicyError

TABS = ("Lint", "One request", "Simulate", "Coverage", "Recommend")
_ICONS = {"error": ":material/error:", "warning": ":material/warning:", "info": ":material/info:"}
_COLOURS = {"error": "red", "warning": "orange", "info": "blue"}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_GRADES = {
    "yes": (":material/check_circle:", "green", "answered in full"),
    "except": (":material/check:", "blue", "with exceptions"),
    "partly": (":material/incomplete_circle:", "orange", "partly"),
    "no": (":material/cancel:", "red", "not at all"),
}
_MOST = 1 << 20  # characters of a policy


@st.cache_data(show_spinner=False)
def shipped() -> dict[str, str]:
    """The policies that travel with auditlens."""
    try:
        return {p.stem: p.read_text(encoding="utf-8") for p in sorted(Path(bundled.directory("policies")).glob("*.yaml"))}
    except AuditlensError:
        return {}


def editor() -> str:
    """The policy's text: pasted, loaded from a file, or one of ours."""
    known = shipped()
    if "policy-text" not in st.session_state:
        st.session_state["begin"] = "security" if "security" in known else ""
        st.session_state["policy-text"] = known.get("security", "")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        start = st.selectbox(
            "Begin with",
            ["", *known],
            key="begin",
            format_func=lambda n: n or "own text",
            on_change=_begin,
            args=(known,),
            width=200,
        )
        given = st.file_uploader(
            "or a file", type=["yaml", "yml", "json"], key="policy-file", on_change=_given, width="stretch", max_upload_size=1
        )
        del start, given
    text = st.text_area("Policy (audit.k8s.io/v1)", key="policy-text", height=320, max_chars=_MOST, help="Ctrl+Enter checks it")
    st.caption("With the line numbers that findings name")
    st.code(show.pretty_lines(text), language="yaml", line_numbers=True, height=260)
    return text


def _begin(known: dict[str, str]) -> None:
    if st.session_state["begin"]:
        st.session_state["policy-text"] = known[st.session_state["begin"]]


def _given() -> None:
    file = st.session_state.get("policy-file")
    if file is not None:
        st.session_state["policy-text"] = file.read(_MOST).decode("utf-8", "replace")


def lint(text: str) -> None:
    """Findings in the order of the text, each with its place, why it matters and how to mend it."""
    findings = auditlens.lint(f"{text}\n").tree
    if not findings:
        st.success("Clean: kube-apiserver takes it, and no check has anything to say.", icon=":material/check_circle:")
        return
    counts = {s: sum(f["severity"] == s for f in findings) for s in _ICONS}
    with st.container(horizontal=True):
        for severity, n in counts.items():
            if n:
                st.badge(
                    f"{n} {severity}{'s' if n > 1 and severity != 'info' else ''}",
                    icon=_ICONS[severity],
                    color=_COLOURS[severity],
                )  # type: ignore[arg-type]
    lines = text.split("\n")
    for found in findings[:100]:
        with st.container(border=True):
            where = f"line {found['line']}" + ("" if found["rule"] is None else f", rule {found['rule']}")
            st.markdown(f":{_COLOURS[found['severity']]}[{_ICONS[found['severity']]}] **{found['id']}** · {where}")
            st.text(show.plain(found["message"]))
            if 0 < found["line"] <= len(lines) and lines[found["line"] - 1].strip():
                st.code(show.plain(lines[found["line"] - 1].strip())[:300], language="yaml")
            for head, told in (("why", found["why"]), ("how to mend it", found["fix"])):
                if told:
                    st.caption(head)
                    st.text(show.plain(told))
    if len(findings) > 100:
        st.caption(f"{len(findings) - 100} more; `auditlens policy lint` prints all.")


def one(made: policy.Policy) -> None:
    """What the policy decides for one request, rule by rule."""
    left, right = st.columns(2)
    user = left.text_input("User", "alice", key="p-user", bind="query-params")
    groups = right.text_input("Groups", "system:authenticated", key="p-groups", bind="query-params", help="Comma-separated")
    verb = left.selectbox("Verb", VERBS, key="p-verb", bind="query-params", index=3)
    path = right.text_input(
        "Path of a non-resource request",
        "",
        key="p-path",
        bind="query-params",
        placeholder="/healthz: then the fields below are not used",
    )
    group = left.text_input("API group", "", key="p-group", bind="query-params", placeholder="core")
    resource = right.text_input("Resource", "pods", key="p-resource", bind="query-params", help="With its subresource: pods/exec")
    namespace = left.text_input("Namespace", "default", key="p-namespace", bind="query-params")
    name = right.text_input("Name", "", key="p-name", bind="query-params")
    plural, _, sub = resource.partition("/")
    request = policy.Request(**_request(user, groups, verb, path, group, plural, sub, namespace, name))
    told = policy.explain(made, request)
    decision = told.decision
    by = "no rule matches" if decision.rule is None else f"rule {decision.rule} decides"
    st.markdown(f"**{decision.level}** · {by} · stages left out: {', '.join(decision.omit_stages) or 'none'}")
    rows = [
        {
            "rule": s.rule,
            "line": s.line,
            "level": f"**{s.level}**" if s.decides else s.level,
            "why": show.words("; ".join(m.why for m in s.missed) or "matches: decides"),
        }
        for s in told.steps
    ]
    show.told(rows, "The rules up to the one that decides")


def _request(
    user: str, groups: str, verb: str, path: str, group: str, resource: str, sub: str, namespace: str, name: str
) -> dict[str, Any]:
    """The fields Request has in this version."""
    known = {f.name for f in dataclasses.fields(policy.Request)}
    wanted = {
        "user": user or None, "groups": tuple(g.strip() for g in groups.split(",") if g.strip()), "verb": verb, "path": path or "",
        "api_group": group, "resource": "" if path else resource, "subresource": sub, "namespace": namespace, "name": name,
        "resource_request": not path,
    }  # fmt: skip
    return {k: v for k, v in wanted.items() if k in known}


def simulate(made: policy.Policy, now: scope.Scope) -> None:
    """The volume each rule would write of this lake's traffic, and what would be lost and gained."""
    if not show.need_audit(now):
        return
    got = store.call(f"simulate {hash(policy.dump(made))}", lambda lake, **p: auditlens.simulate(lake, made, **p), **now.params)
    volumes(got.tree)
    by_rule(got.frame, now)
    changes(pl.DataFrame(got.tree["changes"], infer_schema_length=None), now)
    show.notes(got.notes)


def volumes(told: dict[str, Any]) -> None:
    """The log as it is and as it would be."""
    before, after = told["now"], told["then"]
    cells = st.columns(4)
    cells[0].metric("Log now", show.size(before["bytes"]), help=f"{before['events']:,} events")
    cells[1].metric(
        "With this policy",
        show.size(after["bytes"]),
        f"{100 * (after['bytes'] - before['bytes']) / max(before['bytes'], 1):+.0f} %",
        delta_color="off",
        help=f"{after['events']:,} events",
    )
    day = round(after["bytes"] * told["per_day"])
    cells[2].metric("A day", show.size(day), help="Taking it that every hour is like those measured")
    cells[3].metric(
        "Dead rules",
        str(len(told["dead"])),
        help="Rules no request of this lake came to: " + (", ".join(map(str, told["dead"])) or "none"),
    )


def by_rule(frame: pl.DataFrame, now: scope.Scope) -> None:
    """What each rule writes, drawn and told."""
    rules = frame.with_columns(pl.format("rule {} · {}", pl.col("rule").cast(pl.String).fill_null("none"), "level").alias("what"))
    totals = rules.group_by("rule", "what", "level", maintain_order=True).agg(
        pl.col("bytes").sum(), pl.col("events").sum(), pl.col("bytes_now").first()
    )
    chart = alt.Chart(totals).mark_bar().encode(
        alt.X("bytes:Q", title="bytes written of this lake's traffic", axis=alt.Axis(format=".2s", tickCount=5)), alt.Y("what:N", sort=None, title=None),
        alt.Color("level:N", scale=alt.Scale(domain=["None", "Metadata", "Request", "RequestResponse"], range=[palette.quiet(), *palette.series()[:3]]), legend=alt.Legend(orient="top", title=None)),
        tooltip=["what:N", alt.Tooltip("bytes:Q", format=","), alt.Tooltip("events:Q", format=",")],
    )  # fmt: skip
    charts.draw(chart, "sim-chart", "Bytes written by each rule", 18 * totals.height, around=charts.LEGEND + 14)
    show.table(
        frame,
        now,
        "sim-rules",
        columns=("rule", "level", "stage", "events", "bytes", "percent", "bytes_per_day", "requests", "line"),
        config={"bytes_per_day": st.column_config.NumberColumn("bytes a day", format="compact", width=85)},
        select=False,
        about="Volume of each rule",
    )


def changes(frame: pl.DataFrame, now: scope.Scope) -> None:
    """What is lost and gained against the log as it is."""
    st.caption("What changes against the log as it is: lost and less first by size")
    show.table(
        frame,
        now,
        "sim-changes",
        columns=(
            "what",
            "verb",
            "resource",
            "level_before",
            "level_after",
            "bytes_before",
            "bytes_after",
            "stage",
            "events_before",
            "events_after",
        ),
        config={
            "level_before": st.column_config.TextColumn("before"),
            "level_after": st.column_config.TextColumn("after"),
            "bytes_before": st.column_config.NumberColumn("bytes before", format="compact", width=90),
            "bytes_after": st.column_config.NumberColumn("after", format="compact", width=60),
        },
        select=False,
        about="What is lost and gained",
    )


def coverage(made: policy.Policy, now: scope.Scope) -> None:
    """Which questions the policy lets be answered in full; of a chosen one, what is withheld and the rules it lacks."""
    got = auditlens.coverage(made)
    counts = dict(got.frame["answerable"].value_counts().iter_rows())
    with st.container(horizontal=True):
        for grade, (icon, colour, meaning) in _GRADES.items():
            if counts.get(grade):
                st.badge(f"{counts[grade]} {meaning}", icon=icon, color=colour)  # type: ignore[arg-type]
    picked = show.table(
        got.frame, now, "coverage-matrix", columns=got.show, about="Questions and whether the policy lets them be answered"
    )
    if not picked:
        st.caption(":material/ads_click: Click a question to see what is withheld and the rules it lacks.")
        return
    chosen = next(row for row in got.tree if row["question"] == picked["question"])
    show.notes([*chosen["withheld"], *(f"by choice: {loss}" for loss in chosen["by_choice"])])
    if rules := chosen["rules_needed"]:
        st.caption("Rules that would be needed, before those that take the requests away")
        st.code(show.pretty(rules), language="yaml", wrap_lines=True)


def recommend(text: str, now: scope.Scope) -> None:
    """A policy made from what should be kept and what it may cost, beside the one in the editor."""
    known = questions()
    groups = sorted({q.group for q in known.values() if q.group})
    keep = st.multiselect(
        "Keep what these need", ["all", *groups, *known], default=["all"], key="keep", bind="query-params",
        help="all, groups of questions, or single questions",
    )  # fmt: skip
    left, right = st.columns([0.7, 0.3], vertical_alignment="bottom", gap="medium")
    limited = right.toggle("Budget", key="budget-on", bind="query-params")
    percent = left.slider(
        "At most, percent of the log as it is", 5, 150, 50, step=5, key="budget", bind="query-params", disabled=not limited
    )
    if not keep:
        show.nothing("Nothing is to be kept.", "Choose at least one question or group.")
        return
    got = store.call(
        "recommend", lambda lake, **p: auditlens.recommend(lake, **p), keep=tuple(keep),
        budget=f"{percent}%" if limited and store.exists() else None, **now.params,
    )  # fmt: skip
    told = got.tree
    cells = st.columns(3)
    cells[0].metric("Log now", show.size(told["now"]["bytes"]))
    cells[1].metric(
        "Recommended",
        show.size(told["predicted"]["bytes"]),
        help=f"{told['predicted']['events']:,} events of this lake's traffic",
    )
    if limited:
        fits = "yes" if told["fits"] else "no"
        cells[2].metric("Within budget", fits, help=f"Whether the requirements fit into {percent} % of the log as it is")
    changed = list(difflib.unified_diff(text.splitlines(), got.text.splitlines(), "current", "recommended", lineterm="", n=2))
    with st.container(horizontal=True):
        st.download_button(
            "Download",
            got.text,
            "audit-policy.yaml",
            "application/yaml",
            icon=":material/download:",
            key="recommended",
            on_click="ignore",
        )
        st.button("Put it into the editor", icon=":material/edit:", on_click=_use, args=(got.text,))
    yaml, against, lost = st.tabs(["YAML", "Diff to the editor's", "Given up"])
    with yaml:
        st.code(show.pretty(got.text), language="yaml", height=460, wrap_lines=True)
    with against:
        st.code(show.pretty("\n".join(changed)) or "no difference", language="diff", height=460, wrap_lines=True)
    with lost:
        show.notes(told["given_up"] or ("nothing of what was asked for",))
        if got.frame.height:
            costs = got.frame.rename({"saved": "saved_bytes", "alone": "alone_bytes"})
            show.table(costs, now, "costs", select=False, about="What each requirement costs")


def _use(text: str) -> None:
    st.session_state["policy-text"] = text


def main() -> None:
    """Draw the page."""
    now = scope.bar("Policy", "What a policy says, what is wrong with it, what it would write and lose")
    left, right = st.columns([0.44, 0.56], gap="medium")
    with left:
        text = editor()
        st.download_button(
            "Download",
            text,
            "audit-policy.yaml",
            "application/yaml",
            icon=":material/download:",
            key="policy-download",
            on_click="ignore",
        )
    with right:
        tab = st.segmented_control(
            "Policy", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
        )
        with show.guard("the policy"):
            if tab == "Lint":
                lint(text)
                return
            if tab == "Recommend":
                recommend(text, now)
                return
            try:
                made = policy.load(text)
            except PolicyError as e:
                st.error(f"kube-apiserver refuses this policy: {literal(e.kubernetes_message, 400)}", icon=":material/error:")
                return
            if tab == "One request":
                one(made)
            elif tab == "Simulate":
                simulate(made, now)
            else:
                coverage(made, now)


main()
