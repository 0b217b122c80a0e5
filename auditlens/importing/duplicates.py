"""Events the lake holds twice are found when they come in, and remembered; readers leave out all but the richest.

Only files whose times overlap a new file's can repeat its events, and of those only keys are read, so that rotated files
of one apiserver cost nothing here and those of three apiservers little.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from auditlens.importing.sources import STDIN
from auditlens.lake import DataFile, NewFile, Snapshot, Staging
from auditlens.lake.snapshot import file_list
from auditlens.quoting import instant, quoted
from auditlens.tables import IDENTITY, RICHEST_FIRST, Audit, Duplicates

if TYPE_CHECKING:
    import duckdb

_DAY = dt.timedelta(days=1)
_DUMPED = "(time_source = 'received' and coalesce(not partial, true))"
_TYPES = "{'cluster': varchar, 'date': date}"
_KEPT = "struct_pack(kept_import_id := import_id, kept_source := source, kept_line := line, kept_item := item)"
_COLUMNS = tuple(
    dict.fromkeys((*IDENTITY, "date", "level", "truncated", "partial", "time_source", "import_id", "source", "line", "item"))
)


def find_duplicates(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, batch_id: str, staging: Staging
) -> tuple[list[NewFile], dict[str, int]]:
    """Compare the committed files of a batch in `audit` with one another and with those of all finished imports.

    Returns the files of `duplicates` to commit and, per import id, how many of its events the lake held already (or twice in
    the sources themselves). Imports that are not finished do not count: whichever finishes later looks again.
    """
    mine = [f for f in snapshot.committed[Audit.NAME] if f.prefix == batch_id]
    if not mine:
        return [], {}
    con.execute(
        "create or replace temp table repeat as select *, null::varchar as kept_source, null::bigint as kept_line, "
        "null::bigint as kept_item from (" + Duplicates.empty_select() + ")"
    )
    seen = snapshot.files(Audit.NAME)
    around = _around(mine)
    for file in mine:
        low, high = (file.min_time, file.max_time) if file.min_time else around
        there = [f for f in seen if f.cluster == file.cluster]
        others = [f for f in there if low is None or f.overlaps(low, high)]
        _compare(con, file, others, _elsewhere(con, file, there))
        seen.append(file)
    counted = con.execute(
        f"""
        with own as (select distinct import_id from read_parquet({file_list(mine)}))
        -- of what was there and what is new the new one is the duplicate, whichever is kept
        select import_id, count(*) from (
            select import_id, source, line, item from repeat where import_id in (from own)
            union
            select kept_import_id, kept_source, kept_line, kept_item from repeat
            where kept_import_id in (from own) and import_id not in (from own)
        ) group by 1
        """
    ).fetchall()
    return (_written(con, staging, batch_id), dict(counted)) if counted else ([], {})


def _around(files: list[DataFile]) -> tuple[dt.datetime | None, dt.datetime | None]:
    """The time to look at for a file without one: its events were cut before their times, and are of about those they came with."""
    low = min((f.min_time for f in files if f.min_time), default=None)
    high = max((f.max_time for f in files if f.max_time), default=None)
    return low and low - _DAY, high and high + _DAY


def _written(con: duckdb.DuckDBPyConnection, staging: Staging, batch_id: str) -> list[NewFile]:
    """The rows of `repeat` as files of `duplicates`."""
    files: list[NewFile] = []
    for cluster, date in con.execute("select distinct cluster, date::varchar from repeat order by all").fetchall():
        select = (
            "select distinct " + ", ".join(c.name for c in Duplicates.stored()) + " from repeat "
            f"where cluster = {quoted(cluster)} and date is not distinct from {_date(date)} order by all"
        )
        new = staging.write(con, Duplicates, select, prefix=batch_id, partition={"cluster": cluster, "date": date})
        files += [new] if new else []
    return files


def _elsewhere(con: duckdb.DuckDBPyConnection, file: DataFile, files: list[DataFile]) -> list[str]:
    """Selects of what repeats an event outside the file's own time: a dumped event, and one that was cut before its stage's time,
    stand where their request was received."""
    if file.min_time is None or file.max_time is None:
        return []
    ((received, first, last),) = con.execute(
        "select min(received_time), min(received_time) filter (time_source = 'received'), "
        f"max(received_time) filter (time_source = 'received') from read_parquet({file_list([file])})"
    ).fetchall()
    low, high = (instant(t) for t in (file.min_time, file.max_time))
    out = []
    if received is not None and (dumped := [f for f in files if f.overlaps(max(received, file.min_time - _DAY), file.min_time)]):
        out.append(_read(dumped) + f" where time_source = 'received' and stage_time < {low}")
    if first is not None and (whole := [f for f in files if f.overlaps(file.max_time, last + _DAY)]):
        window = f"received_time between {instant(first)} and {instant(last)}"
        out.append(_read(whole) + f" where {window} and stage_time > {high}")
    return out


def _read(files: list[DataFile]) -> str:
    return f"select {', '.join(_COLUMNS)} from read_parquet({file_list(files)}, hive_partitioning = true, hive_types = {_TYPES})"


def _compare(con: duckdb.DuckDBPyConnection, file: DataFile, others: list[DataFile], elsewhere: list[str]) -> None:
    """Put into `repeat` what a file holds twice, or holds of what the others and the selects elsewhere hold."""
    _meet(con, file, others, elsewhere)
    if con.execute("select count(*) from met").fetchall()[0][0]:
        _repeat_equal(con)
        _repeat_cut(con)


def _meet(con: duckdb.DuckDBPyConnection, file: DataFile, others: list[DataFile], elsewhere: list[str]) -> None:
    """The table `met`: what may be there twice, by a number made of three columns, or by being cut; the rest is never compared."""
    mine = _read([file])
    window = (
        f" where stage_time between {instant(file.min_time)} and {instant(file.max_time)} or stage_time is null or partial"
        if file.min_time and file.max_time
        else ""
    )
    theirs = " union all ".join([_read(others) + window if others else mine + " where false", *elsewhere])
    key = "hash(audit_id, stage, stage_time) as key"
    con.execute(
        f"""
        create or replace temp table met as
        with mine as (select *, {key} from ({mine})), theirs as (select *, {key} from ({theirs})),
        twice as (select key from mine group by key having count(*) > 1),
        shared as (select key from theirs semi join mine using (key)),
        -- what was cut may lack any of these: it meets what has its audit id, or stands where it stood; so does what the
        -- apiserver's own log says of a failed event
        cut as (select audit_id, source, line from (from mine union all from theirs) where partial or time_source = 'received'),
        near as (
            select *, key in (from shared) or (own and key in (from twice)) as equal,
                partial or audit_id in (select audit_id from cut)
                or (source, line) in (select (source, line) from cut where audit_id is null) as torn
            from (select *, true as own from mine union all select *, false from theirs)
        )
        select * exclude (key, equal, torn) from near where equal or torn
        """
    )


def _repeat_equal(con: duckdb.DuckDBPyConnection) -> None:
    """Of events whose full identity is equal all but the richest."""
    con.execute(
        f"""
        insert into repeat by name select cluster, date, import_id, source, line, item, unnest(kept) from (
            select *, row_number() over same as rank, bool_or(own) over (partition by {", ".join(IDENTITY)}) as new,
                first_value({_KEPT}) over same as kept
            from met window same as (partition by {", ".join(IDENTITY)} order by {", ".join(RICHEST_FIRST)})
        ) where rank > 1 and new
        """
    )


def _repeat_cut(con: duckdb.DuckDBPyConnection) -> None:
    """A cut copy of an event that is there whole, or cut later: what it still has must agree.

    So must the copy that the apiserver dumps into its own log (pkg/audit/format.go, EventString): it has no stage time, and the
    first address only.
    """
    # Without its stage's time, an event has the time it was received in that place, which says nothing here.
    own = f"""{_DUMPED} as dumped, * replace (
        case when {_DUMPED} or (partial and time_source is distinct from 'event') then null else stage_time end as stage_time)"""
    agree = " and ".join(f"(p.{c} is null or p.{c} = f.{c})" for c in IDENTITY if c not in ("cluster", "source_ips"))
    known = " + ".join(f"({c} is not null)::int" for c in IDENTITY)
    con.execute(
        f"""
        insert into repeat by name
        select distinct on (p.import_id, p.source, p.line, p.item)
            p.cluster, p.date, p.import_id, p.source, p.line, p.item, unnest(f.kept)
        from (select *, {known} as known from (select {own} from met)) p
        join (select *, {known} as known, {_KEPT} as kept from (select {own} from met)) f
            on p.cluster = f.cluster and (
                p.audit_id = f.audit_id
                or p.audit_id is null and coalesce(p.level = f.level, true) and p.source = f.source and p.line = f.line and p.source <> '{STDIN}'
            )
        where (p.partial or p.dumped) and not f.dumped and (not f.partial or f.known > p.known) and (p.own or f.own) and {agree}
            and (p.source_ips is null or p.source_ips = f.source_ips or (p.dumped and p.source_ips = f.source_ips[1:1]))
        order by p.import_id, p.source, p.line, p.item, f.partial, f.known desc, f.kept
        """
    )


def _date(value: str | None) -> str:
    return "null" if value is None else f"date {quoted(value)}"
