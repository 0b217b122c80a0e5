/*
title = "Objects that are changed most, and mostly by whom; leases, Events and dry runs are left out"
group = "objects"
show = ["object", "changes", "failed", "users", "mostly_by", "first_time", "last_time"]
needs = "ResponseComplete at Metadata for all writes, deletions at Request (dry runs)"

[[logged]]
level = "Metadata"
verbs = ["create", "update", "patch", "delete"]
stages = ["ResponseComplete"]

[[logged]]
level = "Request"
verbs = ["delete"]
stages = ["ResponseComplete"]
why = "kubectl asks for a dry run of a deletion in the body"

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
namespace = ""
name = ""
status = "boolean: also count writes of the status"
limit = {default = 100}
*/
with writes as (
    select *, coalesce(name, object_name) as changed_name, coalesce(code, 500) < 400 as succeeded
    from writes_in($cluster, $since, $until)
    where verb <> 'deletecollection'
        and dry_run is not true
        and coalesce(name, object_name) is not null
        and resource not in ('leases', 'events')
        and (coalesce($status, false) or subresource is distinct from 'status')
        and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
),
by_actor as (
    select
        cluster, api_group, resource, namespace, changed_name, actor, count(*) as requests,
        count(*) filter (where succeeded) as changes, min(stage_time) as first_time, max(stage_time) as last_time
    from writes
    group by all
)
select
    api_group,
    resource,
    namespace,
    changed_name as name,
    cast(sum(changes) as bigint) as changes,
    cast(sum(requests - changes) as bigint) as failed,
    count(actor) as users,
    max_by(actor, struct_pack(changes := changes, actor := actor)) as mostly_by,
    min(first_time) as first_time,
    max(last_time) as last_time,
    cluster
from by_actor
group by all
order by changes desc, resource, namespace, name, api_group, cluster
limit $limit
