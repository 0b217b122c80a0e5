/*
title = "Server-side dry runs: asked, and changed nothing"
group = "objects"
show = ["time", "username", "verb", "object", "outcome", "client", "evidence"]
needs = "ResponseComplete at Metadata for writes; at Request for deletions, whose body may ask for it"

[[logged]]
level = "Request"
verbs = ["create", "update", "patch", "delete", "deletecollection"]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
namespace = ""
name = ""
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
    outcome,
    request_uri,
    client,
    source_ips[len(source_ips)] as source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from audit
where dry_run
    and stage in ('ResponseComplete', 'Panic')
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($resource is null or resource = $resource)
    and ($api_group is null or api_group = $api_group)
    and fits(namespace, $namespace)
    and fits(coalesce(name, object_name), $name)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time, audit_id
limit $limit
