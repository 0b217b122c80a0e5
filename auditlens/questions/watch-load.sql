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
    username,
    client,
    api_group,
    resource,
    namespace,
    count(*) as watches,
    count(*) filter (where code >= 400) as failed,
    -- the server ends a watch after 5 to 10 minutes (--min-request-timeout): much less means it was cut
    count(*) filter (where latency_ms < 5000 and code < 400) as short,
    round(median(latency_ms) / 1000, 1) as median_seconds,
    round(max(latency_ms) / 1000, 1) as longest_seconds,
    count(distinct source_ips[len(source_ips)]) as addresses,
    round(count(*) * 60.0 / greatest(epoch(max(stage_time)) - epoch(min(stage_time)), 60), 1) as per_minute,
    min(received_time) as first_time,
    max(stage_time) as last_time,
    max_by(audit_id, (stage_time, audit_id)) as last_audit_id,
    cluster
from audit
where verb = 'watch'
    and stage in ('ResponseComplete', 'Panic')
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($resource is null or resource = $resource)
    and ($api_group is null or api_group = $api_group)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by cluster, username, client, api_group, resource, namespace
order by watches desc, username, client, resource, namespace
limit $limit
