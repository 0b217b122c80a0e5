"""Performance: how quick the apiserver answers whom, what is slow and why, who lists and watches, who loses races."""

from __future__ import annotations

import altair as alt
import polars as pl
import streamlit as st
from parts import charts, evidence, palette, scope, show, store

TABS = ("Latency", "Slow requests", "Traces", "Flow control", "Lists and watches", "Conflicts")


def latency(now: scope.Scope) -> None:
    """Percentiles over time and by verb, resource and program."""
    ends = charts.extent(now)
    if ends is None:
        return
    seconds = charts.step(*ends)
    frame = (
        store.figure("pace", step=seconds, **now.params)
        .unpivot(index="time", variable_name="percentile", value_name="ms")
        .drop_nulls("ms")
    )
    st.caption(
        f"Latency per {charts.every(seconds)}; watches and sessions are left out, the scale is logarithmic. Drag to choose a range."
    )
    made = charts.wall(frame, now, "time").with_columns(pl.col("ms").clip(lower_bound=0.01))
    chart = alt.Chart(made).mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=14)).encode(
        charts.axis(*ends, now), alt.Y("ms:Q", title="milliseconds", scale=alt.Scale(type="log", nice=True), axis=alt.Axis(tickCount=4)),
        alt.Color("percentile:N", sort=["p50", "p95", "p99"], scale=alt.Scale(domain=["p50", "p95", "p99"], range=palette.series()[:3]), legend=alt.Legend(orient="top", title=None)),
        tooltip=[alt.Tooltip("time_text:N", title="from"), "percentile:N", alt.Tooltip("ms:Q", format=",.2f", title="ms")],
    ).add_params(charts.brush())  # fmt: skip
    charts.brushed(chart, now, "pace", "Latency percentiles over time", 180)
    rows(now, "latency", "By verb, resource and program; most felt first (p95 and number together)",
         ("verb", "resource", "client", "requests", "p50_ms", "p95_ms", "p99_ms", "max_ms"), "No latencies here.",
         "They need stages with both timestamps.", "the slowest of them")  # fmt: skip


def rows(
    now: scope.Scope, name: str, about: str, columns: tuple[str, ...], empty: str, hint: str, what: str | None = "its event"
) -> None:
    """A listing with evidence, where a row has `what` to lead to, and exports."""
    frame = store.figure(name, **now.params)
    if not frame.height:
        show.nothing(empty, hint)
        return
    st.caption(about)
    picked = show.table(frame, now, f"perf-{name}", columns=columns, select=what is not None, about=about)
    if picked and picked.get("audit_id"):
        with st.container(border=True):
            evidence.event(str(picked["audit_id"]), now, brief=True, key=f"perf-{name}-evidence")
    elif picked:
        which = {"user": picked["username"], "client": picked["client"], "resource": picked["resource"]}
        show.link("ask", "The requests behind this row", ":material/list:", question="requests", **which)
    elif what:
        st.caption(f":material/ads_click: Select a row to see {what}.")
    with st.container(horizontal=True):
        show.exports(frame, name, f"export-{name}")


def traces(now: scope.Scope) -> None:
    """Slow operations as the apiserver traced them, one as a waterfall, joined with its audit event and log line."""
    frame = store.figure("traces", **now.params)
    if not frame.height:
        show.nothing(
            "No traces in this range.",
            "They stand in the apiserver's own log (slow operations, over 500 ms): import it beside the audit log.",
        )
        return
    st.caption("What took the apiserver long, slowest first; select a row for its steps")
    picked = show.table(
        frame,
        now,
        "traces",
        columns=("time", "total_ms", "name", "steps", "verb", "url", "audit_id", "source", "line"),
        about="Traces, slowest first",
    )
    chosen = picked or frame.sort(pl.col("steps") > 0, descending=True, maintain_order=True).row(0, named=True)
    steps = store.figure("trace_steps", source=chosen["source"], line=chosen["line"], trace_id=chosen["trace_id"])
    waterfall(steps, chosen)
    if chosen["audit_id"]:
        with st.container(border=True):
            evidence.event(str(chosen["audit_id"]), now, brief=True, key="trace-evidence")
            evidence.said(str(chosen["audit_id"]), now, "trace")


def waterfall(steps: pl.DataFrame, chosen: dict[str, object]) -> None:
    """The steps of a trace as bars that begin where the one before ended."""
    begun, made = {1: 0.0}, []
    for row in steps.filter(pl.col("seq") > 0).iter_rows(named=True):
        depth, length = row["depth"] or 1, row["step_ms"] or 0.0
        start = begun.get(depth, begun.get(depth - 1, 0.0))
        made.append(
            {
                "step": f"{row['seq']:02d}  {'   ' * (depth - 1)}{row['step'] or ''}",
                "from": start,
                "to": start + length,
                "ms": length,
                "span": bool(row["span"]),
            }
        )
        begun[depth] = start + length
        begun[depth + 1] = start if row["span"] else start + length
    if not made:
        show.nothing("This trace names no steps.")
        return
    st.caption(f"The steps of {show.literal(chosen['name'] or 'the trace')}, in milliseconds since it began")
    frame = charts.plain_columns(pl.DataFrame(made), "step")
    chart = alt.Chart(frame).mark_bar(height=12, minBandSize=2).encode(
        alt.X("from:Q", title=None, axis=alt.Axis(orient="top", tickCount=8)), alt.X2("to"), alt.Y("step:N", sort=None, title=None, axis=alt.Axis(labelLimit=420, labelAlign="left", ticks=False, domain=False, **charts.left(frame["step"], 420))),
        alt.Color("span:N", scale=alt.Scale(domain=[False, True], range=[palette.accent(), palette.quiet()]), legend=None),
        tooltip=["step:N", alt.Tooltip("ms:Q", format=",.1f")],
    )  # fmt: skip
    charts.draw(chart, "waterfall", "The steps of a trace", 20 * len(made))


def main() -> None:
    """Draw the page."""
    now = scope.bar("Performance", "What is slow, for whom, and who makes it so")
    if not show.need_lake(now):
        return
    tab = st.segmented_control(
        "Performance", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
    )
    with show.guard("this list"):
        if tab == "Traces":
            traces(now)
        elif tab == "Flow control":
            rows(now, "flow", "By priority level and flow schema, from the apiserver's httplog lines; times without watches and sessions", ("priority_level", "flow_schema", "requests", "throttled", "p95_ms", "execution_p95_ms", "queue_p95_ms", "seats"),
                 "No flow control in this log.", "Priority levels stand in the apiserver's own log at -v=3 and up; audit events do not have them.", None)  # fmt: skip
        elif not show.need_audit(now):
            return
        elif tab == "Latency":
            latency(now)
        elif tab == "Slow requests":
            rows(now, "slow", "The slowest 200 requests that are neither watches nor sessions", ("time", "latency_ms", "username", "client", "verb", "resource", "subresource", "namespace", "name", "code", "outcome"),
                 "No requests in this range.", "")  # fmt: skip
        elif tab == "Lists and watches":
            rows(now, "load", "By program; whole lists name no limit and no resource version: they read everything from the store", ("client", "username", "resource", "lists", "whole_lists", "watches", "gets", "list_p95_ms", "watch_seconds"),
                 "No lists or watches in this range.", "", "its requests")  # fmt: skip
        else:
            rows(now, "conflicts", "Writes answered 409, by object: clients that race each other", ("resource", "namespace", "name", "verb", "outcome", "conflicts", "users", "clients", "last_time"),
                 "No conflicts in this range.", "", "the latest of them")  # fmt: skip


main()
