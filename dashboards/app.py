"""The dashboard: an investigation in a browser; this file only says which pages there are."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

import streamlit as st
from parts import login, show, store

from auditlens.faults import trace

ICON = str(Path(__file__).with_name("icon.svg"))  # a file of ours: a named icon would be fetched from elsewhere

STYLE = Path(__file__).with_name("style.css")


def main() -> None:
    """Route to a page; every page is a URL."""
    st.set_page_config(page_title="auditlens", page_icon=ICON, layout="wide")
    st.html(STYLE)
    inside = login.allowed()
    if inside:
        store.refresh()
    pages = {
        "See": [
            st.Page("views/overview.py", title="Overview", icon=":material/monitoring:", default=True),
            st.Page("views/timeline.py", title="Timeline", icon=":material/view_timeline:"),
        ],
        "Investigate": [
            st.Page("views/ask.py", title="Ask", icon=":material/help_center:"),
            st.Page("views/object.py", title="Object", icon=":material/deployed_code:"),
            st.Page("views/event.py", title="Event", icon=":material/receipt_long:"),
        ],
        "Watch over": [
            st.Page("views/access.py", title="Access", icon=":material/lock_person:"),
            st.Page("views/performance.py", title="Performance", icon=":material/speed:"),
            st.Page("views/policy.py", title="Policy", icon=":material/policy:"),
        ],
        "Lake": [st.Page("views/ingest.py", title="Ingest", icon=":material/move_to_inbox:")],
    }
    page = st.navigation(pages, position="sidebar" if inside else "hidden")
    if not inside:
        return
    with st.sidebar:
        st.caption(
            f"auditlens · {show.literal(Path(store.path()).name, 40)}", help=f"The lake is {show.literal(store.path(), 500)}"
        )
    try:
        page.run()
    except Exception as e:  # whatever it is, the reader gets a sentence and an id, the server's log the traceback under it
        fault = uuid.uuid4().hex[:8]
        logging.getLogger("auditlens.dashboard").error(
            "fault %s: page %s failed\n%s", fault, page.url_path or "overview", trace(e)
        )
        st.error(
            f"This page failed. The server's log says why under the id {fault}; reload to try again.", icon=":material/error:"
        )


main()
