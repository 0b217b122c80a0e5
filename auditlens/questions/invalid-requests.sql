/*
title = "Requests the server could not accept (422, 400), with the fields it named"
group = "traffic"
show = ["time", "username", "impersonator", "identity", "verb", "object", "code", "message", "client", "evidence"]
needs = "ResponseComplete at Metadata (messages since Kubernetes 1.24)"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
namespace = ""
limit = {default = 1000}
*/
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    code,
    decided_by,
    status_message as message,
    cast(json_extract(body(status_details), '$.causes') as varchar) as causes,
    left(request_object, 2000) as asked,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from ended_in($cluster, $since, $until)
where code in (400, 405, 406, 413, 415, 422)
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
order by time, audit_id, source, line, item, cluster
limit $limit
