"""DuckDB over one snapshot of the lake: the views that questions read, and locked-down SQL for users."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from auditlens.errors import QueryError
from auditlens.lake import DataFile, Lake, hide, scan, unhidden
from auditlens.tables import PUBLIC, TABLES, Repeats, Table

if TYPE_CHECKING:
    import duckdb
    import polars as pl

# What questions may use besides DuckDB's own functions; another engine provides the same.
_MACROS = """
-- no pattern fits everything; a glob comes as a LIKE pattern behind a \\x01 (see pattern() below)
create macro fits(v, p) as p is null or case when starts_with(p, chr(1)) then v like substr(p, 2) escape '\\' else v = p end;

-- plural resource of a request's path, null for what is no resource
create macro uri_resource(uri) as case
    when regexp_matches(uri, '^/api/[^/?]+/namespaces/[^/?]+/(status|finalize)([?]|$)') then 'namespaces'
    else nullif(regexp_extract(
        uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/(?:watch/)?(?:namespaces/[^/?]+/)?([a-z0-9.-]+)', 1), '') end;

-- its subresource, null where there is none
create macro uri_subresource(uri) as nullif(coalesce(
    nullif(regexp_extract(uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/namespaces/[^/?]+/[a-z0-9.-]+/[^/?]+/([a-z]+)', 1), ''),
    case when not regexp_matches(uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/(?:watch/|namespaces/[^/?]+/[^/?]+)') then regexp_extract(
        uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/[a-z0-9.-]+/[^/?]+/([a-z]+)', 1) end,
    regexp_extract(uri, '^/api/[^/?]+/namespaces/[^/?]+/(status|finalize)(?:[?]|$)', 1)), '');

-- httplog's verb in the words of audit events
create macro http_verb(verb) as case verb
    when 'POST' then 'create' when 'PUT' then 'update' when 'APPLY' then 'patch' when 'HEAD' then 'get' else lower(verb) end;

-- sessions and watches: their latency is their life
create macro long_running(verb, uri) as verb in ('watch', 'WATCH', 'connect', 'CONNECT', 'proxy')
    or regexp_matches(uri, '/(exec|attach|portforward|proxy)([/?]|$)')
    or regexp_matches(uri, '/log[?](.*&)?follow=(true|1)') or regexp_matches(uri, '[?&]watch=(true|1|&|$)|^/api.*/watch/');

-- the part of the control plane behind a request, null for anybody else; without service accounts of their own the controllers
-- are told apart by the end of their user agent (controller-manager: clientbuilder AddUserAgent)
create macro controller(username, user_agent) as case
    when username like 'system:serviceaccount:kube-system:%' then substr(username, 35)
    when username = 'system:kube-controller-manager'
        then coalesce(nullif(replace(split_part(user_agent, '/', -1), 'system:serviceaccount:kube-system:', ''), ''), 'kube-controller-manager')
    when username = 'system:kube-scheduler' then 'scheduler'
    when username = 'system:apiserver' then 'apiserver'
    when username like 'system:node:%' then 'kubelet' end;

-- milliseconds of a Go duration such as 1m2.5s
create macro duration_ms(t) as case when t is null then null else
    coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)h', 1), '') as double), 0) * 3600000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)m([0-9]|$)', 1), '') as double), 0) * 60000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)s$', 1), '') as double), 0) * 1000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)ms$', 1), '') as double), 0)
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)[uµμ]s$', 1), '') as double), 0) / 1000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)ns$', 1), '') as double), 0) / 1000000 end;

-- the part of the apiserver that a line of a trace names; a span stands for what its steps do not explain
create macro trace_part(name) as case
    when name like 'Call % webhook' or name like '%admission%' or name = 'About to store object in database'
        or name = 'About to delete object from database' then 'admission'
    when name like 'Proxy via%' or name like '%aggregat%' then 'backend'
    when name like '%etcd3%' or name like '%Txn call%' or name like 'Transaction %' or name like '%initial value restored%'
        or name like '%Retry value restored%' or name like '%List from storage%' or name like 'Listing from storage done%'
        or name like '%from underlying storage%' or name like 'Get succeeded%' or name like 'About to Get from storage%'
        or name like 'Object stored in database%' or name like 'Object deleted from database%'
        or name like 'Write to database call%' or name like 'About to write to%' then 'etcd'
    when lower(name) like 'cacher%' or name like 'watchCache %' or name = 'Ready' or name like 'Filtered items%'
        or name like 'Listed items from cache%' or name like 'Resized result%' then 'watch cache'
    when name like '%TransformFromStorage%' or name like 'TransformToStorage%' or name like 'Encode %' or name like 'Decode %'
        or name like 'Transformed response object%' or name like 'Transform%' then 'transform'
    when name like 'SerializeObject%' or name like 'About to start writing response%' then 'serialise'
    when name like 'Write call%' or name like 'Writing http response done%' or name like 'About to write a response%' then 'client write'
    when name like 'limitedReadBody%' or name like 'About to convert%' or name like 'Conversion done%' or name like '%apply patch%'
        or name like 'Patch applied%' or name like 'About to check%' then 'decoding'
    when name like '%audit%' or name like 'Call Audit%' then 'audit'
    when name = 'Request completed' then 'admission and etcd' end;
"""

# Table functions that users' SQL may call: none of them opens a file. DuckDB's own locks do not cover all that do (read_duckdb of
# 2.0), and query() hides from this list what it runs.
_TABLE_FUNCTIONS = frozenset((
    "unnest", "range", "generate_series", "repeat", "json_each", "json_tree", "duckdb_columns", "duckdb_functions", "duckdb_views",
))  # fmt: skip

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
    lake: Lake, *, since: dt.datetime | None = None, until: dt.datetime | None = None, memory_limit: str = MEMORY_LIMIT
) -> duckdb.DuckDBPyConnection:
    """A connection with a view for each public table, of the lake as it is now.

    Files that cannot hold anything between `since` and `until` are left out; rows are not filtered.
    """
    import duckdb

    snapshot = lake.snapshot()
    con = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": tempfile.gettempdir()})
    con.execute("set TimeZone = 'UTC'")
    con.execute("set parquet_metadata_cache = true")  # files never change; a question scans the same ones ten times
    con.execute(_MACROS)
    if repeats := snapshot.files(Repeats.NAME):
        hide(con, snapshot, repeats)
    for name in PUBLIC:
        table = TABLES[name]
        stored = _view(table, snapshot.files(name, since=since, until=until), hidden=bool(repeats))
        con.execute(f"create view {name} as " + " union all by name ".join((f"({stored})", *(f"({own})" for own in table.OWN))))
    return con


def with_snapshot(
    lake: Lake,
    run: Callable[[duckdb.DuckDBPyConnection], T],
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> T:
    """Run something on a connection; again on a new snapshot when it failed and the lake had changed under it."""
    for attempt in range(_ATTEMPTS):
        snapshot = lake.snapshot()
        try:
            return run(connect(lake, since=since, until=until))
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


def _refuse_files(statement: str) -> None:
    """QueryError for a statement that names a file, or a table function that could open one."""
    import json

    import duckdb

    with duckdb.connect() as con:
        parsed = json.loads(con.execute("select json_serialize_sql(?)", [statement]).fetchall()[0][0])
    if parsed["error"]:
        raise QueryError(f"this statement cannot be checked, so it is not run: {parsed.get('error_message', 'unknown reason')}")
    nodes: list[Any] = [parsed["statements"]]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, dict):
            nodes += node.values()
            name = node.get("table_name") or ""
            if node.get("type") == "BASE_TABLE" and not re.fullmatch(r"\w+", name):
                raise QueryError(f"{name}: only the tables of the lake can be read here")
            if node.get("type") == "TABLE_FUNCTION":
                function = str((node.get("function") or {}).get("function_name"))
                if function not in _TABLE_FUNCTIONS:
                    raise QueryError(
                        f"{function}(): of table functions only {', '.join(sorted(_TABLE_FUNCTIONS))} may be called here"
                    )


def sql(lake: Lake | str, statement: str, *, timeout: float = 60.0) -> pl.DataFrame:
    """Run one read-only SELECT on the tables of the lake.

    The connection can read the snapshot's files and nothing else: no other file, no network, no setting, no second
    statement, no DDL.

    Raises:
        QueryError: it is not one SELECT, DuckDB refused it, or it ran longer than `timeout` seconds.
    """
    import duckdb

    lake = lake if isinstance(lake, Lake) else Lake(lake)
    try:
        statements = duckdb.extract_statements(statement)
    except duckdb.Error as e:
        raise QueryError(str(e)) from e
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("only one SELECT statement is run here; see `auditlens sql --help` for the tables")
    _refuse_files(statement)

    def run(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
        snapshot = lake.snapshot()
        allowed = [str(f.file) for name in (*PUBLIC, Repeats.NAME) for f in snapshot.files(name)]
        con.execute("set allowed_paths = [" + ", ".join("'" + p.replace("'", "''") + "'" for p in allowed) + "]")
        con.execute("set enable_external_access = false")
        con.execute("set python_enable_replacements = false")
        con.execute("set lock_configuration = true")
        return query(con, statement, {}, timeout=timeout)

    return with_snapshot(lake, run)
