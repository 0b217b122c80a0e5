"""What stands around a request: what it brought about, how to repeat it, and what the same hand did just before and after."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import streamlit as st

import auditlens
from auditlens.answers.questions import find
from parts import answers, show, store
from parts.scope import Scope

MINUTE = dt.timedelta(minutes=1)
_NEAREST = 20  # requests to each side, unless all are asked for
_EFFECTS = ("depth", "time", "username", "verb", "resource", "namespace", "name", "effect", "rule", "sure")
_NEIGHBOURS = (
    "after",
    "time",
    "verb",
    "resource",
    "subresource",
    "namespace",
    "name",
    "code",
    "outcome",
    "client",
    "source_ip",
    "request_uri",
)


def impact(row: dict[str, Any], now: Scope) -> None:
    """Everything the request brought about, as `auditlens impact` tells it."""
    minutes = st.number_input("Minutes after it", 1, 24 * 60, 10, key="minutes", bind="query-params", width=160)
    got = store.call("impact", auditlens.impact, row["audit_id"], minutes=float(minutes))
    hint = f"Effects are looked for in the {minutes} minutes after the request."
    answers.draw(got, "impact", now, nothing="It brought about nothing that the log shows.", hint=hint, columns=_EFFECTS)


def curl(row: dict[str, Any], now: Scope) -> None:
    """The request as a command that repeats it."""
    got = store.call("curl", lambda lake, audit_id: auditlens.curl(audit_id, lake), row["audit_id"])
    st.caption("$TOKEN, $CACERT and $APISERVER stand for what no log should hold.")
    st.code(show.pretty(got.text), language="bash", wrap_lines=True)
    show.notes(got.notes)


def neighbours(row: dict[str, Any], now: Scope) -> None:
    """What the same user, credential or address did within a minute of it, as the question `session` tells it."""
    when = row["stage_time"]
    if when is None:
        show.nothing("The event has no time.", "What stands around it cannot be told.")
        return
    extra = (
        {e["key"]: e["value"] for e in row["user_extra"] or ()}
        if isinstance(row["user_extra"], list)
        else row["user_extra"] or {}
    )
    credential = (extra.get("authentication.kubernetes.io/credential-id") or [None])[0]
    same = {
        "user": row["impersonated_username"] or row["username"], "credential": credential,
        "source_ip": (row["source_ips"] or [None])[-1],
    }  # fmt: skip
    words = {"user": "the same user", "credential": "the same credential", "source_ip": "the same address"}
    known = [k for k, v in same.items() if v]
    if not known:
        show.nothing("The event names no user and no address.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        by = st.segmented_control(
            "Requests of", known, key="by", bind="query-params", default=known[0], required=True, format_func=words.__getitem__,
            label_visibility="collapsed",
        )  # fmt: skip
        every = st.toggle("The whole minute", key="minute", bind="query-params", help=f"Else the nearest {_NEAREST} to each side")
    asked = answers.asked(find("session"), now, {by: same[str(by)], "since": when - MINUTE, "until": when + MINUTE})
    got = store.ask("session", **asked)
    frame = got.frame.with_columns(((pl.col("time") - when).dt.total_microseconds() / 1e6).alias("after"))
    mine = pl.col("audit_id") == row["audit_id"]
    before, after = frame.filter(~mine & (pl.col("after") < 0)), frame.filter(~mine & (pl.col("after") >= 0))
    if not every:
        frame = pl.concat([before.tail(_NEAREST), frame.filter(mine), after.head(_NEAREST)])
    st.caption(f"In the minute before it {before.height:,} requests, in the minute after it {after.height:,}")
    show.notes(got.notes)
    config = {"after": st.column_config.NumberColumn("seconds", format="%+.3f", width=80, help="From the event; its own is 0")}
    picked = show.table(
        frame, now, "neighbours", columns=_NEIGHBOURS, config=config, about="Requests around this one, by the same hand"
    )
    if picked:
        show.links(picked)
