/* Latency by verb, resource and program; long-running requests are left out. */
select
    verb,
    coalesce(resource || coalesce('/' || subresource, ''), '/' || split_part(split_part(request_uri, '?', 1), '/', 2)) as resource,
    client,
    count(*) as requests,
    approx_quantile(latency_ms, 0.5) as p50_ms,
    approx_quantile(latency_ms, 0.95) as p95_ms,
    approx_quantile(latency_ms, 0.99) as p99_ms,
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
order by p95_ms * sqrt(requests) desc, verb, resource, client
limit 300
