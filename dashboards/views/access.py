"""Access: who was refused and by what, who read secrets, opened sessions, acted as others, changed rights, got tokens."""

from __future__ import annotations

import altair as alt
import polars as pl
import streamlit as st
from parts import charts, evidence, palette, scope, show, store

_NOTHING = {
    "Secrets": "Nobody asked for a secret in this range.",
    "Sessions": "No exec, attach or port-forward in this range.",
    "Impersonation": "Nobody acted as somebody else in this range.",
    "Rights": "No role or binding was changed in this range.",
    "Tokens": "No token was asked for in this range.",
    "Anonymous": "No request without a name in this range.",
}
_ABOUT = {
    "Secrets": "Lists and watches first: they read every secret they are allowed to.",
    "Sessions": "The verb of a WebSocket exec is get; sessions are found by their subresource. The length is that of the connection.",
    "Impersonation": "The user is who authenticated; everything was done as the other.",
    "Rights": "Changes to roles, bindings and their cluster-wide kin; the apiserver's own reconciling last.",
    "Tokens": "Tokens issued by the TokenRequest API; the credential id is found again in user_extra where the token is used.",
    "Anonymous": "Answered ones first. Nobody: the request was refused before it had a user.",
}
_QUERY = {
    "Secrets": ("secrets", ("acting_as", "verb", "namespace", "requests", "refused", "secrets", "names", "client", "last_time")),
    "Sessions": ("sessions", ("time", "acting_as", "subresource", "command", "namespace", "name", "session_ms", "code", "container", "source_ip", "client")),
    "Impersonation": ("impersonation", ("username", "impersonated_username", "impersonated_groups", "requests", "failed", "kinds", "clients", "last_time")),
    "Rights": ("rbac", ("time", "acting_as", "verb", "resource", "namespace", "name", "role", "subjects", "outcome", "client")),
    "Tokens": ("tokens", ("time", "username", "namespace", "service_account", "audience", "seconds", "bound_to", "credential_id", "client")),
    "Anonymous": ("anonymous", ("username", "source_ip", "client", "verb", "thing", "code", "requests", "last_time")),
}  # fmt: skip
TABS = ("Denials", *_QUERY)
_DECIDERS = ("authentication", "impersonation", "authorization", "admission")  # in the order a request comes to them


def denials(now: scope.Scope) -> None:
    """Refusals by decider and user, then each of them."""
    deciders = store.figure("deciders", **now.params)
    if not deciders.height:
        show.nothing("Nobody was refused in this range.")
        return
    top = (
        deciders.group_by("username")
        .agg(pl.col("refused").sum())
        .sort("refused", "username", descending=[True, False])
        .head(12)["username"]
        .to_list()
    )
    made = charts.plain_columns(deciders.filter(pl.col("username").is_in(top)), "username", "decided_by")
    parts = [*_DECIDERS, *sorted(set(made["decided_by"]) - set(_DECIDERS))]
    chart = alt.Chart(made).mark_bar().encode(
        alt.X("refused:Q", title="refused requests", axis=alt.Axis(tickCount=8, tickMinStep=1)), alt.Y("username:N", sort="-x", title=None, axis=alt.Axis(labelLimit=330)),
        alt.Color("decided_by:N", scale=alt.Scale(domain=parts, range=palette.series()), legend=alt.Legend(orient="top", title=None)),
        tooltip=["username:N", alt.Tooltip("decided_by:N", title="decided by"), "refused:Q"],
    )  # fmt: skip
    st.caption("Refused requests by user and by the part of the apiserver that decided")
    charts.draw(chart, "deciders", "Refused requests by user and decider", 19 * len(top), around=charts.LEGEND + 14)
    answer = store.ask("denied", **now.params, limit=5000)
    st.markdown(f"**{answer.frame.height:,} refusals** · {now.span()}")
    show.notes(answer.notes)
    picked = show.table(
        answer.frame, now, "denied", columns=("time", "code", "decided_by", "username", "verb", "resource", "namespace", "name", "reason", "client", "subresource", "impersonator"),
        about="Refused requests",
    )  # fmt: skip
    if picked:
        with st.container(border=True):
            evidence.event(str(picked["audit_id"]), now, line=picked["line"], brief=True, key="denied-evidence")
    with st.container(horizontal=True):
        show.exports(answer.frame, "denied", "export-denied")


def listing(tab: str, now: scope.Scope) -> None:
    """One of the other tabs: its rows, their evidence, their export."""
    name, columns = _QUERY[tab]
    frame = store.figure(name, **now.params)
    st.caption(_ABOUT[tab])
    if not frame.height:
        show.nothing(_NOTHING[tab])
        return
    st.markdown(f"**{frame.height:,} {'row' if frame.height == 1 else 'rows'}** · {now.span()}")
    picked = show.table(frame, now, f"access-{name}", columns=columns, about=tab)
    if picked and picked.get("audit_id"):
        with st.container(border=True):
            evidence.event(str(picked["audit_id"]), now, brief=True, key=f"access-{name}-evidence")
    else:
        st.caption(":material/ads_click: Select a row to see the latest event behind it.")
    with st.container(horizontal=True):
        show.exports(frame, name, f"export-{name}")


def main() -> None:
    """Draw the page."""
    now = scope.bar("Access", "Refusals, secrets, sessions, acting as others, rights and tokens")
    if not show.need_audit(now):
        return
    tab = st.segmented_control(
        "Access", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
    )
    with show.guard("this list"):
        if tab == "Denials":
            denials(now)
        else:
            listing(str(tab), now)


main()
