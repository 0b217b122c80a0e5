"""Overview: is the log complete and fresh, what happened when, what is unusual, who and what was busy."""

from __future__ import annotations

import datetime as dt

import altair as alt
import polars as pl
import streamlit as st
from parts import answers, charts, palette, scope, show, store

from auditlens.forensics.completeness import Flaw, gaps

BUCKETS = 120


def completeness(shape: pl.DataFrame, now: scope.Scope, low: dt.datetime, high: dt.datetime, seconds: float) -> None:
    """The bar that comes first: where each apiserver's log has events, and what is known to be missing."""
    lines = store.figure("klog_shape", step=seconds, **now.params)
    events_at = shape.drop_nulls("time").select("instance", "time", "events")
    own = events_at.join(lines, on="instance", how="anti")  # copies of events in the apiserver's log are lines of it
    frame = (
        pl.concat([own, lines], how="vertical_relaxed")
        .group_by("instance", "time")
        .agg(pl.col("events").sum())
        .sort("instance", "time")
    )
    events, bodies, cut = (int(shape.filter(f)["events"].sum()) for f in (pl.lit(True), pl.col("bodies"), pl.col("cut")))
    imports = store.figure("import_sums").row(0, named=True)
    rejected, repeated, errors = imports["rejects"], imports["duplicates"], imports["errors"]
    silent = store.call("gaps", gaps, **now.params)
    age = dt.datetime.now(dt.UTC) - high
    verdict = "complete as far as the log tells" if not (silent or rejected or errors) else "with holes"
    cells = st.columns([1.3, 1, 1, 1, 1.4])
    cells[0].metric("Log", f"{show.number(events)} events", help="Events in the range: every recorded stage of a request")
    cells[1].metric("Last event", show.ago(age), help=f"The last event of the range is of {now.text(high)}")
    cells[2].metric(
        "Rejected records", show.number(rejected), help="Records of the whole lake that could not be read; see Ingest"
    )
    cells[3].metric("Duplicates left out", show.number(repeated), help="Records the lake held already; they are counted once")
    share = f"{100 * bodies / events:.0f} %" if events else "–"
    cells[4].metric(
        "With both bodies",
        share,
        help="Share of events at level RequestResponse: only these show what changed, and names the server made up",
    )
    told = [
        _gap_words(silent, now), f"{rejected:,} records could not be read" if rejected else "",
        f"{errors:,} sources were not read to their end" if errors else "", f"{cut:,} events were cut" if cut else "",
    ]  # fmt: skip
    st.caption(f"**Completeness** · {verdict} · " + " · ".join(t for t in told if t))
    if frame.height:
        _strip(frame, now, low, high, seconds)
    if st.toggle(
        "Look for everything that may be missing",
        key="holes",
        bind="query-params",
        help="Gaps, requests without an end, jumps of resource versions, cut and doubled events; takes longer",
    ):
        answers.completeness(now)


def _gap_words(silent: list[Flaw], now: scope.Scope) -> str:
    """The gaps as `auditlens completeness` finds them, the longest by its time."""
    if not silent:
        return "no gap"
    longest = max(silent, key=lambda g: (g.last - g.first) if g.first and g.last else dt.timedelta())
    return (
        f"{len(silent):,} {'gap' if len(silent) == 1 else 'gaps'}, the longest {longest.what} from {now.text(longest.first)} on"
    )


def _strip(frame: pl.DataFrame, now: scope.Scope, low: dt.datetime, high: dt.datetime, seconds: float) -> None:
    names = frame["instance"].unique().sort().to_list()
    made = charts.plain_columns(charts.wall(frame, now, "time"), "instance").with_columns(
        (pl.col("time") + seconds * 1000).alias("end")
    )
    beside = alt.Axis(labels=False, ticks=False, domain=False, minExtent=charts.COUNTS, maxExtent=charts.COUNTS)
    row = alt.Y("instance:N", title=None, axis=beside, scale=alt.Scale(paddingInner=0.15 if len(names) == 1 else 0.55))
    chart = (
        alt.Chart(made)
        .mark_rect(color=palette.accent())
        .encode(
            charts.axis(low, high, now), alt.X2("end"), row,
            alt.Opacity("events:Q", scale=alt.Scale(type="sqrt", range=[0.35, 1]), legend=None),
            tooltip=[alt.Tooltip("time_text:N", title="from"), alt.Tooltip("instance:N"), alt.Tooltip("events:Q", format=",")],
        )
    )  # fmt: skip
    height = 16
    if len(names) > 1:
        height = 30
        first = made.group_by("instance").agg(pl.col("time").min()).with_columns(pl.lit(made["time"].min()).alias("time"))
        words = alt.Chart(first).mark_text(align="left", baseline="bottom", dy=-9, fontSize=10, opacity=0.8)
        chart = chart + words.encode(alt.X("time:Q"), row, text="instance:N")
    charts.draw(
        chart,
        "coverage",
        "Where the log has events, by source; the apiserver's log counts its own lines",
        height * min(len(names), 8),
    )


def answered(shape: pl.DataFrame) -> pl.DataFrame:
    """Requests by stretch and outcome class."""
    rows = shape.drop_nulls("time").filter("answered")
    return rows.group_by("time", "class").agg(pl.col("events").sum().alias("requests")).sort("time", "class")


def requests(frame: pl.DataFrame, now: scope.Scope, low: dt.datetime, high: dt.datetime, seconds: float) -> None:
    """Requests over time by outcome, with the brush; the window's figures below it."""
    with st.container(horizontal=True, vertical_alignment="center"):  # at the left: the chart's own tools come up at the right
        st.subheader(
            f"Requests per {charts.every(seconds)} by outcome", anchor=False, width="content",
            help="Drag over the chart to make that time the range of every page",
        )  # fmt: skip
        show.whole(now)
    charts.brushed(charts.traffic(frame, now, low, high, seconds), now, "traffic", "Requests over time by outcome class", 150)
    totals = store.figure("totals", **now.params).row(0, named=True)
    cells = st.columns(8)
    of = max(totals["requests"], 1)
    for cell, (label, value, help) in zip(
        cells,
        (
            ("Requests", show.number(totals["requests"]), "One for each request that was answered"),
            ("Denied", show.number(totals["denied"]), f"401 and 403: {100 * totals['denied'] / of:.1f} %"),
            (
                "Rejected",
                show.number(totals["rejected"]),
                f"Other 4xx, such as not found and conflict: {100 * totals['rejected'] / of:.1f} %",
            ),
            ("Failed", show.number(totals["failed"]), f"5xx and panics: {100 * totals['failed'] / of:.1f} %"),
            ("Users", show.number(totals["users"]), "Different user names, service accounts and nodes among them"),
            ("Median", show.milliseconds(totals["p50"]), "Latency without watches and sessions; approximate"),
            ("p95", show.milliseconds(totals["p95"]), "95 of 100 requests are quicker"),
            ("p99", show.milliseconds(totals["p99"]), "99 of 100 requests are quicker"),
        ),
        strict=True,
    ):
        cell.metric(label, value, help=help)


def peaks(frame: pl.DataFrame, buckets: int) -> pl.DataFrame:
    """Stretches with unusually many refusals or failures: over three deviations above their mean, and five at least."""
    bad = frame.filter(pl.col("class") != "succeeded")
    usual = bad.group_by("class").agg(
        (pl.col("requests").sum() / buckets).alias("mean"), (pl.col("requests").pow(2).sum() / buckets).alias("square")
    )
    over = (pl.col("requests") - pl.col("mean")) / (pl.col("square") - pl.col("mean") ** 2).clip(lower_bound=0).sqrt().clip(
        lower_bound=0.1
    )
    found = bad.join(usual, on="class").with_columns(over.alias("over")).filter((pl.col("requests") >= 5) & (pl.col("over") > 3))
    return found.sort("over", "time", descending=[True, False]).head(8).drop("mean", "square", "over")


def unusual(traffic: pl.DataFrame, now: scope.Scope, low: dt.datetime, high: dt.datetime, seconds: float) -> None:
    """Spikes of refusals and failures; who is seen for the first time."""
    left, right = show.halves("unusual")
    with left:
        st.subheader(
            "Spikes",
            anchor=False,
            help="Stretches with more refusals or failures than three deviations above their mean, and five at least",
        )
        frame = peaks(traffic, charts.buckets(low, high, seconds))
        if frame.height:
            times = frame["time"].dt.epoch("us").unique().sort().to_list()
            more = store.figure("spikes", step=seconds, times=times, **now.params)
            frame = frame.join(
                more.with_columns(pl.col("time").cast(frame["time"].dtype)),
                on=["time", "class"],
                how="left",
                maintain_order="left",
            )
            picked = show.table(
                frame, now, "spikes", columns=("time", "class", "requests", "mostly", "doing"), height=show.tall(frame.height, 7),
                config={"time": st.column_config.DatetimeColumn("time", format="HH:mm:ss" if high - low < dt.timedelta(days=1) else "MM-DD HH:mm", timezone=now.zone, width=75), "mostly": st.column_config.TextColumn("mostly by"), "doing": st.column_config.TextColumn("mostly doing")},
                about="Spikes of refusals and failures",
            )  # fmt: skip
            if picked:
                show.links(picked | {"username": picked["mostly"]})
        else:
            show.nothing("No spike in this range.", "Refusals and failures came evenly, or not at all.")
    with right:
        first = min((f.min_time for f in store.lake().snapshot().files("audit") if f.min_time), default=low)
        whole = low <= first + dt.timedelta(seconds=1)
        baseline = low + (high - low) / 4 if whole else low
        st.subheader("First seen", anchor=False, help="Users, programs and addresses that the log does not show before")
        answers.small("first-seen", now, nothing="Nobody new in this range.", before=scope.exact(baseline), limit=50)
        st.caption(
            f"New means not seen before {now.text(baseline)}"
            + (", the first quarter of the log." if whole else ", the start of the range.")
        )


def busy(now: scope.Scope) -> None:
    """Who makes the most requests, and what was changed most."""
    left, right = show.halves("busy")
    with left:
        st.subheader("Top talkers", anchor=False)
        answers.small("top", now, nothing="No request in this range.", user="value", limit=20)
    with right:
        st.subheader("Most changed objects", anchor=False, help="Leases, Events and dry runs are left out")
        answers.small("most-changed", now, nothing="Nothing was changed in this range.", user="mostly_by", limit=20)


def main() -> None:
    """Draw the page."""
    now = scope.bar("Overview", "Is the log whole, what happened, what stands out")
    if not show.need_audit(now):
        return
    ends = charts.extent(now)
    if ends is None:
        show.nothing("No event of this log has a time.")
        return
    with show.guard("the overview"):
        seconds = charts.step(*ends, BUCKETS)
        shape = store.figure("shape", step=seconds, **now.params)
        traffic = answered(shape)
        completeness(shape, now, *ends, seconds)
        requests(traffic, now, *ends, seconds)
        unusual(traffic, now, *ends, seconds)
        busy(now)


main()
