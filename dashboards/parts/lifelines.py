"""The lanes of the timeline in pictures: lives as bars, deletions as crosses nobody overlooks, other marks by verb and outcome."""

from __future__ import annotations

import datetime as dt
from typing import Any

import altair as alt
import polars as pl
import streamlit as st

from auditlens.output import plain
from parts import charts, palette
from parts.scope import Scope

HEIGHT = 18  # pixels of a lane
_ALONE = ("verb", "subresource", "code", "username", "client", "name")  # known of marks that are one event
_GONE = "datum.did == 'delete' && datum.class == 'succeeded'"


def lanes(
    marks: pl.DataFrame, lives: pl.DataFrame | None, order: dict[str, int], now: Scope, low: dt.datetime, high: dt.datetime
) -> str | None:
    """The lanes in their order; the audit id of the mark that was clicked."""
    names, shapes = palette.verbs()
    labels = {lane: _label(lane, depth) for lane, depth in order.items()}
    made = _ready(marks, labels, now)
    did = [n for n in (*names, "dry-run", "read") if n in set(made["did"].to_list())]
    form = dict(zip(names, shapes, strict=True))
    x, y = charts.axis(low, high, now, grid=True), _lanes(list(labels.values()))
    pick = alt.selection_point(name="pick", fields=["audit_id"], on="click", clear="dblclick")
    tooltip = _tooltip(made)
    others = alt.Chart(made).transform_filter(f"!({_GONE})").mark_point(filled=True, size=46, opacity=0.85).encode(
        x, y, charts.colour(),
        alt.Shape("did:N", scale=alt.Scale(domain=did, range=[form.get(n, "stroke" if n == "dry-run" else "triangle-down") for n in did]), legend=charts.shapes()),
        tooltip=tooltip,
    ).add_params(pick, charts.brush())  # fmt: skip
    gone = alt.Chart(made).transform_filter(_GONE)
    ends = gone.mark_text(text="✕", fontSize=17, fontWeight="bold", color=palette.ink(), cursor="pointer").encode(
        x, y, tooltip=tooltip
    )
    layers = others + ends
    if lives is not None and lives.height:
        layers = _lives(lives, labels, now, low, high, y) + layers
    name = f"lanes-{st.session_state.get('brushes', 0)}"
    event = charts.draw(
        layers, name, "Swim lanes: lives, changes, failures and deletions in time", HEIGHT * len(order), around=charts.LEGEND + 26,
        many=True, on_select=lambda: charts.taken(name, now), selection_mode=["pick", "window"],
    )  # fmt: skip
    return _picked(event)


def sessions(marks: pl.DataFrame, now: Scope, low: dt.datetime, high: dt.datetime) -> str | None:
    """Sessions as bars from their beginning to their end, a lane for each user and what it was in."""
    made = _ready(marks, {lane: _label(lane, 0) for lane in marks["lane"].unique().to_list()}, now)
    order = made.sort("time")["lane"].unique(maintain_order=True).to_list()
    y = _lanes(order)
    pick = alt.selection_point(name="pick", fields=["audit_id"], on="click", clear="dblclick")
    chart = alt.Chart(made).mark_bar(height=9, strokeWidth=2).encode(
        charts.axis(low, high, now, field="begin", grid=True), alt.X2("time"), y, charts.colour(legend=False),
        alt.Stroke("class:N", scale=alt.Scale(domain=list(palette.WORDS), range=palette.colours()), legend=None), tooltip=_tooltip(made),
    ).add_params(pick)  # fmt: skip
    event = charts.draw(chart, "sessions", "Sessions in time", HEIGHT * len(order), on_select="rerun", selection_mode=["pick"])
    return _picked(event)


def _lives(lives: pl.DataFrame, labels: dict[str, str], now: Scope, low: dt.datetime, high: dt.datetime, y: alt.Y) -> Any:
    """A bar from the creation of a uid to its deletion."""
    seen = lives.with_columns(
        pl.col("lane").replace_strict(labels, default=None),
        *(pl.col(c).map_elements(lambda t: now.text(t, precise=True), return_dtype=pl.String).fill_null(none).alias(f"{c}_text")
          for c, none in (("created", "before the log"), ("deleted", "not in the log"))),
    ).select("lane", "uid", "begin", "end", "created_text", "deleted_text", "audit_id")  # fmt: skip
    made = charts.plain_columns(charts.wall(seen, now, "begin", "end"), "uid", "audit_id")
    return alt.Chart(made).mark_bar(height=8, color=palette.accent(), opacity=0.28, cornerRadius=2).encode(
        charts.axis(low, high, now, field="begin", grid=True), alt.X2("end"), y,
        tooltip=["lane:N", "uid:N", alt.Tooltip("created_text:N", title="created"), alt.Tooltip("deleted_text:N", title="deleted")],
    )  # fmt: skip


def _label(lane: str, depth: int) -> str:
    """A lane's name below its owner's."""
    return ("└" + "─" * (depth - 1) + " " if depth else "") + plain(lane)[:120]


def _lanes(labels: list[str]) -> alt.Y:
    room = charts.left(pl.Series(labels, dtype=pl.String), 330)
    axis = alt.Axis(labelLimit=330, grid=True, labelAlign="left", ticks=False, **room)
    return alt.Y("lane:N", title=None, sort=labels, scale=alt.Scale(domain=labels), axis=axis)


def _ready(marks: pl.DataFrame, labels: dict[str, str], now: Scope) -> pl.DataFrame:
    """The marks as the charts take them: lanes by their labels, times on the wall clock, no text that acts."""
    made = marks.with_columns(
        pl.when("session").then(pl.lit("exec")).otherwise(pl.col("did").str.replace("collection", "")).alias("did"),
        pl.col("received_time").fill_null(pl.col("stage_time")).alias("begin"), pl.col("lane").replace_strict(labels, default=None),
    ).select(
        "lane", "begin", "stage_time", "did", "class", "audit_id", "session", "events", *(c for c in _ALONE if c in marks.columns)
    )  # fmt: skip
    made = charts.wall(made.rename({"stage_time": "time"}), now, "time", "begin")
    return charts.plain_columns(
        made, *(c for c in ("username", "client", "name", "audit_id", "subresource") if c in made.columns)
    )


def _tooltip(made: pl.DataFrame) -> list[Any]:
    alone = [f"{c}:{'Q' if c == 'code' else 'N'}" for c in _ALONE]
    more = alone if "verb" in made.columns else [alt.Tooltip("events:Q", format=",")]
    return [
        alt.Tooltip("time_text:N", title="time"),
        "lane:N",
        "did:N",
        alt.Tooltip("class:N", title="outcome"),
        *more,
        "audit_id:N",
    ]


def _picked(event: Any) -> str | None:
    return (event["selection"].get("pick") or [{}])[0].get("audit_id")
