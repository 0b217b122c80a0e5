"""SQL of users: one SELECT on the tables of the lake, in a process that the system keeps within its memory and time.

DuckDB's own limits do not hold everywhere: `select length(repeat('x', 2000000000))` allocates beyond its memory limit and
hears no interrupt. So the statement runs in a child with limits that the system enforces, and the child is killed when the
time is over. Its tables and functions are those that are known to tell nothing but the lake's rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens import process
from auditlens.errors import AuditlensError, LakeError, QueryError
from auditlens.quoting import quoted

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from auditlens.lake import Lake

_START = 60.0  # seconds until the statement must run: reading a snapshot on a busy machine
_MEMORY = 2 << 30  # bytes: twice DuckDB's own limit, for the frame, vectors that it does not count, stacks of threads
_SPILL = 4 << 30  # bytes on disk
_ERRORS = {error.__name__: error for error in (QueryError, LakeError)}

# Table functions that may be called: none opens a file or tells a path, a setting or another session.
TABLE_FUNCTIONS = frozenset((
    "unnest", "range", "generate_series", "repeat", "json_each", "json_tree", "duckdb_columns", "duckdb_functions",
    "stages_in", "ended_in", "writes_in", "requests_in",  # of words.sql: they read the lake's tables
))  # fmt: skip


@cache
def functions() -> frozenset[str]:
    """The functions of DuckDB that work on their arguments alone; one that is not listed is not called."""
    text = (files("auditlens") / "data" / "functions.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("# ") for word in line.split())


def sql(lake: Lake | str | Path, statement: str, *, timeout: float = 60.0) -> pl.DataFrame:
    """Run one read-only SELECT on the tables of the lake.

    It can read the snapshot's files and nothing else: no other file, no network, no setting, no second statement, no DDL. It
    has 2 GB of memory and 4 GB of disk, and is killed when its time is over.

    Raises:
        QueryError: it is not one SELECT, DuckDB refused it, or it ran longer than `timeout` seconds or out of its limits.
        LakeError: there is no lake, or it cannot be read.
    """
    import polars as pl

    path = str(getattr(lake, "path", lake))
    with tempfile.TemporaryDirectory(prefix="auditlens-sql-", ignore_cleanup_errors=True) as spill:
        request = {"lake": path, "statement": statement, "timeout": timeout, "parent": os.getpid()}
        return pl.read_ipc_stream(_asked(json.dumps(request).encode(), timeout, Path(spill)))


def _asked(request: bytes, timeout: float, spill: Path) -> bytes:
    """The Arrow stream that a child answers with."""
    late, stderr = threading.Event(), spill / "stderr"
    with (
        stderr.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "auditlens.locked"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=process.environment() | {"TMPDIR": str(spill)},
        ) as child,
    ):  # fmt: skip
        assert child.stdin and child.stdout

        def kill() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(_START, kill)
        timer.start()
        begun = answer = b""
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: why, is seen below
                child.stdin.write(request)
                child.stdin.close()
            begun = child.stdout.read(1)
            timer.cancel()
            timer = threading.Timer(timeout, kill)
            timer.start()
            answer = child.stdout.read()
            status = child.wait()
        finally:
            timer.cancel()
            child.kill()
    if late.is_set():
        if not begun:
            raise QueryError(f"the query did not begin within {_START:g} s; is the machine busy?")
        raise QueryError(f"stopped after {timeout:g} s; narrow the query, or give it more time with --timeout")
    return _answer(answer, status, stderr)


def _answer(answer: bytes, status: int, stderr: Path) -> bytes:
    if answer[:1] == b"1":
        return answer[1:]
    if answer[:1] == b"0":
        kind, text = json.loads(answer[1:])
        raise _ERRORS.get(kind, AuditlensError)(text)
    if status == -signal.SIGXCPU:
        raise QueryError("stopped: it took more CPU time than it may have; narrow the query")
    said = stderr.read_text(errors="replace").strip().splitlines()[-1:] or [f"status {status}"]
    raise QueryError(f"stopped: its process ended ({said[0][:300]}), most likely for want of memory; narrow the query")


def main() -> None:
    """The child: a request on stdin; on stdout a byte when it begins, then 1 and the frame or 0 and the error."""
    request = json.loads(sys.stdin.buffer.read())
    process.die_with(request["parent"])
    out = _Out()
    try:
        frame = _run(request, out)
        out.begin()
        out.pipe.write(b"1")
        frame.write_ipc_stream(out.pipe)
    except AuditlensError as e:
        out.fail(type(e).__name__, str(e))
    except MemoryError:
        out.fail("QueryError", "it needs more memory than it may have; narrow the query")
    except RecursionError:
        out.fail("QueryError", "it is nested too deeply to be checked, so it is not run")
    out.pipe.flush()
    os._exit(0)  # DuckDB's threads are not waited for: nothing they do needs an end


class _Out:
    """What the parent reads; whatever a library prints goes to stderr."""

    def __init__(self) -> None:
        self.pipe = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._begun = False

    def begin(self) -> bool:
        """Let the time run; False when it does already."""
        if self._begun:
            return False
        self._begun = True
        self.pipe.write(b".")
        self.pipe.flush()
        return True

    def fail(self, kind: str, text: str) -> None:
        """Answer with an error."""
        self.begin()
        self.pipe.write(b"0" + json.dumps([kind, text]).encode())


def _run(request: dict[str, Any], out: _Out) -> pl.DataFrame:
    from auditlens import engine
    from auditlens.lake import Lake

    lake, statement = Lake(request["lake"]), request["statement"]

    def run(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
        if out.begin():
            cpu = int(request["timeout"] * (os.cpu_count() or 1)) + 30
            process.limit(more_bytes=_MEMORY, cpu_seconds=cpu, file_bytes=_SPILL)
        refuse(con, statement)
        _lock(con, lake)
        return engine.query(con, statement, {})

    return engine.with_snapshot(lake, run)


def _lock(con: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Close every way out of the snapshot's files that DuckDB can close."""
    from auditlens.tables import PUBLIC, Duplicates

    snapshot = lake.snapshot()
    allowed = [str(f.file) for name in (*PUBLIC, Duplicates.NAME) for f in snapshot.files(name)]
    con.execute(f"set allowed_paths = [{', '.join(map(quoted, allowed))}]")
    con.execute(f"set max_temp_directory_size = '{_SPILL} bytes'")
    con.execute("set enable_external_access = false")
    con.execute("set python_enable_replacements = false")
    con.execute("set lock_configuration = true")


def refuse(con: duckdb.DuckDBPyConnection, statement: str) -> None:
    """QueryError for what is no SELECT, and for one that names anything but the lake's tables and harmless functions."""
    import duckdb

    try:
        statements = duckdb.extract_statements(statement)
    except duckdb.Error as e:
        raise QueryError(str(e)) from e
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("only one SELECT statement is run here; see `auditlens sql --help` for the tables")
    parsed = json.loads(con.execute("select json_serialize_sql(?)", [statement]).fetchall()[0][0])
    if parsed["error"]:
        raise QueryError(f"this statement cannot be checked, so it is not run: {parsed.get('error_message', 'unknown reason')}")
    own, system = (_names(con, f"select view_name from duckdb_views() where internal = {internal}") for internal in (False, True))
    macros = _names(con, "select function_name from duckdb_functions() where not internal")
    nodes = _nodes(parsed["statements"])
    ctes = {str(key) for node in nodes for key in _ctes(node)}
    tables = own | ({name.lower() for name in ctes if re.fullmatch(r"\w+", name)} - system)
    for node in nodes:
        _refuse_node(node, tables, own, functions() | TABLE_FUNCTIONS | macros)


def _names(con: duckdb.DuckDBPyConnection, statement: str) -> set[str]:
    return {str(name).lower() for (name,) in con.execute(statement).fetchall()}


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """Every object of a parsed statement."""
    out, left = [], [tree]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            out.append(node)
            left += node.values()
    return out


def _ctes(node: dict[str, Any]) -> list[str]:
    return [entry["key"] for entry in (node.get("cte_map") or {}).get("map") or []]


def _refuse_node(node: dict[str, Any], tables: set[str], own: set[str], known: frozenset[str]) -> None:
    match node.get("type"):
        case "BASE_TABLE":
            path = [p for p in (node.get("catalog_name"), node.get("schema_name")) if p]
            name = str(node.get("table_name"))
            if path or name.lower() not in tables:
                raise QueryError(
                    f"{'.'.join([*path, name])}: only the tables of the lake can be read here: {', '.join(sorted(own))}"
                )
        case "SHOW_REF":
            name = str(node.get("table_name")).strip('"').lower()
            if node.get("query") is None and (
                name not in {*own, "tables"} or node.get("schema_name") or node.get("catalog_name")
            ):
                raise QueryError(f"{name}: only the tables of the lake can be shown here: {', '.join(sorted(own))}")
        case "TABLE_FUNCTION":
            function = node.get("function") or {}
            if _function(function) not in TABLE_FUNCTIONS:
                allowed = ", ".join(sorted(TABLE_FUNCTIONS))
                raise QueryError(f"{_function(function)}(): of table functions only {allowed} may be called here")
        case _:
            if "function_name" in node and _function(node) not in known:
                raise QueryError(f"{_function(node)}(): is not among the functions that may be called here")


def _function(node: dict[str, Any]) -> str:
    return str(node.get("function_name")).lower()  # its schema may be the column of a call like `verb.upper()`


if __name__ == "__main__":
    main()
