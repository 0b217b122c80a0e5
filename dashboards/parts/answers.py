"""A question's answer on a page: the rows `auditlens ask` gives, its flags as toggles, and what it cannot know."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import streamlit as st

import auditlens
from auditlens import Answer
from auditlens.answers.questions import Question, find
from parts import evidence, show, store
from parts.scope import Scope, exact

LIMIT = 5000  # rows a page asks for
_PARTS = {"object": ("resource", "subresource", "namespace", "name"), "evidence": ("source", "line")}
_AROUND = dt.timedelta(minutes=1)  # shown before and after a hole


def table(
    name: str, now: Scope, *, nothing: str, hint: str = "", about: str = "", columns: Sequence[str] = (), **params: Any
) -> dict[str, Any] | None:
    """Ask a question, and draw its answer; `params` are the question's, besides the scope and its flags."""
    question = find(name)
    if about:
        st.caption(about)
    got = store.ask(name, **asked(question, now, params | flags(question)))
    return draw(got, name, now, nothing=nothing, hint=hint, columns=columns)


def draw(
    got: Answer, name: str, now: Scope, *, nothing: str, hint: str = "", columns: Sequence[str] = (), height: int | None = None
) -> dict[str, Any] | None:
    """An answer with its notes, the event behind the selected row, and exports; that row with all its columns, or None.

    Its columns are those it shows on a terminal, unless the page names others.
    """
    if not got.frame.height:
        show.nothing(nothing, hint)
        show.notes(got.notes)
        return None
    st.markdown(f"**{got.total:,} {'row' if got.total == 1 else 'rows'}** · {now.span()}")
    show.notes(got.notes)
    picked = show.table(got.frame, now, f"answer-{name}", columns=columns or _shown(got), about=got.title, height=height)
    if picked and picked.get("audit_id"):
        with st.container(border=True):
            evidence.event(str(picked["audit_id"]), now, line=picked.get("line"), key=f"{name}-evidence")
    elif not picked and "audit_id" in got.frame.columns:
        st.caption(":material/ads_click: Click a row to see its event.")
    with st.container(horizontal=True):
        show.exports(got.frame, name, f"export-{name}")
    return picked


def small(name: str, now: Scope, *, nothing: str, columns: Sequence[str] = (), user: str = "username", **params: Any) -> None:
    """An answer beside others: its first rows, its notes, and where the selected row leads; `user` is the column of a name."""
    got = store.ask(name, **asked(find(name), now, params))
    if not got.frame.height:
        show.nothing(nothing)
    else:
        picked = show.table(
            got.frame, now, f"small-{name}", columns=columns or _shown(got), about=got.title, height=show.tall(12)
        )
        if picked:
            show.links(picked | {"username": picked[user]})
    show.notes(got.notes)


def completeness(now: Scope) -> None:
    """What may be missing from the log, as `auditlens completeness` tells it."""
    got = store.call("completeness", auditlens.completeness, **now.params)
    picked = draw(got, "completeness", now, nothing="Nothing is known to be missing.")
    if picked and picked.get("first") and picked.get("last"):
        show.link(
            "timeline", "What happened around it", ":material/view_timeline:",
            since=exact(picked["first"] - _AROUND), until=exact(picked["last"] + _AROUND),
        )  # fmt: skip


def asked(question: Question, now: Scope, params: dict[str, Any]) -> dict[str, Any]:
    """What a question is asked with on this page: the scope, as far as it takes it, and the page's own parameters."""
    takes = {p.name for p in question.params}
    limit = {"limit": LIMIT} if "limit" in takes else {}
    return limit | {k: v for k, v in now.params.items() if k in takes} | params


def flags(question: Question) -> dict[str, bool]:
    """A toggle for each yes-or-no parameter of a question, kept in the URL."""
    declared = [p for p in question.params if p.type == "boolean"]
    if not declared:
        return {}
    with st.container(horizontal=True):
        return {
            p.name: st.toggle(p.doc[0].upper() + p.doc[1:], value=bool(p.default), key=p.name, bind="query-params")
            for p in declared
        }


def _shown(got: Answer) -> list[str]:
    """The answer's columns for a terminal; what is one column there, an object and the evidence, keeps its parts here."""
    wanted = dict.fromkeys(c for column in got.show for c in _PARTS.get(column, (column,)))
    return [c for c in wanted if c in got.frame.columns] or got.frame.columns
