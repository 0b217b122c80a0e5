/* The window in one row: requests by class, people, and the latency of requests that are not long-running. */
select * exclude (q), q[1] as p50, q[2] as p95, q[3] as p99
from (
    select
        count(*) as requests,
        count(*) filter (where {class} in ('denied')) as denied,
        count(*) filter (where {class} in ('failed')) as failed,
        count(*) filter (where {class} in ('rejected')) as rejected,
        count(*) filter (where {class} in ('throttled')) as throttled,
        count(distinct username) as users,
        count(distinct client) as clients,
        approx_quantile(latency_ms, [0.5, 0.95, 0.99]) filter (
            where verb <> 'watch' and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')
        ) as q
    from audit
    where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
)
