"""The evidence behind a row: every stage of its request, what it held and touched, and what other logs say of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import streamlit as st

from auditlens.output import plain
from auditlens.tables import TABLES
from parts import show, store
from parts.scope import Scope
from parts.show import literal

_FIRST = (
    "username", "impersonated_username", "user_groups", "verb", "request_uri", "resource", "subresource", "namespace", "name", "object_name",
    "code", "outcome", "decided_by", "decision", "decision_reason", "status_message", "latency_ms", "client", "user_agent", "source_ips",
    "received_time", "stage_time", "level",
)  # fmt: skip
_BODIES = ("request_object", "response_object")
_SLACK = dt.timedelta(days=1)


def event(audit_id: str, scope: Scope, *, line: int | None = None, brief: bool = False, key: str = "event") -> None:
    """The event of an audit id; `line` tells which of several is meant."""
    frame = store.figure("event", audit_id=audit_id)
    if not frame.height:
        show.nothing(
            "No event has this audit id.", "The id is compared exactly; ids are chosen by the apiserver, or by the client."
        )
        return
    requests = frame.partition_by("cluster", "received_time", "request_uri", "username", maintain_order=True)
    if len(requests) > 1:
        st.warning(f"{len(requests)} requests share this audit id: clients may choose it.", icon=":material/content_copy:")
    mine = next((r for r in requests if line in r["line"].to_list()), requests[0])
    if len(requests) > 1:
        n = st.selectbox(
            "Request", range(len(requests)), index=next(i for i, r in enumerate(requests) if r is mine), key=f"{key}-which",
            format_func=lambda i: plain(f"{requests[i]['username'][0]} {requests[i]['verb'][0]} {requests[i]['request_uri'][0]}")[:100],
        )  # fmt: skip
        mine = requests[n]
    row = mine.row(mine.height - 1, named=True)
    _headline(row, mine, scope)
    show.links(row, event=brief)
    if brief:
        _facts(row, scope, key, most=14)
        return
    tabs = st.tabs(["Facts", "Request body", "Response body", "Touched objects", "Apiserver log", "Stages"])
    with tabs[0]:
        _facts(row, scope, key)
    for tab, column, word in zip(tabs[1:3], _BODIES, ("request", "response"), strict=True):
        with tab:
            text = next((r[column] for r in reversed(mine.to_dicts()) if r[column]), None)
            if text:
                st.code(show.pretty(text), language="json", height=420, wrap_lines=True)
            else:
                show.nothing(
                    f"The log holds no {word} body.",
                    f"It was recorded at level {row['level']}; bodies need Request or RequestResponse.",
                )
    with tabs[3]:
        _touched(row, scope, key)
    with tabs[4]:
        _other_logs(audit_id, scope, key)
    with tabs[5]:
        show.table(
            mine,
            scope,
            f"{key}-stages",
            columns=("stage", "stage_time", "latency_ms", "code", "level", "source", "line", "item"),
            select=False,
        )


def _headline(row: dict[str, Any], stages: pl.DataFrame, scope: Scope) -> None:
    who = row["impersonated_username"] or row["username"] or "nobody"
    thing = "/".join(str(row[c]) for c in ("resource", "subresource") if row[c]) or row["request_uri"]
    name = "/".join(str(v) for v in (row["namespace"], row["name"] or row["object_name"]) if v)
    as_whom = f" (really {literal(row['username'])})" if row["impersonated_username"] else ""
    st.markdown(f"{literal(who)}{as_whom} **{plain(row['verb'] or '')}** {literal(thing)} {literal(name) if name else ''}")
    outcome = " ".join(str(v) for v in (row["code"], row["outcome"]) if v is not None) or "no answer in the log"
    decided = f" · ended by {row['decided_by']}" if row["decided_by"] else ""
    st.caption(
        f"{scope.text(row['received_time'], precise=True)} · {literal(outcome)}{decided} · {show.milliseconds(row['latency_ms'])} · "
        f"stages {', '.join(stages['stage'].drop_nulls().to_list())} · evidence {literal(row['source'] + ':' + str(row['line']))}"
    )


def _facts(row: dict[str, Any], scope: Scope, key: str, most: int | None = None) -> None:
    docs = {c.name: c.doc for c in TABLES["audit"].columns()}
    order = [c for c in _FIRST if c in row] + [c for c in row if c not in _FIRST and c not in _BODIES and c != "class"]
    rows = [
        {"field": c, "value": literal(_value(row[c], scope), 2000), "meaning": docs.get(c, "")}
        for c in order
        if row[c] not in (None, "", "{}", [], {}, False)
    ]
    show.told(rows[:most], "The fields of the event with their meaning")


def _value(value: Any, scope: Scope) -> str:
    if isinstance(value, dt.datetime):
        return scope.text(value, precise=True)
    return show.nested(value) if isinstance(value, (list, dict)) else str(value)


def _touched(row: dict[str, Any], scope: Scope, key: str) -> None:
    when = row["stage_time"]
    if when is None:
        show.nothing("The event has no time.")
        return
    frame = store.figure("event_objects", audit_id=row["audit_id"], since=when - _SLACK, until=when + _SLACK)
    if not frame.height:
        show.nothing("The event touches no object that the log names.")
        return
    picked = show.table(frame, scope, f"{key}-touched", about="Objects touched by this request")
    if picked:
        show.link("object", "Open the object", ":material/deployed_code:", **show.address(picked))


_OTHER = {"event_http": "The apiserver's line about it", "event_trace": "Its trace", "event_klog": "Log entries that name it"}


def said(audit_id: str, scope: Scope, key: str, *, name: str = "event_http") -> bool:
    """What the apiserver's own log says of a request; whether it says anything."""
    frame = store.figure(name, audit_id=audit_id)
    if frame.height:
        st.caption(_OTHER[name])
        show.table(frame, scope, f"{key}-{name}", select=False)
    return frame.height > 0


def _other_logs(audit_id: str, scope: Scope, key: str) -> None:
    found = [name for name in _OTHER if said(audit_id, scope, key, name=name)]
    if not found:
        show.nothing(
            "No other log in this lake names this request.",
            "Import the apiserver's own log (-v=3 and up) to see its latency and traces here.",
        )
