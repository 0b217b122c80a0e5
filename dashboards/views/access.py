"""Access: who was refused and by what, who read secrets, opened sessions, acted as others, changed rights, got tokens."""

from __future__ import annotations

import altair as alt
import polars as pl
import streamlit as st
from parts import answers, charts, palette, scope, show, store

# A tab is a question; what it says where there is nothing, and what its reader must know.
TABS = {
    "Denials": ("denied", "Nobody was refused in this range.", ""),
    "Secrets": ("secret-access", "Nobody asked for a secret in this range.", "A list or watch reads every secret it is allowed to."),
    "Sessions": (
        "exec-sessions", "No exec, attach or port-forward in this range.",
        "The verb of a WebSocket exec is get; sessions are found by their subresource. The length is that of the connection.",
    ),
    "Impersonation": ("impersonation", "Nobody acted as somebody else in this range.", ""),
    "Rights": ("rbac-changes", "No role or binding was changed in this range.", ""),
    "Tokens": (
        "token-lineage", "No token was issued or used in this range.",
        "The id of a credential is written where it is issued, and again with each request that used it.",
    ),
    "Anonymous": ("anonymous-requests", "No request without a name in this range.", ""),
}  # fmt: skip
_DECIDERS = ("authentication", "impersonation", "authorization", "admission")  # in the order a request comes to them


# What is seen first at 1280 pixels: what became of it, who, and what it was about; the others follow.
COLUMNS = {
    "denied": ("time", "code", "username", "reason", "verb", "resource", "name", "decided_by", "namespace", "wanted", "impersonator", "identity",
               "client", "source_ip", "source", "line"),
    "impersonation": ("outcome", "time", "impersonator", "username", "wanted", "verb", "resource", "name", "refusal", "namespace", "identity",
                      "client", "source_ip", "source", "line"),
    "rbac-changes": ("outcome", "time", "username", "verb", "grants", "name", "namespace", "resource", "rules", "decision_reason", "impersonator",
                     "identity", "client", "source", "line"),
}  # fmt: skip


def deciders(now: scope.Scope) -> None:
    """Refusals by user and by the part of the apiserver that decided."""
    frame = store.figure("deciders", **now.params)
    if not frame.height:
        return
    sums = frame.group_by("username").agg(pl.col("refused").sum())
    top = sums.sort("refused", "username", descending=[True, False]).head(12)["username"].to_list()
    made = charts.plain_columns(frame.filter(pl.col("username").is_in(top)), "username", "decided_by")
    parts = [*_DECIDERS, *sorted(set(made["decided_by"]) - set(_DECIDERS))]
    chart = alt.Chart(made).mark_bar().encode(
        alt.X("refused:Q", title="refused requests", axis=alt.Axis(tickCount=8, tickMinStep=1)), alt.Y("username:N", sort="-x", title=None, axis=alt.Axis(labelLimit=330)),
        alt.Color("decided_by:N", scale=alt.Scale(domain=parts, range=palette.series()), legend=alt.Legend(orient="top", title=None)),
        tooltip=["username:N", alt.Tooltip("decided_by:N", title="decided by"), "refused:Q"],
    )  # fmt: skip
    st.caption("Refused requests by user and by the part of the apiserver that decided")
    charts.draw(chart, "deciders", "Refused requests by user and decider", 19 * len(top), around=charts.LEGEND + 14)


def main() -> None:
    """Draw the page."""
    now = scope.bar("Access", "Refusals, secrets, sessions, acting as others, rights and tokens")
    if not show.need_audit(now):
        return
    tab = st.segmented_control(
        "Access", list(TABS), key="tab", bind="query-params", default="Denials", required=True, label_visibility="collapsed"
    )
    question, nothing, about = TABS[str(tab)]
    with show.guard("this list"):
        if tab == "Denials":
            deciders(now)
        answers.table(question, now, nothing=nothing, about=about, columns=COLUMNS.get(question, ()))


main()
