"""Timeline: swim lanes of objects, users or nodes, with every change, failure and session as a mark that leads to its event."""

from __future__ import annotations

import datetime as dt

import altair as alt
import polars as pl
import streamlit as st
from parts import charts, evidence, palette, scope, show, store, swimlanes

from auditlens.output import plain

LANES = ("objects", "users", "nodes")
EVERYWHERE = "all namespaces"
_ALONE = ("verb", "subresource", "code", "username", "client", "name")  # known of marks that are one event


def controls(now: scope.Scope) -> tuple[str, str | None, int, bool]:
    """What the lanes are, of which namespace, how many, and whether status updates and leases are shown."""
    namespaces = store.figure("namespaces", **now.params)["namespace"].to_list()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = st.segmented_control("Lanes", LANES, key="by", bind="query-params", default="objects", required=True)
        with st.container(width=260):
            namespace = scope.choice("Namespace", [EVERYWHERE, *namespaces], "namespace", plain)
        many = st.number_input("Lanes at most", 5, 80, swimlanes.LANES, step=5, key="lanes", bind="query-params", width=130)
        noise = st.toggle("Status, leases, events", key="noise", bind="query-params", help="What controllers write all the time")
    return str(by), None if namespace == EVERYWHERE else namespace, int(many), bool(noise)


def draw(shown: pl.DataFrame, order: list[str], now: scope.Scope, low: dt.datetime, high: dt.datetime) -> str | None:
    """The lanes; the audit id of the mark that was clicked."""
    names, shapes = palette.verbs()
    made = shown.with_columns(
        pl.when("session").then(pl.lit("exec")).otherwise(pl.col("did").str.replace("collection", "")).alias("did"),
        pl.col("received_time").fill_null(pl.col("stage_time")).alias("begin"),
    ).select(
        "lane", "begin", "stage_time", "did", "class", "audit_id", "session", "events", *(c for c in _ALONE if c in shown.columns)
    )
    made = charts.wall(made.rename({"stage_time": "time"}), now, "time", "begin")
    made = charts.plain_columns(
        made, *(c for c in ("lane", "username", "client", "name", "audit_id", "subresource") if c in made.columns)
    )
    order = [plain(lane)[:120] for lane in order]
    did = [n for n in (*names, "read") if n in set(made["did"].to_list())]
    x = charts.axis(low, high, now, grid=True)
    y = alt.Y("lane:N", title=None, sort=order, axis=alt.Axis(labelLimit=330, grid=True))
    tooltip = [alt.Tooltip("time_text:N", title="time"), "lane:N", "did:N", alt.Tooltip("class:N", title="outcome")]
    tooltip += (
        [f"{c}:{'Q' if c == 'code' else 'N'}" for c in _ALONE]
        if "verb" in made.columns
        else [alt.Tooltip("events:Q", format=",")]
    )
    tooltip.append("audit_id:N")
    pick = alt.selection_point(name="pick", fields=["audit_id"], on="click", clear="dblclick")
    brush = charts.brush()
    marks = alt.Chart(made).transform_filter("!datum.session").mark_point(filled=True, size=46, opacity=0.85).encode(
        x, y, charts.colour(),
        alt.Shape("did:N", scale=alt.Scale(domain=did, range=[dict(zip(names, shapes, strict=True)).get(n, "triangle-down") for n in did]), legend=charts.shapes()),
        tooltip=tooltip,
    ).add_params(pick, brush)  # fmt: skip
    sessions = alt.Chart(made).transform_filter("datum.session").mark_bar(height=8, strokeWidth=2).encode(
        charts.axis(low, high, now, field="begin", grid=True), alt.X2("time"), y, charts.colour(),
        alt.Stroke("class:N", scale=alt.Scale(domain=list(palette.WORDS), range=palette.colours()), legend=None), tooltip=tooltip,
    )  # fmt: skip
    name = f"lanes-{st.session_state.get('brushes', 0)}"
    event = charts.draw(
        sessions + marks,
        name,
        "Swim lanes: changes, failures and sessions in time",
        18 * len(order),
        around=charts.LEGEND + 26,
        many=True,
        on_select=lambda: charts.taken(name, now),
        selection_mode=["pick", "window"],
    )
    return (event["selection"].get("pick") or [{}])[0].get("audit_id")


def main() -> None:
    """Draw the page."""
    now = scope.bar("Timeline", "What happened side by side, from days down to milliseconds")
    if not show.need_audit(now):
        return
    ends = charts.extent(now)
    if ends is None:
        show.nothing("No event of this log has a time.")
        return
    with show.guard("the timeline"):
        by, namespace, many, noise = controls(now)
        seconds = (ends[1] - ends[0]).total_seconds()
        frame, names, total = swimlanes.lanes(store.figure, seconds, many, by=by, namespace=namespace, noise=noise, **now.params)
        if not frame.height:
            show.nothing(
                "No change, failure or session here.", "Widen the range, choose another namespace, or show status updates too."
            )
            with st.container(horizontal=True):
                _zooms(now, *ends)
            return
        picked = draw(frame, names, now, *ends)
        with st.container(horizontal=True, vertical_alignment="center"):
            text = f"{total:,} events in {len(names)} lanes"
            if frame.height < total:
                text += f", drawn as {frame.height:,} marks: what falls together is one; zoom in to see each"
            st.caption(
                f"{text} · drag across to zoom in, click a mark for its event · bars are exec, attach and port-forward sessions"
            )
            _zooms(now, *ends)
        if picked:
            with st.container(border=True):
                evidence.event(picked, now, key="lane-evidence")
        with st.expander("The marks as a table", icon=":material/table_rows:"):
            row = show.table(
                frame,
                now,
                "lane-rows",
                columns=("stage_time", "events", "lane", "verb", "subresource", "code", "username", "client", "source", "line"),
                about="The marks as rows",
            )
            if row:
                show.links(row)


def _zooms(now: scope.Scope, low: dt.datetime, high: dt.datetime) -> None:
    if now.since or now.until:
        st.button("Zoom out", icon=":material/zoom_out:", on_click=_wider, args=(low, high), key="wider")
    show.whole(now)


def _wider(low: dt.datetime, high: dt.datetime) -> None:
    scope.set_window(low - (high - low) / 2, high + (high - low) / 2)


main()
