"""What all pages are about: a time range, a cluster and a time zone, kept in the URL and the same on every page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

from auditlens import AuditlensError
from auditlens.answers.window import moment
from parts import finder, store

PRESETS = {
    "": "Whole log", "end-5m": "5 min", "end-15m": "15 min", "end-1h": "1 h", "end-6h": "6 h", "end-24h": "24 h", "end-7d": "7 d",
    "end-30d": "30 d",
}  # fmt: skip
EVERY = "all clusters"
KEYS = ("since", "until", "cluster", "zone", "live")  # their names in the URL
LIVE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Scope:
    """The window and filters as times and words."""

    since: dt.datetime | None
    until: dt.datetime | None
    cluster: str | None
    zone: str  # name of the zone times are shown in

    @property
    def params(self) -> dict[str, Any]:
        """What queries and questions take."""
        return {"since": self.since, "until": self.until, "cluster": self.cluster}

    @property
    def tz(self) -> ZoneInfo:
        """The zone itself."""
        return ZoneInfo(self.zone)

    def text(self, when: dt.datetime | None, *, precise: bool = False) -> str:
        """A moment as people read it, in the zone shown."""
        if when is None:
            return "–"
        local = when.astimezone(self.tz)
        shown = local.strftime("%Y-%m-%d %H:%M:%S")
        if precise:
            shown += f".{local.microsecond // 1000:03d}"
        return shown + ("Z" if self.zone == "UTC" else "")

    def span(self) -> str:
        """The window in words."""
        if self.since is None and self.until is None:
            return "whole log"
        ends = [self.text(self.since) if self.since else "start", self.text(self.until) if self.until else "end"]
        if self.since and self.until and ends[0][:10] == ends[1][:10]:
            ends[1] = ends[1][11:]
        return " – ".join(ends)


def bar(title: str, about: str) -> Scope:
    """The head of a page: its title, the search, and the range, cluster and zone; returns what is chosen."""
    left, right = st.columns([0.24, 0.76], vertical_alignment="center", gap="small")
    with left:
        st.title(title, anchor=False)
    with right, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
        finder.box()
        zone = _zone()
        since, until, wrong = _window(zone)
        cluster = _cluster()
        _live()
    st.caption(about)
    if wrong:
        st.error(f"The range is not understood, so the whole log is shown: {_safe(wrong)}", icon=":material/error:")
    now = Scope(since, until, cluster, zone)
    finder.results(now)
    return now


def choice(
    label: str, options: Sequence[str], name: str, words: Callable[[str], str] = str, *, unsaid: str | None = None, **more: Any
) -> str:
    """A selectbox whose choice is the query parameter `name`, by value and not by its words; `unsaid` is the one it leaves out."""
    key = f"choice-{name}"
    wanted = st.query_params.get(name)
    if wanted in options and st.session_state.get(f"{key}-url") != wanted:
        st.session_state[key] = wanted  # a new URL: a link, the browser's back button
    if st.session_state.get(key) not in options:
        st.session_state[key] = wanted if wanted in options else options[0]
    picked = st.selectbox(label, options, key=key, format_func=words, filter_mode="contains", **more)
    st.session_state[f"{key}-url"] = picked
    if picked == unsaid:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != picked:
        st.query_params[name] = picked
    return str(picked)


def set_window(since: dt.datetime | None, until: dt.datetime | None) -> None:
    """Make a window the scope of every page; for callbacks."""
    st.session_state["since"] = exact(since)
    st.session_state["until"] = exact(until)


def words() -> dict[str, str]:
    """The scope as query parameters, for links to other pages."""
    out = {k: peek(k) for k in ("since", "until", "zone") if peek(k)}
    if peek("cluster") not in ("", "None", EVERY):
        out["cluster"] = peek("cluster")
    if out.get("zone") == "UTC":
        del out["zone"]
    return out


def exact(when: dt.datetime | None) -> str:
    """A moment as the URL holds it."""
    return "" if when is None else when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def peek(name: str) -> str:
    """A bound widget's value before the widget is there: what it was, or what the URL of a new session says."""
    return str(st.session_state[name] if name in st.session_state else st.query_params.get(name, ""))


def _zone() -> str:
    local = st.context.timezone or "UTC"
    chosen = peek("zone")
    if chosen == "local":
        try:
            return str(ZoneInfo(local))
        except (KeyError, ValueError):
            return "UTC"
    return "UTC"


def _window(zone: str) -> tuple[dt.datetime | None, dt.datetime | None, str]:
    """The ends of the range, and what is wrong with what was given."""
    was = peek("zone")
    since_text, until_text = peeked = peek("since"), peek("until")
    try:
        since, until = _parse(since_text, zone), _parse(until_text, zone)
        wrong = f"the range ends before it begins: {since_text} to {until_text}" if since and until and since > until else ""
    except AuditlensError as e:
        since, until, wrong = None, None, str(e)
    shown = Scope(since, until, None, zone)
    label = PRESETS.get(since_text) if not until_text else None
    label = shown.span() if label is None else "Whole log" if not since_text else f"Last {label}"
    with st.popover(f":material/schedule: {label}", help="The time range of every page", key="window"):
        st.pills(
            "Range, counted back from the end of the log", list(PRESETS), format_func=PRESETS.__getitem__, key="preset",
            default=since_text if since_text in PRESETS and not until_text else None, on_change=_preset,
        )  # fmt: skip
        hint = "RFC 3339, a date, or 2h, 7d, end-2h; empty is the log's own " + "{}"
        a = st.text_input("From", key="since", bind="query-params", placeholder="start of the log", help=hint.format("start"))
        b = st.text_input("To", key="until", bind="query-params", placeholder="end of the log", help=hint.format("end"))
        shown_in = st.segmented_control(
            "Times are shown in", ["UTC", "local"], key="zone", bind="query-params", default="UTC", required=True,
            help=f"local is the browser's zone, {st.context.timezone or 'unknown'}",
        )  # fmt: skip
    if (a, b) != peeked or (shown_in == "local") != (was == "local"):  # a link in this session brought another range
        st.rerun()
    return since, until, wrong


def _safe(message: str) -> str:
    from parts.show import words

    return words(message)


def _preset() -> None:
    if st.session_state.get("preset") is not None:
        st.session_state["since"], st.session_state["until"] = st.session_state["preset"], ""


def _parse(text: str, zone: str) -> dt.datetime | None:
    if not text.strip():
        return None
    try:
        when = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return moment(store.lake(), text)
    return (when.replace(tzinfo=ZoneInfo(zone)) if when.tzinfo is None else when).astimezone(dt.UTC)


def _cluster() -> str | None:
    known = sorted({f.cluster for f in store.lake().snapshot().files("audit") if f.cluster} if store.exists() else set())
    if len(known) < 2 and st.query_params.get("cluster") in (None, EVERY, *known):
        return None
    chosen = st.selectbox(
        "Cluster", [EVERY, *known], key="cluster", bind="query-params", label_visibility="collapsed", width=170, help="Cluster"
    )
    return None if chosen == EVERY else chosen


def _live() -> None:
    on = st.toggle("Live", key="live", bind="query-params", help=f"Look for new events every {LIVE_SECONDS} seconds")
    if on:
        _watch()


@st.fragment(run_every=LIVE_SECONDS)
def _watch() -> None:
    """Run the page again when the lake has changed."""
    if store.lake().version() != store.version():
        st.rerun()
