"""Event: one request by its audit id, with everything the lake holds about it, and what stands around it."""

from __future__ import annotations

import streamlit as st
from parts import around, evidence, scope, show

AROUND = {"Impact": around.impact, "As curl": around.curl, "Neighbours": around.neighbours}
TABS = (*evidence.TABS[:3], *AROUND, *evidence.TABS[3:])


def main() -> None:
    """Draw the page."""
    now = scope.bar("Event", "One request: who, what, when, from where, and the line it came from")
    if not show.need_lake(now):
        return
    wanted = st.text_input(
        "Audit id", key="audit_id", bind="query-params", placeholder="12345678-1234-1234-1234-123456789abc", max_chars=1024
    )
    line = st.query_params.get("line", "")
    if not wanted:
        show.nothing(
            "Which event?",
            "Paste an audit id; every row of every answer has one, and kubectl -v=8 shows it as the Audit-Id header.",
        )
        return
    with show.guard("the event"):
        found = evidence.head(wanted.strip(), now, line=int(line) if line.isdigit() else None, own=True)
        if found is None:
            return
        tab = st.segmented_control(
            "About the event", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
        )
        if tab in AROUND:
            AROUND[str(tab)](found[0], now)
        else:
            evidence.tabs(*found, str(tab), now)


main()
