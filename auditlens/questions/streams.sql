/*
title = "Sources that keep coming, webhook sinks and followed files: how fast they come and how far behind they are"
group = "lake"
show = ["stream", "per_second", "lag_s", "median_lag_s", "p95_lag_s", "records", "commits", "duplicates", "rejects", "last_event", "last_commit", "error"]
needs = "nothing: it is asked of the lake's own accounts"
logged = []

[params]
cluster = ""
limit = {default = 500}
*/
with commits as (
    select
        case when source like 'webhook:%' then regexp_replace(source, '/[0-9]+$', '') else source end as stream,
        epoch(imported_at - last_time) as lag,
        *
    from imports
    where same(cluster, $cluster)
),
lasting as (
    select stream, max(imported_at) as last_commit
    from commits
    group by stream
    having count(*) > 1 or min(source) like 'webhook:%'
)
select
    stream,
    count(*) as commits,
    cast(sum(records) as bigint) as records,
    -- records a second in the minute before the last commit
    rounded(cast(sum(records) filter (where imported_at > last_commit - interval 1 minute) as double) / 60, 1000) as per_second,
    min(imported_at) as first_commit,
    -- seconds from the last event of a commit to when it could be read
    rounded(max(struct_pack(imported_at := imported_at, lag := lag)).lag, 1000) as lag_s,
    rounded(quantile_disc(lag, 0.5), 1000) as median_lag_s,
    rounded(quantile_disc(lag, 0.95), 1000) as p95_lag_s,
    cast(sum(duplicates) as bigint) as duplicates,
    cast(sum(rejects) as bigint) as rejects,
    min(first_time) as first_event,
    max(last_time) as last_event,
    last_commit,
    max(struct_pack(imported_at := imported_at, error := error)).error as error
from commits
join lasting using (stream)
group by stream, last_commit
order by last_commit desc, stream
limit $limit
