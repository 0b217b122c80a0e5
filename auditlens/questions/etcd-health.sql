/*
title = "What the apiserver's log says about etcd: slow calls, retries, lost connections, leader changes, compaction, caches"
group = "apiserver log"
show = ["minute", "what", "times", "p50_ms", "max_ms", "example", "evidence"]
needs = "the apiserver's log; its traces tell of calls over 500 ms"
logged = []

[params]
since = ""
until = ""
cluster = ""
limit = {default = 1000}
*/
with signs as (
    select
        time, kind as what, null::double as ms,
        concat_ws(' ', coalesce(fields['err'], fields['error'], split_part(message, chr(10), 1)), fields['method']) as example, source, line, item, null::bigint as seq, cluster
    from klog
    where starts_with(kind, 'etcd.') or starts_with(kind, 'cache.') or kind = 'storage.conflict'
    union all
    select
        time, 'slow: ' || coalesce(step, name), step_ms, coalesce(fields['key'], fields['type'], url), source, line, item, seq, cluster
    from trace
    where span and (coalesce(step, name) like '%etcd3%' or lower(coalesce(step, name)) like 'cacher%')
)
select
    date_trunc('minute', time) as minute,
    what,
    count(*) as times,
    percentile_ms(ms, 0.5) as p50_ms,
    rounded(max(ms), 1000) as max_ms,
    -- of the slowest, else of the first
    min_by(struct_pack(said := example), row(-ms, time, source, line, item, seq)).said as example,
    min(time) as first_time,
    max(time) as last_time,
    min(row(time, source, line))[2] as source,
    min(row(time, source, line))[3] as line,
    cluster
from signs
where in_window(cluster, time, $cluster, $since, $until)
group by date_trunc('minute', time), what, cluster
order by minute, times desc, what, cluster
limit $limit
