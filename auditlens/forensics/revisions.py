"""Whether the store made a write the log does not explain: resource versions are etcd revisions, and each write takes one.

Source: etcd API guarantees (revisions grow by one with each change), KEP-5504 (comparable resource versions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditlens.forensics.events import Touch

if TYPE_CHECKING:
    import duckdb

_SQL = """
    with near as (
        select received_time as received, stage_time as stage, try_cast(object_resource_version as bigint) as rv, verb,
            object_resource_version is null and verb <> 'deletecollection' and resource not like '%reviews'
                and coalesce(subresource, '') not in ('token', 'exec', 'attach', 'portforward', 'proxy', 'log') as silent
        from audit
        where stage = 'ResponseComplete' and code < 300 and not coalesce(dry_run, false)
            and verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
            and stage_time between $r - interval 3 minute and $t + interval 3 minute
    ),
    v as (
        select rv, min(received) as received, min(stage) as stage, rv - lag(rv) over (order by rv) - 1 as gap
        from near where rv is not null and verb not in ('delete', 'deletecollection') group by rv
    ),
    bounds as (
        select max(rv) filter (where stage <= $r) as low, min(rv) filter (where received >= $t + interval 10 second) as high,
            max(stage) filter (where stage <= $r) as low_time,
            min(received) filter (where received >= $t + interval 10 second) as high_time
        from v
    ),
    -- what the server writes unseen in ten seconds
    bins as (
        select time_bucket(interval 10 second, stage) as bin, sum(missing) as missing
        from (select stage, gap as missing from v union all select stage, -1 from near where silent or verb = 'delete')
        group by bin
    )
    select high - low - 1 - (select count(*) from v where rv > low and rv < high)
            - (select count(*) from near where (silent or verb = 'delete') and received >= low_time and stage <= high_time) as missing,
        (select median(greatest(missing, 0)) from bins) * (epoch(high_time) - epoch(low_time)) / 10 as usual
    from bounds
"""


def unexplained(con: duckdb.DuckDBPyConnection, event: Touch) -> bool:
    """Whether revisions around a write of unknown outcome are missing, more of them than the server's own writes account for.

    The server writes some keys that no request shows (its lease among the apiservers, every 10 s); how many is taken from the
    minutes around. A write may land up to 10 s after its request was given up.
    """
    row = con.execute(_SQL, {"r": event.received, "t": event.time}).fetchall()
    missing, usual = row[0] if row else (None, None)
    return missing is not None and missing > int(max(usual or 0, 0))
