/* Sources that keep coming: webhook sinks and files that are followed. The lag is from an event to its commit. */
with commits as (
    select
        case when source like 'webhook:%' then regexp_replace(source, '/[0-9]+$', '') else source end as stream,
        *
    from imports
),
lasting as (
    select stream, max(imported_at) as last_commit from commits group by stream
    having count(*) > 1 or any_value(source) like 'webhook:%'
)
select
    stream,
    count(*) as commits,
    sum(records)::bigint as records,
    sum(records) filter (where imported_at > last_commit - interval 1 minute)::double / 60 as per_second,
    min(imported_at) as first_commit,
    max_by(epoch(imported_at - last_time), imported_at) as lag_s,
    median(epoch(imported_at - last_time)) as median_lag_s,
    quantile_cont(epoch(imported_at - last_time), 0.95) as p95_lag_s,
    sum(duplicates)::bigint as duplicates,
    sum(rejects)::bigint as rejects,
    min(first_time) as first_event,
    max(last_time) as last_event,
    last_commit,
    max_by(error, imported_at) as error
from commits
join lasting using (stream)
group by stream, last_commit
order by last_commit desc, stream
limit 500
