"""What is declared is what is stored."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import day, imported, rows, write

from auditlens.lake import Lake
from auditlens.tables import IDENTITY, PUBLIC, TABLES, Audit, Table


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_is_described_and_has_a_type(table: type[Table]) -> None:
    for column in table.columns():
        assert column.doc.endswith("."), column.name
        assert column.type
    assert table.__doc__
    assert len({c.name for c in table.columns()}) == len(table.columns())


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_partitions_are_columns_that_the_files_do_not_repeat(table: type[Table]) -> None:
    names = [c.name for c in table.columns()]
    assert set(table.PARTITIONED_BY) <= set(names)
    assert not {c.name for c in table.stored()} & set(table.PARTITIONED_BY)
    assert table.TIME is None or table.TIME in names


def test_files_hold_the_declared_columns_in_order_and_views_the_declared_types(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    imported(lake, write(tmp_path / "a.log", [*day(24)]), write(tmp_path / "b.log", b"no event\n"))
    for name, files in Lake(lake).snapshot().committed.items():
        for file in files:
            assert pq.read_schema(file.file).names == [c.name for c in TABLES[name].stored()]
    for name in PUBLIC:
        described = [
            (c, t.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"))
            for c, t, *_ in rows(lake, f"select * from (describe {name})")
        ]
        assert described == [(c.name, c.type) for c in TABLES[name].columns()]


def test_views_of_an_empty_table_have_all_columns(tmp_path: Path) -> None:
    imported(tmp_path / "lake", write(tmp_path / "a.log", b""))
    for name in PUBLIC:
        assert [c for c, *_ in rows(tmp_path / "lake", f"select * from (describe {name})")] == [
            c.name for c in TABLES[name].columns()
        ]


def test_the_identity_is_made_of_columns() -> None:
    assert set(IDENTITY) <= {c.name for c in Audit.columns()}


def test_a_fingerprint_tells_columns_apart() -> None:
    prints = {t.fingerprint() for t in TABLES.values()}
    assert len(prints) == len(TABLES)
    assert all(len(p) == 6 for p in prints)
