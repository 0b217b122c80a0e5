/*
title = "Requests the server could not accept (422, 400), with the fields it named"
group = "traffic"
show = ["time", "username", "verb", "object", "code", "message", "client", "evidence"]
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
    username,
    impersonated_username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    code,
    decided_by,
    status_message as message,
    cast(json_extract(status_details, '$.causes') as varchar) as causes,
    left(request_object, 2000) as asked,
    client,
    source_ips[len(source_ips)] as source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from audit
where code in (400, 405, 406, 413, 415, 422)
    and stage in ('ResponseComplete', 'Panic')
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($resource is null or resource = $resource)
    and ($api_group is null or api_group = $api_group)
    and fits(namespace, $namespace)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time, audit_id
limit $limit
