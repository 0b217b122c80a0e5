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
        client, latency_ms, audit_id, source, line, item
    from ended_in($cluster, $since, $until)
    where coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy')
        and not coalesce(long_running(verb, request_uri), false)
    union all
    select 'http', time, http_verb(verb), uri, uri_resource(uri) || coalesce('/' || uri_subresource(uri), ''), client, latency_ms, audit_id, source, line, item
    from httplog
    where not coalesce(hijacked, false) and not coalesce(long_running(verb, uri), false)
        and in_window(cluster, time, $cluster, $since, $until)
    union all
    select
        'trace', time, coalesce(http_verb(verb), name), url,
        -- storage names the key it reads instead: /configmaps/default/a
        coalesce(fields['resource'] || coalesce('/' || fields['subresource'], ''), uri_resource(url) || coalesce('/' || uri_subresource(url), ''),
            split_part(fields['key'], '/', 2)),
        nullif(split_part(user_agent, '/', 1), ''), total_ms, audit_id, source, line, item
    from trace
    where seq = 0 and not coalesce(long_running(verb, url), false) and in_window(cluster, time, $cluster, $since, $until)
)
select
    told_by,
    verb,
    coalesce(resource, split_part(uri, '?', 1)) as resource,
    client,
    count(*) as requests,
    percentile_ms(latency_ms, 0.5) as p50_ms,
    percentile_ms(latency_ms, 0.9) as p90_ms,
    percentile_ms(latency_ms, 0.99) as p99_ms,
    rounded(max(latency_ms), 1000) as max_ms,
    max(row(latency_ms, time, audit_id, uri, source, line, item))[2] as slowest_time,
    max(row(latency_ms, time, audit_id, uri, source, line, item))[3] as slowest_audit_id,
    max(row(latency_ms, time, audit_id, uri, source, line, item))[4] as slowest_uri,
    max(row(latency_ms, time, audit_id, uri, source, line, item))[5] as source,
    max(row(latency_ms, time, audit_id, uri, source, line, item))[6] as line
from told
where latency_ms is not null
    and same(told_by, $told_by)
    and same(verb, $verb)
    and ($resource is null or resource = $resource or starts_with(resource, $resource || '/'))
    and fits(client, $client)
group by all
having max(latency_ms) >= $min_ms
order by p99_ms desc, max_ms desc, told_by, verb, resource, client
limit $limit
