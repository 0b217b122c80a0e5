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
_BODIES = {"Request body": "request_object", "Response body": "response_object"}
TABS = ("Facts", *_BODIES, "Touched objects", "Apiserver log", "Stages")
_SLACK = dt.timedelta(days=1)


def event(audit_id: str, scope: Scope, *, line: int | None = None, key: str = "event") -> None:
    """The event of an audit id beside a row that rests on it; `line` tells which of several is meant."""
    if found := head(audit_id, scope, line=line, key=key):
        _facts(found[0], scope, most=14)


def head(
    audit_id: str, scope: Scope, *, line: int | None = None, key: str = "event", own: bool = False
) -> tuple[dict[str, Any], pl.DataFrame] | None:
    """An event's headline and where it leads; its last stage and all of them. `own`: it is the page's, and needs no link."""
    frame = store.figure("event", audit_id=audit_id)
    if not frame.height:
        show.nothing(
            "No event has this audit id.", "The id is compared exactly; ids are chosen by the apiserver, or by the client."
        )
        return None
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
    show.links(row, event=not own)
    return row, mine


def tabs(row: dict[str, Any], stages: pl.DataFrame, tab: str, scope: Scope) -> None:
    """One of TABS."""
    if tab == "Facts":
        _facts(row, scope)
    elif tab in _BODIES:
        _body(row, stages, tab)
    elif tab == "Touched objects":
        _touched(row, scope)
    elif tab == "Apiserver log":
        _other_logs(row["audit_id"], scope)
    else:
        columns = ("stage", "stage_time", "latency_ms", "code", "level", "source", "line", "item")
        show.table(stages, scope, "event-stages", columns=columns, select=False)


def _body(row: dict[str, Any], stages: pl.DataFrame, tab: str) -> None:
    """The body of the request or of the response."""
    text = next((r[_BODIES[tab]] for r in reversed(stages.to_dicts()) if r[_BODIES[tab]]), None)
    if text:
        st.code(show.pretty(text), language="json", height=420, wrap_lines=True)
    else:
        show.nothing(
            f"The log holds no {tab.lower()}.",
            f"It was recorded at level {row['level']}; bodies need Request or RequestResponse.",
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


def _facts(row: dict[str, Any], scope: Scope, most: int | None = None) -> None:
    docs = {c.name: c.doc for c in TABLES["audit"].columns()}
    order = [c for c in _FIRST if c in row] + [c for c in row if c not in _FIRST and c not in _BODIES.values() and c != "class"]
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


def _touched(row: dict[str, Any], scope: Scope) -> None:
    when = row["stage_time"]
    if when is None:
        show.nothing("The event has no time.")
        return
    frame = store.figure("event_objects", audit_id=row["audit_id"], since=when - _SLACK, until=when + _SLACK)
    if not frame.height:
        show.nothing("The event touches no object that the log names.")
        return
    picked = show.table(frame, scope, "event-touched", about="Objects touched by this request")
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


def _other_logs(audit_id: str, scope: Scope) -> None:
    found = [name for name in _OTHER if said(audit_id, scope, "event", name=name)]
    if not found:
        show.nothing(
            "No other log in this lake names this request.",
            "Import the apiserver's own log (-v=3 and up) to see its latency and traces here.",
        )
