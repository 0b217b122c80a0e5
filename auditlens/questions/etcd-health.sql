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
        concat_ws(' ', coalesce(fields['err'], fields['error'], split_part(message, chr(10), 1)), fields['method']) as example, source, line, cluster
    from klog
    where starts_with(kind, 'etcd.') or starts_with(kind, 'cache.') or kind = 'storage.conflict'
    union all
    select
        time, 'slow: ' || coalesce(step, name), step_ms, coalesce(fields['key'], fields['type'], url), source, line, cluster
    from trace
    where span and (coalesce(step, name) like '%etcd3%' or lower(coalesce(step, name)) like 'cacher%')
)
select
    date_trunc('minute', time) as minute,
    what,
    count(*) as times,
    round(quantile_cont(ms, 0.5), 3) as p50_ms,
    round(max(ms), 3) as max_ms,
    coalesce(max_by(example, ms), min_by(example, time)) as example,
    min(time) as first_time,
    max(time) as last_time,
    min_by(source, time) as source,
    min_by(line, time) as line,
    cluster
from signs
where ($cluster is null or cluster = $cluster)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
group by date_trunc('minute', time), what, cluster
order by minute, times desc, what
limit $limit
