"""What every page asks: one DuckDB per version of the lake, a cursor per query, stopped when its reader has moved on.

Answers are kept by (version, question, parameters), so that another tab, another rerun and the way back cost nothing.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import streamlit as st

import auditlens
from auditlens import Answer, AuditlensError, Lake, engine, locked
from auditlens.answers.questions import find
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


_answers = Answers()
_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="auditlens")
_typed = ThreadPoolExecutor(max_workers=2, thread_name_prefix="auditlens-sql")  # users' SQL: whatever it takes, pages go on
_heavy = threading.Lock()  # questions and replays bring their own DuckDB: one at a time keeps the server's memory bounded
_opening = threading.Lock()
_asked: dict[Hashable, _Work] = {}  # what is being worked out, by key
_asking = threading.Lock()


@dataclass(slots=True)
class _Work:
    """An answer on its way, for everybody who waits for it."""

    future: Future[Any]
    stop: Callable[[], Any]
    readers: int


@functools.lru_cache(maxsize=8)
def _lake(path: str) -> Lake:
    return Lake(path)


def _base(path: str, version: tuple[int, ...]) -> duckdb.DuckDBPyConnection:
    """The shared DuckDB of a version; opened once, however many ask at the same time."""
    with _opening:
        return _opened(path, version)


@functools.lru_cache(maxsize=2)
def _opened(path: str, version: tuple[int, ...]) -> duckdb.DuckDBPyConnection:
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
    """The frame of one of the charts' queries, dashboards/sql/NAME.sql; unused parameters are left out, missing ones are null."""
    return select(text(name), **params)


@functools.cache
def text(name: str) -> str:
    """A chart's query, without its opening comment; {class} and the names of other queries and of questions are filled in."""
    from parts.palette import CLASS_SQL

    def part(found: re.Match[str]) -> str:
        return CLASS_SQL if found[1] == "class" else text(found[1])

    own = SQL / f"{name}.sql"
    whole = own.read_text(encoding="utf-8") if own.is_file() else find(name).sql
    return re.sub(r"\{([\w-]+)\}", part, whole.partition("*/")[2].strip())


def select(sql: str, /, **params: Any) -> pl.DataFrame:
    """Run a query of our own on the lake's views; raises QueryError."""
    key, work, stop = _selecting(path(), version(), sql, params)
    return _run(key, work, stop)


def prepare(of: tuple[int, ...], name: str, /, **params: Any) -> pl.DataFrame:
    """Work out a figure of a version ahead of its readers; for threads without one."""
    work = _begun(*_selecting(path(), of, text(name), params))
    return work.future.result()


def _selecting(
    path: str, of: tuple[int, ...], sql: str, params: Mapping[str, Any]
) -> tuple[Hashable, Callable[[], pl.DataFrame], Callable[[], Any]]:
    """The key of a query's answer, what makes it, and what interrupts that."""
    used = set(re.findall(r"\$([a-z_]+)", sql))
    wanted = {k: params.get(k) for k in used}
    holder: list[duckdb.DuckDBPyConnection] = []

    def work() -> pl.DataFrame:
        try:
            return run(of)
        except QueryError:  # compaction and retention take files away; their commit has made a new version
            now = _lake(path).version()
            if now == of:
                raise
            return run(now)

    def run(of: tuple[int, ...]) -> pl.DataFrame:
        cursor = _base(path, of).cursor()
        holder.append(cursor)
        cursor.execute("set TimeZone = 'UTC'")
        try:
            return engine.query(cursor, sql, wanted, timeout=TIMEOUT)
        finally:
            cursor.close()

    return ("select", path, of, sql, _frozen(wanted)), work, lambda: [c.interrupt() for c in holder]


def ask(name: str, /, **params: Any) -> Answer:
    """The answer to a question, as `auditlens ask` gives it."""
    key, work = _question(version(), name, params)
    return _run(key, work, serial=True)


def prepare_answer(of: tuple[int, ...], name: str, /, **params: Any) -> Answer:
    """Work out the answer of a version ahead of its readers; for threads without one."""
    key, work = _question(of, name, params)
    answer: Answer = _begun(key, work, lambda: None, serial=True).future.result()
    return answer


def _question(of: tuple[int, ...], name: str, params: Mapping[str, Any]) -> tuple[Hashable, Callable[[], Answer]]:
    lake = _lake(path())
    return ("ask", path(), of, name, _frozen(params)), lambda: auditlens.ask(lake, name, timeout=TIMEOUT, **params)


def sql(statement: str) -> pl.DataFrame:
    """A user's own SELECT, in a process that can read nothing but this lake."""
    key = ("sql", path(), version(), statement)
    return _run(key, lambda: locked.sql(lake(), statement, timeout=TIMEOUT), pool=_typed)


def call(name: str, function: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
    """The kept result of a library call about the lake, such as a state or a diff."""
    key = (name, path(), version(), _frozen({"": args, **params}))
    return _run(key, lambda: function(lake(), *args, **params), serial=True)


def _begun(
    key: Hashable, work: Callable[[], Any], stop: Callable[[], Any], *, serial: bool = False, pool: ThreadPoolExecutor = _pool
) -> _Work:
    """Begin to work something out, or join those who wait for it."""

    mine: _Work | None = None

    def keep() -> Any:
        try:
            with _heavy if serial else nullcontext():
                value = work()
            _answers.put(key, value)
            return value
        finally:
            with _asking:
                if _asked.get(key) is mine:
                    del _asked[key]

    with _asking:
        found = _asked.get(key)
        if found is None:
            mine = found = _asked[key] = _Work(pool.submit(keep), stop, 0)
        found.readers += 1
        return found


def _left(key: Hashable, work: _Work) -> None:
    """A reader moved on; the last of them stops the work."""
    with _asking:
        work.readers -= 1
        if work.readers:
            return
        if _asked.get(key) is work:  # who comes now begins anew
            del _asked[key]
    work.future.cancel()
    work.stop()


def _run(
    key: Hashable,
    work: Callable[[], Any],
    stop: Callable[[], Any] = lambda: None,
    *,
    serial: bool = False,
    pool: ThreadPoolExecutor = _pool,
) -> Any:
    """The kept answer, or a new one; `stop` is called when its last reader leaves before it is there.

    The wait touches a placeholder now and then: that is where Streamlit ends a run that a newer one replaces.
    """
    kept = _answers.get(key)
    if kept is not None:
        return kept
    begun = _begun(key, work, stop, serial=serial, pool=pool)
    future, slot, started = begun.future, None, time.monotonic()
    try:
        while True:
            try:
                value = future.result(timeout=_POLL if slot else 2 * _POLL)
                break
            except TimeoutError:
                if future.done():  # the work itself timed out
                    raise QueryError(f"stopped after {TIMEOUT:g} s; narrow the time range") from None
                slot = slot or st.empty()
                slot.caption(f":material/hourglass_top: reading the log … {time.monotonic() - started:.0f} s")
    except AuditlensError:
        if slot:
            slot.empty()
        raise
    except BaseException:  # a rerun, a closed tab: this reader does not wait any more
        _left(key, begun)
        raise
    if slot:
        slot.empty()
    return value


def _frozen(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items() if v is not None))
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return value if isinstance(value, (str, int, float, bool, dt.datetime, type(None))) else repr(value)
