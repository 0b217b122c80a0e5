"""What every page asks: one DuckDB per version of the lake, a cursor per query, stopped when its reader has moved on.

Answers are kept by (version, question, parameters), so that another tab, another rerun and the way back cost nothing.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import streamlit as st

from auditlens import AuditlensError, Lake, engine, question
from auditlens.errors import QueryError

SQL = Path(__file__).parent.parent / "sql"
MEMORY_LIMIT = "500MB"  # of the shared DuckDB; what one question needs on top is bounded by the lock below
TIMEOUT = 60.0
_KEPT = 256  # answers
_KEPT_BYTES = 200 << 20
_POLL = 0.15  # seconds between looks at whether the reader has moved on


class Answers:
    """Finished answers, the least recently used forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """The answer, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: Any) -> None:
        """Keep an answer."""
        frame = value if isinstance(value, pl.DataFrame) else getattr(value, "frame", None)
        size = int(frame.estimated_size()) if isinstance(frame, pl.DataFrame) else 10_000
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]
            self._kept[key] = value, size
            self._bytes += size
            while len(self._kept) > 1 and (len(self._kept) > _KEPT or self._bytes > _KEPT_BYTES):
                self._bytes -= self._kept.popitem(last=False)[1][1]


@st.cache_resource(show_spinner=False)
def _answers() -> Answers:
    return Answers()


@st.cache_resource(show_spinner=False)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=8, thread_name_prefix="auditlens")


@st.cache_resource(show_spinner=False)
def _heavy() -> threading.Lock:
    """Questions and replays bring their own DuckDB: one at a time keeps the server's memory bounded."""
    return threading.Lock()


@st.cache_resource(show_spinner=False)
def _lake(path: str) -> Lake:
    return Lake(path)


@st.cache_resource(show_spinner=False, max_entries=2)
def _base(path: str, version: tuple[int, ...]) -> duckdb.DuckDBPyConnection:
    return engine.connect(Lake(path), memory_limit=MEMORY_LIMIT)


def path() -> str:
    """The lake's directory: $AUDITLENS_LAKE, else ./lake."""
    return os.environ.get("AUDITLENS_LAKE", "lake")


def lake() -> Lake:
    """The lake that is shown."""
    return _lake(path())


def version() -> tuple[int, ...]:
    """The Delta versions this page is about; the same until the page runs again."""
    return st.session_state.get("_version") or refresh()


def refresh() -> tuple[int, ...]:
    """Look at the lake anew; called once at the start of each run."""
    now = lake().version()
    st.session_state["_version"] = now
    return now


def exists() -> bool:
    """Whether anything was ever imported."""
    return lake().exists()


def figure(name: str, /, **params: Any) -> pl.DataFrame:
    """The frame of one of the pages' own queries, dashboards/sql/NAME.sql; unused parameters are left out."""
    return select(text(name), **params)


@st.cache_data(show_spinner=False)
def text(name: str) -> str:
    """A page's query, without its opening comment; {class} and the names of other queries in braces are filled in."""
    from parts.palette import CLASS_SQL

    def part(found: re.Match[str]) -> str:
        return CLASS_SQL if found[1] == "class" else text(found[1])

    return re.sub(r"\{(\w+)\}", part, (SQL / f"{name}.sql").read_text().partition("*/")[2].strip())


def select(sql: str, /, **params: Any) -> pl.DataFrame:
    """Run a query of our own on the lake's views; raises QueryError."""
    used = set(re.findall(r"\$([a-z_]+)", sql))
    wanted = {k: v for k, v in params.items() if k in used}
    key = ("select", path(), version(), sql, _frozen(wanted))
    holder: list[duckdb.DuckDBPyConnection] = []

    def work() -> pl.DataFrame:
        try:
            return run(key[2])
        except QueryError:  # compaction and retention take files away; their commit has made a new version
            now = _lake(key[1]).version()
            if now == key[2]:
                raise
            return run(now)

    def run(of: tuple[int, ...]) -> pl.DataFrame:
        cursor = _base(key[1], of).cursor()
        holder.append(cursor)
        cursor.execute("set TimeZone = 'UTC'")
        try:
            return engine.query(cursor, sql, wanted, timeout=TIMEOUT)
        finally:
            cursor.close()

    return _run(key, work, lambda: [c.interrupt() for c in holder])


def ask(name: str, /, **params: Any) -> question.Answer:
    """The answer to a question, as `auditlens ask` gives it."""
    key = ("ask", path(), version(), name, _frozen(params))
    return _run(key, lambda: question.answer(lake(), name, timeout=TIMEOUT, **params), serial=True)


def sql(statement: str) -> pl.DataFrame:
    """A user's own SELECT, on a connection that can read nothing but this lake."""
    key = ("sql", path(), version(), statement)
    return _run(key, lambda: engine.sql(lake(), statement, timeout=TIMEOUT), serial=True)


def call(name: str, function: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
    """The kept result of a library call about the lake, such as a state or a diff."""
    key = (name, path(), version(), _frozen({"": args, **params}))
    return _run(key, lambda: function(lake(), *args, **params), serial=True)


def _run(key: Hashable, work: Callable[[], Any], stop: Callable[[], Any] = lambda: None, *, serial: bool = False) -> Any:
    """The kept answer, or a new one; `stop` is called when the reader leaves before it is there.

    The wait touches a placeholder now and then: that is where Streamlit ends a run that a newer one replaces.
    """
    answers = _answers()
    kept = answers.get(key)
    if kept is not None:
        return kept
    heavy = _heavy()

    def guarded() -> Any:
        if not serial:
            return work()
        with heavy:
            meanwhile = answers.get(key)  # another tab asked the same
            return work() if meanwhile is None else meanwhile

    def keep() -> Any:
        value = guarded()
        answers.put(key, value)
        return value

    future = _pool().submit(keep)
    try:
        return future.result(timeout=2 * _POLL)
    except TimeoutError:
        if future.done():  # the work itself timed out
            raise QueryError(f"stopped after {TIMEOUT:g} s; narrow the time range") from None
    slot, started = st.empty(), time.monotonic()
    try:
        while True:
            try:
                value = future.result(timeout=_POLL)
                slot.empty()
                return value
            except TimeoutError:
                if future.done():
                    raise QueryError(f"stopped after {TIMEOUT:g} s; narrow the time range") from None
                slot.caption(f":material/hourglass_top: reading the log … {time.monotonic() - started:.0f} s")
    except AuditlensError:
        slot.empty()
        raise
    except BaseException:  # a rerun, a closed tab: nobody waits for this any more
        stop()
        future.cancel()
        raise


def _frozen(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items() if v is not None))
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return value if isinstance(value, (str, int, float, bool, dt.datetime, type(None))) else repr(value)
