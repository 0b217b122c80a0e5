/*
title = "Every request that touched an object, from first sight to deletion"
group = "objects"
show = ["time", "life", "username", "impersonator", "identity", "verb", "subresource", "object", "changed", "no_op", "outcome", "client", "evidence"]
finish = "auditlens.forensics.history:tell"
brief = "auditlens.forensics.history:brief"
needs = "ResponseComplete at Metadata for the object's resource; names that the server made up need RequestResponse for create"

[[logged]]
level = "RequestResponse"
verbs = ["create", "update", "patch", "delete", "deletecollection"]
why = "uids, resource versions, names the server made up, what a collection held"

[[logged]]
level = "Metadata"
verbs = ["create", "update", "patch", "delete", "deletecollection"]
stages = ["RequestReceived"]
why = "changes whose end the log lost"

[[logged]]
level = "Metadata"
verbs = ["get", "create"]
resources = [{group = "", resources = ["pods/exec", "pods/attach", "pods/portforward"]}]
why = "sessions over a WebSocket"

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
reads = "boolean: also show get, list and watch"
limit = {default = 10000}
*/
-- Three ways to touch an object, each with its own conditions, so that they reach the files' statistics.
with events as not materialized (
    select *
    from stages_in($cluster, $since, $until)
    where resource is not null
        and same(resource, $resource)
        and same(api_group, $api_group)
        -- the verb of a session over a WebSocket is get
        and ($reads or verb not in ('get', 'list', 'watch') or resource = 'pods' and subresource in ('exec', 'attach', 'portforward'))
),
named as (
    select *, 'ref' as via, coalesce(object_uid, uid) as object
    from events
    where stage <> 'RequestReceived'
        and name is not null
        and fits(namespace, $namespace)
        and fits(name, $name)
    union all by name
    select * replace (object_name as name), 'body' as via, coalesce(object_uid, uid) as object
    from events
    where stage <> 'RequestReceived'
        and name is null
        and object_name is not null
        and verb not in ('list', 'watch', 'deletecollection')
        and fits(namespace, $namespace)
        and fits(object_name, $name)
),
listed as (
    select e.* replace (t.namespace as namespace, t.name as name, t.resource_version as object_resource_version),
        'item' as via, t.uid as object
    from events as e
    join audit_objects as t
        on e.import_id = t.import_id and e.source = t.source and e.line = t.line
        and coalesce(e.item, 0) = coalesce(t.item, 0) and e.audit_id = t.audit_id
    where e.stage <> 'RequestReceived'
        and (e.verb = 'deletecollection' or $reads and e.verb in ('list', 'watch'))
        and t.via = 'item'
        and (t.verb = 'deletecollection' or $reads and t.verb in ('list', 'watch'))
        and same(t.resource, $resource)
        and same(t.api_group, $api_group)
        and fits(t.namespace, $namespace)
        and fits(t.name, $name)
),
-- requests of which the log holds only the beginning: what became of them is unknown
lost as (
    select r.*, 'ref' as via, null as object
    from events as r
    where r.stage = 'RequestReceived'
        and $uid is null
        and r.name is not null
        and fits(r.namespace, $namespace)
        and fits(r.name, $name)
        and not exists (
            select 1
            from events as c
            where c.stage <> 'RequestReceived'
                and fits(c.namespace, $namespace)
                and fits(c.name, $name)
                and c.cluster = r.cluster and c.audit_id = r.audit_id and c.received_time = r.received_time
                and c.request_uri = r.request_uri
        )
)
select
    stage_time as time,
    stage,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    verb,
    resource,
    subresource,
    namespace,
    name,
    object as uid,
    case when via = 'item' or verb not in ('list', 'watch', 'deletecollection') then object_resource_version end as resource_version,
    via,
    code,
    case when stage = 'RequestReceived' then 'unknown' when dry_run and code < 300 then 'dry-run' else outcome end as outcome,
    dry_run,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from (from named union all by name from listed union all by name from lost)
where fits(object, $uid)
    -- what each of their writes changed is told beside what others did before it
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
order by time, audit_id, stage, namespace, name, uid, via, source, line, item, cluster
limit $limit
