/*
title = "Writes that changed nothing, by who sends them"
group = "traffic"
show = ["username", "client", "object", "no_ops", "writes", "last_time", "audit_id"]
needs = "ResponseComplete at RequestResponse for update and patch"

[[logged]]
level = "RequestResponse"
verbs = ["create", "update", "patch"]
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
with writes as (
    select
        cluster, actor, client, api_group, resource, subresource, namespace, coalesce(name, object_name) as name, stage_time,
        audit_id, source, line, import_id, item, verb, by_user(username, impersonated_username, user_extra, impersonated_extra, $user) as asked_for,
        -- the store gives a new resource version to every write that changes something; a repeat of one changed nothing
        row_number() over (
            partition by cluster, object_uid, object_resource_version order by stage_time, audit_id, source, line, item
        ) > 1 and verb in ('update', 'patch') as repeated
    from writes_in($cluster, $since, $until)
    where stage <> 'Panic'
        and verb in ('create', 'update', 'patch')
        and code < 300
        and not coalesce(dry_run, false)
        and object_uid is not null
        and object_resource_version is not null
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
),
-- with its last finalizer an object goes, at the version it had
last_ones as (
    select a.import_id, a.source, a.line, a.item
    from audit as a
    join writes as w on w.repeated and w.import_id = a.import_id and w.source = a.source and w.line = a.line and w.item is not distinct from a.item
    where contains(a.response_object, '"deletionTimestamp"')
)
select
    w.actor as username,
    w.client,
    w.api_group,
    w.resource,
    w.subresource,
    w.namespace,
    w.name,
    count(*) filter (where w.repeated and l.import_id is null) as no_ops,
    count(*) as writes,
    min(w.stage_time) filter (where w.repeated) as first_time,
    max(w.stage_time) filter (where w.repeated) as last_time,
    (max(event_at(w.stage_time, w.audit_id, w.source, w.line, w.item)) filter (where w.repeated)).audit_id as audit_id,
    (max(event_at(w.stage_time, w.audit_id, w.source, w.line, w.item)) filter (where w.repeated)).source as source,
    (max(event_at(w.stage_time, w.audit_id, w.source, w.line, w.item)) filter (where w.repeated)).line as line,
    w.cluster
from writes as w
left join last_ones as l on l.import_id = w.import_id and l.source = w.source and l.line = w.line and l.item is not distinct from w.item
where w.asked_for
group by w.cluster, w.actor, w.client, w.api_group, w.resource, w.subresource, w.namespace, w.name
having count(*) filter (where w.repeated and l.import_id is null) > 0
order by no_ops desc, username, w.client, w.api_group, w.resource, w.subresource, w.namespace, w.name, w.cluster
limit $limit
