"""Timeline: lives of objects, or what users and nodes did, with every change, failure and deletion as a mark; sessions apart."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import streamlit as st
from parts import charts, evidence, lifelines, scope, show, store, swimlanes

from auditlens.output import plain

LANES = ("objects", "users", "nodes")
_ANY = {"namespace": "all namespaces", "kind": "all kinds", "user": "all users"}
_ROWS = ("stage_time", "events", "lane", "verb", "subresource", "code", "username", "client", "source", "line")


def controls(now: scope.Scope) -> tuple[dict[str, Any], int]:
    """What the lanes are, what they are narrowed to, and how many are drawn; all of it in the URL."""
    known = store.figure("lane_filters", cluster=now.cluster)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        by = st.segmented_control("Lanes", LANES, key="by", bind="query-params", default="objects", required=True)
        with st.container(width=170):
            words = st.text_input(
                "Search", key="words", bind="query-params", type="search", placeholder="name, kind, user", max_chars=256,
                help="Lanes of what has this in its kind, namespace, name or user",
            )  # fmt: skip
        chosen: dict[str, str | None] = {}
        for what, every in _ANY.items():
            with st.container(width=137):
                values = known.filter(what=what)["value"].to_list()
                picked = scope.choice(what.capitalize(), [every, *values], what, plain, unsaid=every)
                chosen[what] = None if picked == every else picked
        many = st.number_input("At most", 5, 80, swimlanes.LANES, step=5, key="lanes", bind="query-params", width=95)
    return {"by": str(by), "words": words.strip() or None, "noise": scope.peek("noise").lower() == "true", **chosen}, int(many)


def told(shown: swimlanes.Lanes, by: str) -> str:
    """How much of all there is stands in the picture."""
    text = f"**{len(shown.names)} of {shown.total:,} {by}**, the busiest · {shown.events:,} events"
    if len(shown.names) == shown.total:
        text = f"**{shown.total:,} of {shown.total:,} {by}** · {shown.events:,} events"
    if shown.marks.height < shown.events:
        text += f", drawn as {shown.marks.height:,} marks: what falls together is one; zoom in to see each"
    return text


def panel(picked: str | None, now: scope.Scope, by: str) -> None:
    """Above the chart and as high with a mark as without, so that nothing moves: the event of the mark, else how to read it all."""
    with st.container(border=True, height=132):
        if picked:
            evidence.head(picked, now, key="lane-evidence")
            return
        st.markdown(":material/ads_click: **Click a mark for its event**; drag across to zoom in.")
        lives = (
            "A bar is an object's life by its uid, from its creation to its deletion **✕**; it runs to the edge where the log "
        )
        st.caption(
            (
                lives + "shows no beginning or no end. Children stand below their owner. "
                if by == "objects"
                else "**✕** is a deletion. "
            )
            + "Marks are shaped by what was done and coloured by outcome; exec, attach and port-forward sessions are apart, below."
        )


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
        options, many = controls(now)
        seconds = (ends[1] - ends[0]).total_seconds()
        shown = swimlanes.lanes(store.figure, seconds, many, **options, **now.params)
        if not shown.marks.height:
            show.nothing(
                "No change, failure or session here.", "Widen the range, choose other filters, or show status updates too."
            )
            with st.container(horizontal=True, vertical_alignment="center"):
                _noise()
                _zooms(now, *ends)
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(told(shown, options["by"]))
            _noise()
            _zooms(now, *ends)
        above = st.container()
        picked = _charts(shown, options, now, *ends)
        with above:
            panel(picked, now, options["by"])
        with st.expander("The marks as a table", icon=":material/table_rows:"):
            row = show.table(shown.marks, now, "lane-rows", columns=_ROWS, about="The marks as rows")
            if row:
                show.links(row)


def _charts(shown: swimlanes.Lanes, options: dict[str, Any], now: scope.Scope, low: dt.datetime, high: dt.datetime) -> str | None:
    """The lanes, and the sessions apart; the audit id of what was clicked."""
    lives: pl.DataFrame | None = None
    order = dict.fromkeys(shown.names, 0)
    if options["by"] == "objects":
        where = {k: options[k] for k in ("by", "namespace")}
        lives = swimlanes.lives(store.figure, shown, **where, cluster=now.cluster)
        order = swimlanes.tree(shown.found, lives)
        lives = swimlanes.bars(lives, low, high)
    marks, sessions = shown.marks.filter(~pl.col("session")), shown.marks.filter(pl.col("session"))
    picked = lifelines.lanes(marks, lives, order, now, low, high)
    if sessions.height:
        st.caption(f"**Sessions** · {sessions.height:,} exec, attach and port-forward")
        picked = lifelines.sessions(sessions, now, low, high) or picked
    return picked


def _noise() -> None:
    st.toggle("Status, leases, events", key="noise", bind="query-params", help="What controllers write all the time")


def _zooms(now: scope.Scope, low: dt.datetime, high: dt.datetime) -> None:
    if now.since or now.until:
        st.button("Zoom out", icon=":material/zoom_out:", on_click=_wider, args=(low, high), key="wider")
    show.whole(now)


def _wider(low: dt.datetime, high: dt.datetime) -> None:
    scope.set_window(low - (high - low) / 2, high + (high - low) / 2)


main()
