/*
title = "Who changed an object, and what they sent"
group = "objects"
show = ["time", "username", "impersonator", "identity", "verb", "object", "subresource", "asked", "outcome", "evidence"]
needs = "ResponseComplete at Request for create, update and patch; at RequestResponse to see resource versions and names the server made up"

[[logged]]
level = "RequestResponse"
verbs = ["create", "update", "patch", "delete"]
stages = ["ResponseComplete"]
managed_fields = true
why = "what was asked is shown whole"

[params]
since = ""
until = ""
cluster = ""
resource = ""
api_group = ""
namespace = ""
name = ""
uid = ""
user = ""
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
    coalesce(object_uid, uid) as uid,
    -- of an update the whole object is sent: too long to read; `auditlens diff` shows what it changed
    case when verb = 'patch' or subresource is not null then left(request_object, 2000) end as asked,
    replicas,
    resource_version as based_on,
    object_resource_version as resource_version,
    code,
    outcome,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from writes_in($cluster, $since, $until)
where stage <> 'Panic'
    and verb in ('create', 'update', 'patch')
    and code < 300
    and not coalesce(dry_run, false)
    and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'token', 'eviction', 'log')
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
    and fits(coalesce(name, object_name), $name)
    and fits(coalesce(object_uid, uid), $uid)
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
order by time, audit_id, source, line, item, cluster
limit $limit
