"""DuckDB over one snapshot of the lake: the views that questions read."""

from __future__ import annotations

import atexit
import datetime as dt
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from auditlens.errors import QueryError
from auditlens.lake import DataFile, Lake, hide, scan, unhidden
from auditlens.tables import PUBLIC, TABLES, Duplicates, Table

if TYPE_CHECKING:
    import duckdb
    import polars as pl

MEMORY_LIMIT = "1GB"
_ATTEMPTS = 10  # snapshots a reader tries when files go away under it

T = TypeVar("T")


def pattern(text: str | None) -> str | None:
    """What `fits` takes for a name that may hold the globs `*` and `?`."""
    if text is None or not any(c in text for c in "*?"):
        return text
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return "\x01" + escaped.replace("*", "%").replace("?", "_")


def connect(
    lake: Lake,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    asked: str | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> duckdb.DuckDBPyConnection:
    """A connection with a view for each public table, of the lake as it is now.

    Files that cannot hold anything between `since` and `until` are left out; rows are not filtered. Of the words that read
    tables those that `asked` names are there, None for all: DuckDB binds each, which takes 22 ms for all of them.
    """
    import duckdb

    snapshot = lake.snapshot()
    con = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": _spill()})
    con.execute("set TimeZone = 'UTC'")
    con.execute("set parquet_metadata_cache = true")  # files never change; a question scans the same ones ten times
    if duplicates := snapshot.files(Duplicates.NAME):
        hide(con, snapshot, duplicates)
    for name in PUBLIC:
        table = TABLES[name]
        stored = _view(table, snapshot.files(name, since=since, until=until), hidden=bool(duplicates))
        con.execute(f"create view {name} as " + " union all by name ".join((f"({stored})", *(f"({own})" for own in table.OWN))))
        if table.FORMERLY:
            con.execute(f"create view {table.FORMERLY} as from {name}")
    con.execute(words(asked))
    return con


def words(asked: str | None = None) -> str:
    """The macros and views of words.sql; of those that read tables the ones that some SQL names, or all."""
    values, tables = _words()
    needed: list[str] = []
    for name, statement in reversed(tables.items()):
        if asked is None or re.search(rf"\b{name}\(", "".join([asked, *needed])):
            needed.insert(0, statement)
    return "".join([values, *needed])


@cache
def _words() -> tuple[str, dict[str, str]]:
    text = (files("auditlens") / "words.sql").read_text(encoding="utf-8")
    tables = {
        m[2]: m[0] for m in re.finditer(r"^create (macro|view) (\w+)(?:\([^)]*\) as table$| as )(?:.*\n)*?.*;\n", text, re.M)
    }
    for statement in tables.values():
        text = text.replace(statement, "")
    return text, tables


@cache
def _spill() -> str:
    """Where DuckDB puts what does not fit into memory: bodies, so nobody else may read it, and DuckDB's files follow the umask."""
    directory = tempfile.mkdtemp(prefix="auditlens-spill-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def with_snapshot(
    lake: Lake,
    run: Callable[[duckdb.DuckDBPyConnection], T],
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    asked: str | None = None,
) -> T:
    """Run something on a connection (see `connect`); again on a new snapshot when it failed and the lake had changed under it."""
    for attempt in range(_ATTEMPTS):
        snapshot = lake.snapshot()
        try:
            return run(connect(lake, since=since, until=until, asked=asked))
        except (QueryError, duckdb_error()):
            if attempt == _ATTEMPTS - 1 or (snapshot.intact() and lake.snapshot().versions == snapshot.versions):
                raise
    raise AssertionError("unreachable")


def duckdb_error() -> type[Exception]:
    """DuckDB's base error, imported no sooner than it can be raised."""
    import duckdb

    return duckdb.Error


def _view(table: type[Table], files: list[DataFile], *, hidden: bool) -> str:
    if not files:
        return table.empty_select()
    now = table.fingerprint()
    current, older = [f for f in files if f.fingerprint == now], [f for f in files if f.fingerprint != now]
    parts = []
    if current:
        parts.append(f"select {', '.join(c.name for c in table.columns())} from {scan(table, current)}")
    if older:  # columns they lack are null
        parts.append(f"select * from {scan(table, older, union_by_name=True)} union all by name {table.empty_select()}")
    select = " union all by name ".join(parts)
    if hidden and "import_id" in (c.name for c in table.columns()) and table.PARTITIONED_BY:
        select = unhidden(select)
    return select


def query(con: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any], *, timeout: float | None = None) -> pl.DataFrame:
    """Run one statement and return its frame; raises QueryError with DuckDB's message, or when `timeout` seconds are over."""
    import duckdb

    timer = threading.Timer(timeout, con.interrupt) if timeout else None
    if timer:
        timer.start()
    try:
        frame: pl.DataFrame = con.sql(sql, params=dict(params)).pl()
        return frame
    except duckdb.InterruptException:
        raise QueryError(f"stopped after {timeout:g} s; narrow the query, or give it more time with --timeout") from None
    except duckdb.Error as e:
        raise QueryError(str(e)) from e
    except Exception as e:  # of polars, which has no type for intervals, unions and others
        raise QueryError(f"a column has a type that cannot be shown ({e}); cast it to varchar") from e
    finally:
        if timer:
            timer.cancel()


def sql(lake: Lake | str, statement: str) -> pl.DataFrame:
    """Run a statement of our own on the lake as it is now; users' go through `auditlens.locked`."""
    return with_snapshot(lake if isinstance(lake, Lake) else Lake(lake), lambda con: query(con, statement, {}))
