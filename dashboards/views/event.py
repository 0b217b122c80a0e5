"""Event: one request by its audit id, with everything the lake holds about it."""

from __future__ import annotations

import streamlit as st
from parts import evidence, scope, show


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
        evidence.event(wanted.strip(), now, line=int(line) if line.isdigit() else None)


main()
