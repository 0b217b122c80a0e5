"""SQL of users reads the tables of the lake and nothing else, changes nothing, and ends."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import auditlens, children_of, day, imported, write

from auditlens import locked
from auditlens.engine import connect
from auditlens.errors import LakeError, QueryError
from auditlens.lake import Lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sql")
    imported(root / "lake", write(root / "a.log", day(40)))
    return root / "lake"


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) as n from audit",
        "from audit select count(*) as n",
        "with x as (select * from audit) select count(*) as n from x",
        "select count(*) as n from (select unnest(user_groups) from audit) union all select 1 order by n desc limit 1",
        "select count(*) as n from audit as a join audit_objects as t using (audit_id)",
        "select count(*) as n from range(40)",
        "values (40)",
        "describe audit",
        "summarize audit",
        "show tables",
    ],
)
def test_selects_are_answered(lake: Path, statement: str) -> None:
    assert locked.sql(str(lake), statement).height > 0


@pytest.mark.parametrize(
    "statement",
    [
        "copy audit to '{dir}/out.csv'",
        "export database '{dir}/out'",
        "attach '{dir}/other.db' as other",
        "explain analyze create table x as select 1",
        "explain select 1",
        "drop view audit",
        "create table x as select 1",
        "create or replace view audit as select 1",
        "insert into audit select * from audit",
        "update audit set verb = 'x'",
        "delete from audit",
        "set memory_limit = '100GB'",
        "reset lock_configuration",
        "pragma database_list",
        "call pragma_version()",
        "install httpfs",
        "load httpfs",
        "checkpoint",
        "select 1; select 2",
        "select 1; drop view audit",
        "pivot audit on verb using count(*)",
        "",
        "selec 1",
        "select * from read_text('{dir}/secret.txt')",
        "select * from read_blob('{dir}/secret.txt')",
        "select * from read_csv('{dir}/secret.txt')",
        "select * from read_json('{dir}/secret.txt')",
        "select * from sniff_csv('{dir}/secret.txt')",
        "select * from glob('{dir}/*')",
        "select * from '{dir}/secret.txt'",
        "select * from '{dir}/other.parquet'",
        "select * from read_parquet('{dir}/other.parquet')",
        "select * from parquet_metadata('{dir}/other.parquet')",
        # DuckDB 2.0 opens a database file here in spite of enable_external_access = false
        "select * from read_duckdb('{dir}/other.db')",
        "select * from '{dir}/other.db'",
        'select * from "{dir}/other.db"',
        "from '{dir}/other.db'",
        "select (select max(a) from read_duckdb('{dir}/other.db'))",
        "with t as (from read_duckdb('{dir}/other.db')) select * from t",
        "select * from audit order by (select a from read_duckdb('{dir}/other.db'))",
        "select * from query('select * from read_duckdb(''{dir}/other.db'')')",
        "select * from query_table('{dir}/other.db')",
        "select * from 'http://127.0.0.1:9/x.parquet'",
        "select getenv('HOME')",
        "select current_setting('allowed_paths')",
        "select main.current_setting('allowed_paths')",
        "select 'allowed_paths'.current_setting()",
        "select pg_get_viewdef(oid) from pg_class",
        "select * from pg_catalog.pg_settings",
        "select * from pg_settings",
        "describe pg_settings",
        "summarize duckdb_settings",
        "show databases",
        "show settings",
        "show all tables",
        "from duckdb_settings()",
        "from duckdb_views()",
        "select sql from duckdb_views",
        "select view_definition from information_schema.views",
        "select * from main.audit",
        "with pg_settings as (from pg_catalog.pg_settings) from pg_settings",
        "select * from (with pg_settings as (select 1) from pg_settings), pg_settings",
        "with x as (select 1) from audit where verb = (select max(value) from duckdb_settings())",
        "select sleep_ms(1)",
        "select " + "+".join("1" * 3000),
        "select * from duckdb_secrets()",
        "select * from frame",  # Python's variables are no tables
    ],
)
def test_everything_else_is_refused(lake: Path, tmp_path: Path, statement: str) -> None:
    (tmp_path / "secret.txt").write_text("hunter2\n")
    frame = pl.DataFrame({"a": ["hunter2"]})
    frame.write_parquet(tmp_path / "other.parquet")
    with duckdb.connect(str(tmp_path / "other.db")) as con:
        con.execute("create table t as select 'hunter2' as a")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(QueryError) as refused:
        locked.sql(str(lake), statement.format(dir=tmp_path))
    assert "hunter2" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_query_that_never_ends_is_stopped(lake: Path) -> None:
    with pytest.raises(QueryError, match="stopped after 1 s"):
        locked.sql(str(lake), "select count(*) from range(1e18::bigint) as a, range(1000000) as b", timeout=1)


@pytest.mark.parametrize(
    "statement",
    [
        "select length(repeat('x', 2000000000))",  # one allocation that DuckDB does not count
        "select max(length(repeat(verb, 20000000))) from audit, range(100000)",  # hears no interrupt
        "select list(repeat('x', 1000000)) from range(1000000)",
        "select repeat('x', 1000) from range(1000000000)",  # a frame that is larger than the machine
        "select string_agg(a.i || b.i, '' order by a.i desc) from range(100000) a(i), range(100000) b(i)",
    ],
)
def test_whatever_it_asks_for_it_gets_no_more_than_its_time_and_memory(lake: Path, statement: str) -> None:
    """Measured of the command, whose child is the query: the time is 4 s, the memory 2 GiB beyond what a process begins with."""
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "auditlens", "sql", statement, "--lake", lake, "--timeout", "4"]) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1
    assert time.monotonic() - began < 60  # with the start of two processes on a busy machine
    assert used.ru_maxrss << 10 < 2500 << 20
    assert not list(Path(tempfile.gettempdir()).glob("auditlens-sql-*/duckdb*"))


def test_a_query_ends_with_who_asked(lake: Path) -> None:
    program = "import sys; from auditlens import sql; print(flush=True); sql(sys.argv[1], sys.argv[2])"
    endless = "select count(*) from range(1e18::bigint) as a, range(1000000) as b"
    with subprocess.Popen([sys.executable, "-c", program, lake, endless], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        until = time.monotonic() + 60
        while not (children := children_of(process.pid)):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture(scope="module")
def con(lake: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(Lake(lake)) as con:
        yield con


# What tells settings, paths, environment, session or catalogue, waits, writes, or is DuckDB's own. Whoever adds to this or to
# functions.txt has decided about a function that a new version brought.
REFUSED = re.compile(
    r"__internal_.*|has_.*_privilege|inet_.*|pg_(?!typeof|size_pretty).*|(col|obj|shobj)_description|(curr|next|set)val|setseed"
    r"|current_(catalog|connection_id|database|query|query_id|role|schemas?|setting|transaction_id|user)|session_user|user|version"
    r"|combine|combine_aggr|constant_or_null|finalize|format_pg_type|format_type|get_block_size|getenv|getvariable|in_search_path"
    r"|index_key|json_(de)?serialize_(sql|plan)|map_to_pg_oid|map_type_id_to_pg_oid|parse_duckdb_log_message|sleep_ms|stats"
    r"|to_aggregate_state|txid_current|vector_type|write_log"
)


def _functions(con: duckdb.DuckDBPyConnection, kinds: str) -> list[str]:
    listed = f"select distinct function_name from duckdb_functions() where internal and function_type in ({kinds}) order by all"
    return [name for (name,) in con.execute(listed).fetchall()]


def test_every_function_is_either_allowed_or_refused(con: duckdb.DuckDBPyConnection) -> None:
    names = _functions(con, "'scalar', 'aggregate', 'macro', 'window'")
    assert len(names) > 900
    for name in names:
        word = name.isidentifier()
        if REFUSED.fullmatch(name.lower()):
            assert name.lower() not in locked.functions()
            with pytest.raises(QueryError, match="is not among the functions"):
                locked.refuse(con, f'select "{name}"()')
        elif word and (duckdb.__version__ == "2.0.1" or name.lower() in locked.functions()):
            locked.refuse(con, f'select "{name}"()')


def test_every_table_function_but_a_few_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    names = _functions(con, "'table', 'table_macro', 'pragma'")
    assert len(names) > 100
    for name in names:
        if name not in locked.TABLE_FUNCTIONS:
            with pytest.raises(QueryError, match="may be called here"):
                locked.refuse(con, f'from "{name}"()')


def test_no_allowed_function_tells_a_path_or_the_environment(
    con: duckdb.DuckDBPyConnection, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the names of settings, variables and catalogue entries as its arguments; most calls fail, none may tell."""
    monkeypatch.setenv("CANARY", "hunter2")
    con.execute(f"set temp_directory = '{lake}/spill'")
    told = []
    names = [*_functions(con, "'scalar', 'aggregate', 'macro'"), *locked.TABLE_FUNCTIONS]
    for name in [n for n in names if n.lower() in locked.functions() | locked.TABLE_FUNCTIONS and n.isidentifier()]:
        for arguments in (
            "",
            "'temp_directory'",
            "'CANARY'",
            "'audit'",
            "'select 1'",
            "'audit', 1",
            "1, 'audit'",
            "'audit', 'audit'",
        ):
            shape = "select * from {}({}) limit 1000" if name in locked.TABLE_FUNCTIONS else "select {}({})"
            with contextlib.suppress(duckdb.Error):
                answer = str(con.execute(shape.format(name, arguments)).fetchall())
                told += [(name, arguments)] if "hunter2" in answer or str(lake) in answer else []
    assert not told


@pytest.mark.parametrize("name", sorted(p.name for p in (Path(locked.__file__).parent / "questions").glob("*.sql")))
def test_every_question_may_be_run_as_sql_of_ones_own(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """The dashboard shows each as such; parameters are filled in there."""
    text = (Path(locked.__file__).parent / "questions" / name).read_text(encoding="utf-8").partition("*/")[2]
    locked.refuse(con, re.sub(r"\$[a-z_]+", "null", text))


def test_macros_of_the_questions_may_be_called(lake: Path) -> None:
    assert locked.sql(str(lake), "select fits(verb, 'g\x01') as x from audit limit 1").height == 1


def test_the_command_says_what_is_wrong_in_one_line(lake: Path) -> None:
    done = auditlens("sql", "select nothing from audit", "--lake", lake)
    assert done.returncode == 1
    assert b"nothing" in done.stderr
    assert b"Traceback" not in done.stderr
    good = auditlens("sql", "select count(*) as n from audit", "--lake", lake, "-o", "json")
    assert good.stdout.strip() == b'[{"n": 40}]'


def test_a_broken_lake_is_said_as_by_every_command(lake: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(lake, tmp_path / "lake")
    for log in (broken / "audit" / "_delta_log").iterdir():
        log.write_bytes(b"{")
    with pytest.raises(LakeError) as here:
        connect(Lake(broken))
    with pytest.raises(LakeError) as there:
        locked.sql(str(broken), "select 1")
    assert str(there.value).splitlines()[0] == str(here.value).splitlines()[0]
