"""An object's lineage in pictures: what caused what, and who owned whom when."""

from __future__ import annotations

import datetime as dt
from typing import Any

import altair as alt
import polars as pl
import streamlit as st

from auditlens.output import plain
from parts import charts, palette
from parts.scope import Scope

_DRAWN = 40  # bars of a family


def causes(ordered: list[dict[str, Any]], now: Scope) -> str | None:
    """The links of a chain drawn from the root to the effect; the audit id of the box that was clicked."""
    made = pl.DataFrame([
        {"n": i, "who": plain(x["username"] or "nobody"),
         "did": plain(f"{x['verb']} {x['resource']}" + (f"/{x['subresource']}" if x["subresource"] else "")),
         "name": plain(str(x["name"] or "")), "effect": plain(str(x["effect"]))[:110], "rule": plain(str(x["rule"]))[:140], "sure": str(x["sure"]),
         "when": now.text(x["time"], precise=True), "audit_id": plain(str(x["audit_id"])), "kind": "root" if i == 0 else "link"}
        for i, x in enumerate(ordered)
    ])  # fmt: skip
    base = alt.Chart(made).encode(alt.Y("n:O", axis=None, sort=None, scale=alt.Scale(paddingInner=0.22, paddingOuter=0)))
    box = base.mark_rect(cornerRadius=6, stroke=palette.accent(), fillOpacity=0.14, fill=palette.accent()).encode(
        x=alt.value(0), x2=alt.value("width"), strokeWidth=alt.condition("datum.kind == 'root'", alt.value(2.5), alt.value(1)),
        tooltip=["who:N", "did:N", "name:N", "effect:N", "rule:N", "sure:N", "when:N", "audit_id:N"],
    ).add_params(alt.selection_point(name="node", fields=["audit_id"], on="click", clear="dblclick"))  # fmt: skip

    def line(n: int, expression: str, **look: Any) -> Any:
        """The n-th of the four lines of a box, as wide as the box."""
        style = {"fontSize": 11, "limit": alt.ExprRef("width - 24"), "align": "left", **look}
        text = base.transform_calculate(line=expression).mark_text(baseline="middle", dy=17 * (n - 1.5), **style)
        return text.encode(x=alt.value(12), text="line:N")

    lines = (
        line(0, "datum.who", fontSize=12, fontWeight="bold")
        + line(1, "datum.did + ' ' + datum.name")
        + line(2, "datum.effect", opacity=0.8)
        + line(3, "datum.when + '  ·  ' + datum.sure + '  ·  ' + datum.rule", opacity=0.8)
    )
    arrow = base.transform_filter(f"datum.n < {len(ordered) - 1}").mark_text(text="↓", fontSize=13, dy=47, color=palette.accent())
    arrow = arrow.encode(x=alt.value(24))
    st.caption("From the root (top) to the effect. Click a box to see its event.")
    event = charts.draw(
        box + lines + arrow,
        "why-chart",
        "The chain of causes, root first",
        92 * len(ordered),
        around=6,
        on_select="rerun",
        selection_mode=["node"],
    )
    picked: str | None = (event["selection"].get("node") or [{}])[0].get("audit_id")
    return picked


def family(frame: pl.DataFrame, now: Scope) -> None:
    """Bars of owners and owned objects in time."""
    indent = pl.when(pl.col("depth") > 1).then(pl.concat_str(
        pl.lit("└"), pl.lit("─").repeat_by((pl.col("depth") - 2).clip(lower_bound=0)).list.join(""), pl.lit(" "))).otherwise(pl.lit(""))  # fmt: skip
    made = charts.plain_columns(charts.wall(frame.with_columns(
        pl.concat_str(indent, "resource", pl.lit("/"), "name").alias("thing")), now, "first_time", "last_time"), "thing", "resource")  # fmt: skip
    low, high = frame["first_time"].min(), frame["last_time"].max()
    assert isinstance(low, dt.datetime) and isinstance(high, dt.datetime)
    margin = max((high - low) / 50, dt.timedelta(milliseconds=5))
    chart = alt.Chart(made.head(_DRAWN).rename({"first_time": "time"})).mark_bar(height=8, color=palette.accent(), stroke=palette.accent(), strokeWidth=2).encode(
        charts.axis(low - margin, high + margin, now, grid=True), alt.X2("last_time"),
        alt.Y("thing:N", sort=None, title=None, axis=alt.Axis(labelLimit=320, labelAlign="left", ticks=False, **charts.left(made.head(_DRAWN)["thing"], 320))),
        tooltip=["relation:N", "depth:Q", "thing:N", alt.Tooltip("first_time_text:N", title="first seen"), alt.Tooltip("last_time_text:N", title="last seen")],
    )  # fmt: skip
    charts.draw(chart, "family-chart", "Owner and owned objects in time", 20 * min(made.height, _DRAWN))
    st.caption(
        "Owners first, then what it owns, and what that owns; a bar is from the first to the last answer that says so."
        + (f" Drawn are the first {_DRAWN} of {frame.height:,}." if frame.height > _DRAWN else "")
    )
