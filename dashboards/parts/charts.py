"""Charts in one hand: time in the zone shown, outcome colours from the palette, one way to brush a window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl
import streamlit as st

from auditlens.output import plain
from parts import palette, store
from parts.scope import Scope, set_window

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
COUNTS = 42  # pixels left of a plot for its counts
LEGEND = 62  # pixels around a plot with one row of legend
_CANVAS = {"embedOptions": {"renderer": "canvas"}}  # thousands of marks stay fluid; SVG is sharper and readable for tests
_FONT = "Source Sans, sans-serif"
_STEPS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
    604800,
)


def extent(scope: Scope) -> tuple[dt.datetime, dt.datetime] | None:
    """The window's ends, the log's where it is open; None for an empty log."""
    times = [
        (f.min_time, f.max_time)
        for name in ("audit", "klog")
        for f in store.lake().snapshot().files(name)
        if f.min_time and f.max_time and scope.cluster in (None, f.cluster)
    ]
    if not times:
        return None
    first, last = min(t[0] for t in times), max(t[1] for t in times)
    low, high = scope.since or first, scope.until or last
    return (low, high) if low < high else (low, low + dt.timedelta(seconds=1))


def step(low: dt.datetime, high: dt.datetime, most: int = 120) -> float:
    """A round number of seconds that cuts the window into at most so many buckets."""
    span = (high - low).total_seconds()
    return next((s for s in _STEPS if span / s <= most), _STEPS[-1])


def wall(frame: pl.DataFrame, scope: Scope, *columns: str) -> pl.DataFrame:
    """Times as milliseconds of the zone's wall clock, which the charts' UTC scales then show as they are."""
    made = [
        pl.col(c).dt.convert_time_zone(scope.zone).dt.replace_time_zone(None).dt.epoch("ms").cast(pl.Float64).alias(c)
        for c in columns
    ]
    texts = [pl.col(c).dt.convert_time_zone(scope.zone).dt.strftime("%Y-%m-%d %H:%M:%S%.3f").alias(f"{c}_text") for c in columns]
    return frame.with_columns(*made, *texts)


def moment(wall_ms: float, scope: Scope) -> dt.datetime:
    """The moment that a chart's milliseconds stand for."""
    naive = (_EPOCH + dt.timedelta(milliseconds=wall_ms)).replace(tzinfo=None)
    return naive.replace(tzinfo=scope.tz).astimezone(dt.UTC)


def axis(low: dt.datetime, high: dt.datetime, scope: Scope, *, field: str = "time", grid: bool = False) -> alt.X:
    """The time axis of a window: linear in wall-clock milliseconds, with round ticks of our own choosing."""
    first, last = wall(pl.DataFrame({"t": [low, high]}), scope, "t")["t"].to_list()
    seconds = (last - first) / 1000
    every_ms = next((s for s in _STEPS if seconds / s <= 9), seconds / 8) * 1000
    ticks = [n * every_ms for n in range(-int(-first // every_ms), int(last // every_ms) + 1)]
    return alt.X(
        f"{field}:Q", title=None, scale=alt.Scale(domain=[first, last], nice=False, zero=False),
        axis=alt.Axis(grid=grid, values=ticks, labelOverlap=True, labelExpr=f"utcFormat(datum.value, '{_format(every_ms / 1000)}')"),
    )  # fmt: skip


def _format(step: float) -> str:
    """Labels that say what ticks so many seconds apart need."""
    if step < 1:
        return "%H:%M:%S.%L"
    if step < 60:
        return "%H:%M:%S"
    return "%H:%M" if step < 3600 else "%m-%d %H:%M" if step < 86_400 else "%Y-%m-%d"


def buckets(low: dt.datetime, high: dt.datetime, seconds: float) -> int:
    """How many buckets of so many seconds the window touches, as time_bucket cuts them."""
    return int(high.timestamp() // seconds - low.timestamp() // seconds) + 1


def plain_columns(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Texts of the log made harmless before they become labels and tooltips."""
    return frame.with_columns(
        pl.Series(c, [None if v is None else plain(v)[:120] for v in frame[c].to_list()], pl.String) for c in columns
    )


def left(labels: pl.Series, most: int) -> dict[str, float]:
    """Room for labels that begin at the left, at most so many pixels."""
    longest: int = labels.str.len_chars().max() or 0  # type: ignore[assignment]
    room = min(most, 6.1 * longest + 8)
    return {"labelPadding": room, "minExtent": room, "maxExtent": room}


def colour(title: str | None = None, *, legend: bool = True) -> alt.Color:
    """The colour of `class`, the same everywhere."""
    return alt.Color(
        "class:N", title=title, scale=alt.Scale(domain=list(palette.WORDS), range=palette.colours()),
        legend=alt.Legend(orient="top", direction="horizontal", symbolType="square", title=None, offset=4) if legend else None,
    )  # fmt: skip


def shapes() -> alt.Legend:
    """The legend of shapes, below the chart and in the colour of text."""
    return alt.Legend(orient="bottom", title=None, offset=4, symbolFillColor=palette.ink(), symbolStrokeColor=palette.ink())


def styled(chart: Any, height: int | None = None, *, many: bool = False) -> Any:
    """The look of all charts: quiet rules, no frame, the page's own ground; `many` marks are painted, not laid out."""
    chart = chart.properties(height=height) if height else chart
    words = {"labelColor": palette.ink(), "titleColor": palette.ink(), "labelFontSize": 11, "titleFontSize": 11}
    return (
        chart.properties(padding={"left": 2, "right": 8, "top": 4, "bottom": 2}, **({"usermeta": _CANVAS} if many else {}))
        .configure(background="transparent", font=_FONT, autosize={"type": "fit-x", "contains": "padding"})
        .configure_view(strokeWidth=0)
        .configure_axis(
            **words, titleFontWeight="normal", domainColor=palette.quiet(), tickColor=palette.quiet(), gridColor=palette.quiet(),
            gridOpacity=0.35, labelPadding=4,
        )
        .configure_legend(**words, symbolSize=90, padding=0, columnPadding=14)
        .configure_text(color=palette.ink(), font=_FONT)
    )  # fmt: skip


def draw(chart: Any, key: str, about: str, height: int, *, around: int = 34, many: bool = False, **options: Any) -> Any:
    """Draw a chart across its column; `height` is the plot's, `around` what its axis and legends take."""
    return st.altair_chart(styled(chart, height + around, many=many), width="stretch", theme=None, key=key, alt=about, **options)


def brushed(chart: Any, scope: Scope, key: str, about: str, height: int, around: int = LEGEND) -> None:
    """Draw a chart whose brush (`window`, on x) becomes the window of every page."""
    name = f"{key}-{st.session_state.get('brushes', 0)}"  # a new chart after each brush: its own is gone then
    draw(chart, name, about, height, around=around, on_select=lambda: taken(name, scope), selection_mode=["window"])


def brush() -> alt.Parameter:
    """The brush for `brushed`."""
    mark = alt.BrushConfig(fill=palette.accent(), fillOpacity=0.15, stroke=palette.accent())
    return alt.selection_interval(name="window", encodings=["x"], mark=mark)


def taken(name: str, scope: Scope) -> None:
    """Make the brush of a drawn chart the window."""
    picked: Mapping[str, Any] = st.session_state[name]["selection"].get("window") or {}
    ends = next((v for v in picked.values() if isinstance(v, (list, tuple)) and len(v) == 2), None)
    if ends is None or ends[1] - ends[0] < 1:
        return
    set_window(moment(ends[0], scope), moment(ends[1], scope))
    st.session_state["brushes"] = st.session_state.get("brushes", 0) + 1


def traffic(frame: pl.DataFrame, scope: Scope, low: dt.datetime, high: dt.datetime, seconds: float) -> Any:
    """Requests over time, stacked by outcome class, failures on top of what went well."""
    order = {c: i for i, c in enumerate(palette.WORDS)}
    made = (
        wall(frame, scope, "time")
        .with_columns(
            (pl.col("time") + seconds * 1000).alias("end"), pl.col("class").replace_strict(order, default=9).alias("order")
        )
        .sort("time", "order")
        .with_columns(pl.col("requests").cum_sum().over("time").alias("top"))
        .with_columns((pl.col("top") - pl.col("requests")).alias("base"))
    )
    return (
        alt.Chart(made)
        .mark_rect(stroke=None)
        .encode(
            axis(low, high, scope), alt.X2("end"),
            alt.Y("base:Q", title=None, axis=alt.Axis(tickCount=4, grid=True, minExtent=COUNTS, maxExtent=COUNTS)), alt.Y2("top"),
            colour(),
            tooltip=[
                alt.Tooltip("time_text:N", title="from"), alt.Tooltip("class:N", title="outcome"),
                alt.Tooltip("requests:Q", title="requests", format=","),
            ],
        )
        .add_params(brush())
    )  # fmt: skip


def every(seconds: float) -> str:
    """A bucket's length in words."""
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
