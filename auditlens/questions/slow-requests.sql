/*
title = "Slow requests: percentiles by verb, resource and client"
group = "apiserver log"
show = ["told_by", "verb", "resource", "client", "requests", "p50_ms", "p90_ms", "p99_ms", "max_ms", "slowest_audit_id"]
needs = "ResponseComplete at Metadata for all requests; besides, or instead: the apiserver's httplog lines (-v=3), its traces (always on, 500 ms)"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
told_by = "audit, http or trace; default: each of them"
verb = "verb, as in audit events"
resource = ""
client = "program named in the user agent; globs"
min_ms = {doc = "integer: only groups whose slowest request took as long, milliseconds", default = 0}
limit = {default = 100}
*/
with told as (
    select
        'audit' as told_by, stage_time as time, verb, request_uri as uri,
        case when resource is null then null else resource || coalesce('/' || subresource, '') end as resource,
        client, latency_ms, audit_id, source, line
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy')
        and not coalesce(long_running(verb, request_uri), false)
        and ($cluster is null or cluster = $cluster)
    union all
    select 'http', time, http_verb(verb), uri, uri_resource(uri) || coalesce('/' || uri_subresource(uri), ''), client, latency_ms, audit_id, source, line
    from httplog
    where not coalesce(hijacked, false) and not coalesce(long_running(verb, uri), false) and ($cluster is null or cluster = $cluster)
    union all
    select
        'trace', time, coalesce(http_verb(verb), name), url,
        -- storage names the key it reads instead: /configmaps/default/a
        coalesce(fields['resource'] || coalesce('/' || fields['subresource'], ''), uri_resource(url) || coalesce('/' || uri_subresource(url), ''),
            split_part(fields['key'], '/', 2)),
        nullif(split_part(user_agent, '/', 1), ''), total_ms, audit_id, source, line
    from trace
    where seq = 0 and not coalesce(long_running(verb, url), false) and ($cluster is null or cluster = $cluster)
)
select
    told_by,
    verb,
    coalesce(resource, split_part(uri, '?', 1)) as resource,
    client,
    count(*) as requests,
    round(quantile_cont(latency_ms, 0.5), 3) as p50_ms,
    round(quantile_cont(latency_ms, 0.9), 3) as p90_ms,
    round(quantile_cont(latency_ms, 0.99), 3) as p99_ms,
    round(max(latency_ms), 3) as max_ms,
    max_by(time, latency_ms) as slowest_time,
    max_by(audit_id, latency_ms) as slowest_audit_id,
    max_by(uri, latency_ms) as slowest_uri,
    max_by(source, latency_ms) as source,
    max_by(line, latency_ms) as line
from told
where latency_ms is not null
    and ($told_by is null or told_by = $told_by)
    and ($verb is null or verb = $verb)
    and ($resource is null or resource = $resource or starts_with(resource, $resource || '/'))
    and fits(client, $client)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
group by all
having max(latency_ms) >= $min_ms
order by p99_ms desc, max_ms desc, told_by, verb, resource, client
limit $limit
