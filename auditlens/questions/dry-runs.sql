/*
title = "Server-side dry runs: asked, and changed nothing"
group = "objects"
show = ["time", "username", "impersonator", "identity", "verb", "object", "outcome", "client", "evidence"]
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
    outcome,
    request_uri,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from writes_in($cluster, $since, $until)
where dry_run
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
    and fits(coalesce(name, object_name), $name)
order by time, audit_id, source, line, item, cluster
limit $limit
