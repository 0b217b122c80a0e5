/* Latency over time. */
select time, q[1] as p50, q[2] as p95, q[3] as p99
from (
    select
        time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
        approx_quantile(latency_ms, [0.5, 0.95, 0.99]) as q
    from audit
    where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
        and verb <> 'watch' and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
    group by all
)
order by time
