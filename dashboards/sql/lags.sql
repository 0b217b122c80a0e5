/* Records a second and lag of the streams, by commit time, $step seconds a point. */
select
    time_bucket(to_milliseconds(cast($step * 1000 as bigint)), imported_at) as time,
    case when source like 'webhook:%' then regexp_replace(source, '/[0-9]+$', '') else source end as stream,
    sum(records) / $step as per_second,
    max(epoch(imported_at - last_time)) as lag_s
from imports
where case when source like 'webhook:%' then regexp_replace(source, '/[0-9]+$', '') else source end in (select unnest($names))
    and imported_at >= $start
group by all
order by time, stream
