/*
title = "Watches: who holds them, how long they live, who reconnects too often"
group = "traffic"
show = ["username", "client", "resource", "namespace", "watches", "short", "median_seconds", "per_minute"]
needs = "ResponseComplete at Metadata for watch"

[[logged]]
level = "Metadata"
verbs = ["watch"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
limit = {default = 100}
*/
select
    actor as username,
    client,
    api_group,
    resource,
    namespace,
    count(*) as watches,
    count(*) filter (where code >= 400) as failed,
    count(*) filter (where is_open) as open,
    -- the server ends a watch after 5 to 10 minutes (--min-request-timeout): much less means it was cut
    count(*) filter (where latency_ms < 5000 and code < 400) as short,
    rounded(percentile_ms(latency_ms, 0.5) / 1000, 10) as median_seconds,
    rounded(max(latency_ms) / 1000, 10) as longest_seconds,
    count(distinct source_ip) as addresses,
    per_minute(count(*), min(stage_time), max(stage_time)) as per_minute,
    min(received_time) as first_time,
    max(stage_time) as last_time,
    max(event_at(stage_time, audit_id, source, line, item)).audit_id as last_audit_id,
    cluster
from requests_in($cluster, $since, $until)
where verb = 'watch'
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
group by cluster, actor, client, api_group, resource, namespace
order by watches desc, username, client, api_group, resource, namespace, cluster
limit $limit
