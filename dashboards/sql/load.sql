/* Lists and watches by program: lists that name no resource version or limit read everything. */
select
    client,
    username,
    resource,
    count(*) filter (where verb = 'list') as lists,
    count(*) filter (
        where case when verb = 'list' then not (contains(request_uri, '?limit=') or contains(request_uri, '&limit=')
            or contains(request_uri, '?resourceVersion=') or contains(request_uri, '&resourceVersion=')) end
    ) as whole_lists,
    count(*) filter (where verb = 'watch') as watches,
    count(*) filter (where verb = 'get') as gets,
    approx_quantile(latency_ms, 0.95) filter (where verb = 'list') as list_p95_ms,
    median(latency_ms) filter (where verb = 'watch') / 1000 as watch_seconds
from audit
where verb in ('list', 'watch', 'get')
    and resource is not null
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
having lists + watches + gets > 1
order by whole_lists desc, lists desc, gets desc, client
limit 300
