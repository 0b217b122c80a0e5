"""Events the lake holds twice are found when they come in, and remembered; readers leave out all but the richest.

Only files whose times overlap a new file's can repeat its events, and of those only keys are read, so that rotated files
of one apiserver cost nothing here and those of three apiservers little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditlens.lake import DataFile, NewFile, Snapshot, Staging
from auditlens.tables import IDENTITY, RICHEST_FIRST, Audit, Repeats

if TYPE_CHECKING:
    import duckdb

_COLUMNS = tuple(dict.fromkeys((*IDENTITY, "date", "level", "truncated", "partial", "import_id", "source", "line", "item")))


def find_repeats(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, batch_id: str, staging: Staging
) -> tuple[list[NewFile], dict[str, int]]:
    """Compare the committed files of a batch in `audit` with everything else in the lake.

    Returns the files of `repeats` to commit and, per import id, how many of its events the lake held already (or twice in
    the source itself). Files of a batch that is not finished are compared too: of two importers that race, the one that
    looks last sees the other.
    """
    committed = snapshot.committed[Audit.NAME]
    mine = [f for f in committed if f.prefix == batch_id]
    con.execute("create or replace temp table repeat as select * from (" + Repeats.empty_select() + ")")
    seen = [f for f in committed if f.prefix != batch_id]
    for file in mine:
        low, high = file.min_time, file.max_time
        if low is None:  # only events cut before their times: compare with the whole day they were given
            others = [f for f in seen if f.cluster == file.cluster and f.date == file.date]
        else:
            others = [f for f in seen if f.cluster == file.cluster and f.overlaps(low, high)]
        _compare(con, file, others)
        seen.append(file)
    counted = con.execute(
        f"""
        with own as (select distinct import_id from read_parquet({_list(mine)}))
        select import_id, count(*) from (
            -- whichever side loses, the new one is the repeat
            select case when import_id in (from own) then import_id else kept_import_id end as import_id from repeat
        ) group by 1
        """
    ).fetchall() if mine else []
    if not counted:
        return [], {}
    files = []
    for cluster, date in con.execute("select distinct cluster, date::varchar from repeat order by all").fetchall():
        select = (
            "select distinct " + ", ".join(c.name for c in Repeats.stored()) + " from repeat "
            f"where cluster = '{cluster}' and date is not distinct from {_date(date)} order by all"
        )
        file = staging.write(con, Repeats, select, prefix=batch_id, partition={"cluster": cluster, "date": date})
        files += [file] if file else []
    return files, dict(counted)


def _compare(con: duckdb.DuckDBPyConnection, file: DataFile, others: list[DataFile]) -> None:
    columns = ", ".join(_COLUMNS)
    read = "select {c} from read_parquet({f}, hive_partitioning = true, hive_types = {{'cluster': varchar, 'date': date}})"
    mine = read.format(c=columns, f=_list([file]))
    window = (
        f" where stage_time between '{file.min_time.isoformat()}' and '{file.max_time.isoformat()}' or stage_time is null"
        if file.min_time and file.max_time
        else ""
    )
    theirs = read.format(c=columns, f=_list(others)) + window if others else f"select {columns} from ({mine}) where false"
    # First by three cheap columns, the full identity only where those meet.
    key = "audit_id, stage, stage_time"
    con.execute(
        f"""
        create or replace temp table met as
        with mine as ({mine}), theirs as ({theirs}),
        twice as (select {key} from mine group by all having count(*) > 1),
        shared as (select {key} from theirs semi join mine using ({key})),
        cut as (select audit_id, stage from mine where partial union select audit_id, stage from theirs where partial)
        select *, true as own from mine
            where ({key}) in (select ({key}) from twice union all select ({key}) from shared)
                or (audit_id, stage) in (select (audit_id, stage) from cut)
        union all
        select *, false from theirs
            where ({key}) in (select ({key}) from shared) or (audit_id, stage) in (select (audit_id, stage) from cut)
        """
    )
    if not con.execute("select count(*) from met").fetchall()[0][0]:
        return
    names = ", ".join(c.name for c in Repeats.columns())
    con.execute(
        f"""
        insert into repeat select {names} from (
            select *, first_value(import_id) over same as kept_import_id, row_number() over same as rank,
                bool_or(own) over (partition by {", ".join(IDENTITY)}) as new
            from met window same as (partition by {", ".join(IDENTITY)} order by {", ".join(RICHEST_FIRST)})
        ) where rank > 1 and new
        """
    )
    # A cut copy of an event that is there whole: what it still has must agree.
    agree = " and ".join(f"(p.{c} is null or p.{c} = f.{c})" for c in IDENTITY if c != "cluster")
    con.execute(
        f"""
        insert into repeat by name
        select distinct on (p.import_id, p.source, p.line, p.item)
            p.cluster, p.date, p.import_id, p.source, p.line, p.item, f.import_id as kept_import_id
        from met p join met f on p.cluster = f.cluster and p.audit_id = f.audit_id and not f.partial
        where p.partial and (p.own or f.own) and {agree}
        """
    )


def _list(files: list[DataFile]) -> str:
    return "[" + ", ".join("'" + str(f.file).replace("'", "''") + "'" for f in files) + "]"


def _date(value: str | None) -> str:
    return "null" if value is None else f"date '{value}'"
