/* Latency by verb, resource and program; long-running requests are left out. */
with measured as (
    select
        verb, resource, subresource, client,
        case when resource is null then '/' || split_part(split_part(request_uri, '?', 1), '/', 2) end as path,
        count(*) as requests,
        approx_quantile(latency_ms, [0.5, 0.95, 0.99]) as q,
        max(latency_ms) as max_ms,
        max_by(audit_id, latency_ms) as audit_id
    from audit
    where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
        and verb <> 'watch' and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')
        and latency_ms is not null
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
    group by all
)
select
    verb, coalesce(resource || coalesce('/' || subresource, ''), path) as resource, client, requests,
    q[1] as p50_ms, q[2] as p95_ms, q[3] as p99_ms, max_ms, audit_id
from measured
order by p95_ms * sqrt(requests) desc, verb, resource, client
limit 300
