/* The slowest requests that are not long-running. */
select
    stage_time as time, latency_ms, username, client, verb, api_group, resource, subresource, namespace,
    coalesce(name, object_name) as name, code, outcome, decided_by, request_uri, audit_id, source, line
from audit
where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and verb <> 'watch' and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by latency_ms desc nulls last, time
limit 200
