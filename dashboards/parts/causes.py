"""Why this: what happened to an object as a choice that is part of the URL, its before and after, and its causes beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import streamlit as st

import auditlens
from auditlens.forensics.happenings import Happening, happenings
from auditlens.output import plain, time_text
from parts import answers, evidence, lineage, show, store
from parts.scope import Scope
from parts.show import literal

_COLUMNS = ("time", "username", "verb", "resource", "namespace", "name", "effect", "rule", "sure", "source", "line")
_FIELDS = 12  # of a change, seen at once
_OF = {"creation": ":material/add_circle:", "deletion": ":material/delete:", "scale": ":material/open_in_full:"}


def known(target: str, namespace: str, now: Scope) -> list[Happening]:
    """What happened to an object."""
    found: list[Happening] = store.call(
        "happenings", happenings, target, namespace=namespace or None, cluster=now.cluster, until=now.until
    )
    return found


def of_request(audit_id: object, target: str, namespace: str, now: Scope) -> Mapping[str, str] | None:
    """How `why` is asked what a request did to an object; None where it did nothing that `why` is about."""
    hit = next((h for h in known(target, namespace, now) if h.audit_id == audit_id), None)
    return None if hit is None else {"event": hit.event, "at": hit.at}


def of_field(row: Mapping[str, Any]) -> Mapping[str, str]:
    """How `why` is asked about a field: that its request set, as far as the log tells which that was."""
    return {"event": str(row["path"]), "at": time_text(row["time"]) if row.get("time") else ""}


def link(target: str, namespace: str, asked: Mapping[str, str] | None, what: str = "Why this?") -> None:
    """A link to the causes of one thing that happened."""
    if asked is not None:
        show.link("object", what, ":material/account_tree:", object=target, namespace=namespace, tab="Why", **asked)


def page(target: str, namespace: str, now: Scope) -> None:
    """The choice; then what changed, beside the chain from the root to it; a click on a link opens its event."""
    event, at = _choose(known(target, namespace, now), now)
    got = store.call(
        "why", auditlens.why, target, namespace=namespace or None, cluster=now.cluster, event=event or None, at=at or None
    )
    chosen = None
    if got.frame.height:
        links = got.tree["links"]
        left, right = st.columns([0.44, 0.56], gap="medium")
        with left:
            _before_after(target, namespace, links[0], event, now)
        with right:
            chosen = lineage.causes(list(reversed(links)), now)
    if chosen:
        with st.container(border=True):
            evidence.event(chosen, now, key="why-evidence")
    answers.draw(got, "why", now, nothing="The log does not tell why.", columns=_COLUMNS)


def _choose(found: list[Happening], now: Scope) -> tuple[str, str]:
    """What is asked about: `event` and `at` of the URL, as `auditlens why` takes them; empty is the end, else the last change."""
    by = {(h.event, h.at): h for h in found}
    wanted = st.query_params.get("event", ""), st.query_params.get("at", "")
    options = [("", ""), *by]
    if wanted not in options:
        options.insert(1, wanted)
    if st.session_state.get("happening-url") != wanted or st.session_state.get("happening") not in options:
        st.session_state["happening"] = wanted  # another URL: a link, the browser's back button

    def words(option: tuple[str, str]) -> str:
        if option == ("", ""):
            return "What ended it, else what changed it last"
        if option not in by:
            return plain(f"{option[0] or 'the last'}" + (f" by {option[1]}" if option[1] else ""))
        h = by[option]
        return plain(f"{now.text(h.time, precise=True)}  ·  {h.what[:120]}  ·  {h.username}")

    picked: tuple[str, str] = st.selectbox(
        f"Why did this happen? ({len(found):,} to choose from, the latest first)", options, key="happening", format_func=words,
        filter_mode="contains", help="Its creation, deletion, and each change of its fields that the log shows; status is left out",
    )  # fmt: skip
    st.session_state["happening-url"] = picked
    for name, value in zip(("event", "at"), picked, strict=True):
        if value:
            st.query_params[name] = value
        else:
            st.query_params.pop(name, None)
    return picked


def _before_after(target: str, namespace: str, effect: Mapping[str, Any], event: str, now: Scope) -> None:
    """What the request at the end of the chain changed: the fields asked about first."""
    st.markdown("**Before and after**")
    st.caption(f"{literal(effect['username'] or 'nobody')} · {now.text(effect['time'], precise=True)}")
    got = store.call(
        "diff", auditlens.diff, target, namespace=namespace or None, cluster=now.cluster, audit_id=effect["audit_id"]
    )
    frame = got.frame
    if frame.height:
        path = pl.col("path").str
        about = path.starts_with(event) if event else path.starts_with("spec")
        frame = frame.sort(~about, path.starts_with("status"), path.starts_with("metadata"), maintain_order=True)
        rows = [
            {"field": literal(r["path"], 120), "before": _cell(r["old"]), "after": _cell(r["new"])}
            for r in frame.head(_FIELDS).iter_rows(named=True)
        ]
        show.told(rows, "The fields before and after")
        if frame.height > _FIELDS:
            st.caption(f"{frame.height - _FIELDS:,} more fields; the tab Changes has all of them.")
    show.notes([n for n in got.notes if frame.height or n != "nothing differs"])
    if not frame.height and effect["verb"] in ("delete", "deletecollection"):
        show.link(
            "object", "As it was before", ":material/history:", object=target, namespace=namespace, tab="State",
        )  # fmt: skip


def _cell(value: object) -> str:
    return "–" if value is None else literal(value, 160)
