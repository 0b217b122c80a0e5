"""SQL of users reads the tables of the lake and nothing else, changes nothing, and ends."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import auditlens, day, imported, write

from auditlens import engine
from auditlens.errors import QueryError


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
    assert engine.sql(str(lake), statement).height > 0


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
        engine.sql(str(lake), statement.format(dir=tmp_path))
    assert "hunter2" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_query_that_never_ends_is_stopped(lake: Path) -> None:
    with pytest.raises(QueryError, match="stopped after 1 s"):
        engine.sql(str(lake), "select count(*) from range(1e18::bigint) as a, range(1000000) as b", timeout=1)


def test_a_result_too_large_for_its_memory_is_an_error_and_not_the_end(lake: Path) -> None:
    with pytest.raises(QueryError):
        engine.sql(str(lake), "select list(repeat('x', 1000000)) from range(1000000)", timeout=20)
    assert engine.sql(str(lake), "select 1 as one").item() == 1


def test_the_command_says_what_is_wrong_in_one_line(lake: Path) -> None:
    done = auditlens("sql", "select nothing from audit", "--lake", lake)
    assert done.returncode == 1
    assert b"nothing" in done.stderr
    assert b"Traceback" not in done.stderr
    good = auditlens("sql", "select count(*) as n from audit", "--lake", lake, "-o", "json")
    assert good.stdout.strip() == b'[{"n": 40}]'
