/*
title = "The slowest requests, one by one; watches and sessions are left out: their latency is their life"
group = "traffic"
show = ["time", "latency_ms", "username", "verb", "object", "code", "outcome", "client", "evidence"]
needs = "ResponseComplete at Metadata for all requests"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
verb = "verb, as in audit events"
resource = ""
api_group = ""
namespace = ""
name = ""
client = "program named in the user agent; globs"
limit = {default = 200}
*/
select
    stage_time as time,
    latency_ms,
    actor as username,
    impersonator,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    code,
    outcome,
    decided_by,
    client,
    source_ip,
    request_uri,
    audit_id,
    source,
    line,
    item,
    cluster
from ended_in($cluster, $since, $until)
where latency_ms is not null
    and not long_running(verb, request_uri)
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(verb, $verb)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
    and fits(coalesce(name, object_name), $name)
    and fits(client, $client)
order by latency_ms desc, time, audit_id, source, line, item, cluster
limit $limit
