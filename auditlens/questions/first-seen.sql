/*
title = "Combinations of user, verb, resource, address and program not seen before a date"
group = "access"
show = ["first_time", "username", "verb", "resource", "namespace", "source_ip", "client", "requests", "audit_id"]
needs = "ResponseComplete at Metadata for all requests, from well before the date on"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
until = ""
cluster = ""
before = "date or RFC 3339 time; what was seen earlier is left out"
user = ""
limit = {default = 1000}
*/
select
    min(stage_time) as first_time,
    actor as username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    source_ip,
    client,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    min(event_at(stage_time, audit_id, source, line, item)).audit_id as audit_id,
    min(event_at(stage_time, audit_id, source, line, item)).source as source,
    min(event_at(stage_time, audit_id, source, line, item)).line as line,
    cluster
from requests_in($cluster, null, $until)
where by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
group by cluster, actor, verb, api_group, resource, subresource, namespace, source_ip, client
having in_window(null, min(stage_time), null, cast($before as timestamptz), null)
order by first_time, username, verb, api_group, resource, subresource, namespace, source_ip, client, cluster
limit $limit
