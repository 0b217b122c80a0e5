"""Performance: how quick the apiserver answers whom, what is slow and why, who lists and watches, who loses races."""

from __future__ import annotations

import altair as alt
import polars as pl
import streamlit as st
from parts import answers, charts, evidence, palette, scope, show, store

from auditlens.answers.questions import find

# A tab is a question; what it says where there is nothing, what is to be done about that, and what its reader must know.
TABS = {
    "Latency": ("slow-requests", "No latencies here.", "They need stages with both timestamps.", "By verb, resource and program, as each log tells it"),
    "Slow requests": ("slowest-requests", "No requests in this range.", "", "Watches and sessions are left out: their latency is their life"),
    "Traces": ("traces", "No traces in this range.", "", ""),
    "Flow control": (
        "flow-control", "No flow control in this log.",
        "Priority levels stand in the apiserver's own log at -v=3 and up; audit events do not have them.", "",
    ),
    "Watches": ("watch-load", "No watches in this range.", "", ""),
    "Polling": ("polling", "Nobody polls in this range.", "", ""),
    "Conflicts": ("conflicts", "No conflicts in this range.", "", ""),
}  # fmt: skip
_OF_THE_LOG = ("Latency", "Flow control")  # which the apiserver's own log can answer without audit events


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


def traces(now: scope.Scope) -> None:
    """Slow operations as the apiserver traced them, one as a waterfall, joined with its audit event and log line."""
    picked = answers.table(
        "traces", now, nothing="No traces in this range.",
        hint="They stand in the apiserver's own log (slow operations, over 500 ms): import it beside the audit log.",
    )  # fmt: skip
    frame = store.ask("traces", **answers.asked(find("traces"), now, {})).frame
    if not frame.height:
        return
    chosen = picked or frame.sort(pl.col("steps") > 0, descending=True, maintain_order=True).row(0, named=True)
    steps = store.figure("trace_steps", source=chosen["source"], line=chosen["line"], trace_id=chosen["trace_id"])
    waterfall(steps, chosen)
    if chosen["audit_id"]:
        with st.container(border=True):
            if not picked:
                evidence.event(str(chosen["audit_id"]), now, key="trace-evidence")
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
        "Performance", list(TABS), key="tab", bind="query-params", default="Latency", required=True, label_visibility="collapsed"
    )
    question, nothing, hint, about = TABS[str(tab)]
    with show.guard("this list"):
        if tab == "Latency":
            latency(now)
        if tab == "Traces":
            traces(now)
        elif tab in _OF_THE_LOG or show.need_audit(now):
            answers.table(question, now, nothing=nothing, hint=hint, about=about)


main()
