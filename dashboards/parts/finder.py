"""One search in the head of every page: what some words are in the log, and the page that each of them leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

import auditlens
from auditlens import AuditlensError
from auditlens.errors import UsageError

_COLUMNS = ("what", "value", "namespace", "match", "requests", "first_time", "last_time", "title", "cluster")
_MOST = 200  # hits; a search that fits more is to be made longer


def box() -> None:
    """The field; what is asked is answered below the head."""
    st.text_input(
        "Find in the log", key="find-words", type="search", placeholder="Find: object, user, id, address, question",
        label_visibility="collapsed", on_change=_asked, max_chars=1024, icon=":material/search:",
        help="A name or a part of one, kind/name, a uid, an audit id, an IP, a credential, a question's name",
    )  # fmt: skip


def _asked() -> None:
    st.session_state["finding"] = str(st.session_state["find-words"]).strip()
    st.session_state["find-words"] = ""


def _over() -> None:
    st.session_state["finding"] = ""


def results(now: Any) -> None:
    """What was found: its page where there is one thing that is called just so, else a list to choose from."""
    from parts import scope, show, store

    words = st.session_state.get("finding")
    if not words:
        return
    if not store.exists():
        _over()
        return
    try:
        got = store.call("find", auditlens.find, words, cluster=now.cluster, limit=_MOST)
    except AuditlensError as e:
        _over()
        st.error(show.words(str(e)) if isinstance(e, UsageError) else "The search failed.", icon=":material/error:")
        return
    rows = got.frame.to_dicts()
    exact = [r for r in rows if r["match"] in ("exact", "uid", "identity")]
    picked = exact[0] if len(exact) == 1 else None
    if picked is None:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{got.total:,} found** for {show.literal(words, 80)}")
                st.button("Close", icon=":material/close:", key="find-close", on_click=_over, type="tertiary")
            if rows:
                picked = show.table(
                    got.frame, now, "found-all", columns=_COLUMNS, height=show.tall(len(rows), 8), about="What was found"
                )
            show.notes(got.notes)
    if picked is not None:
        _over()
        page, params = place(picked)
        st.switch_page(f"views/{page}.py", query_params={**scope.words(), **params})


def place(row: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The page that a hit leads to, and its parameters."""
    from parts import show

    value = str(row["value"])
    match row["what"]:
        case "object":
            return "object", {k: v for k, v in show.address(row).items() if v}
        case "request":
            return "event", {"audit_id": value}
        case "question":
            return "ask", {"question": value}
        case "user":
            return "ask", {"question": "user-activity", "user": value}
        case "address":
            return "ask", {"question": "session", "source_ip": value}
        case _:
            return "ask", {"question": "session", "credential": value}
