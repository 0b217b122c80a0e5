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
        cluster, username, client, api_group, resource, subresource, namespace, coalesce(name, object_name) as name, stage_time,
        audit_id, source, line, import_id, item, verb,
        -- the store gives a new resource version to every write that changes something; a repeat of one changed nothing
        row_number() over (
            partition by cluster, object_uid, object_resource_version order by stage_time, audit_id, source, line
        ) > 1 and verb in ('update', 'patch') as repeated
    from audit
    where stage = 'ResponseComplete'
        and verb in ('create', 'update', 'patch')
        and code < 300
        and not coalesce(dry_run, false)
        and object_uid is not null
        and object_resource_version is not null
        and ($resource is null or resource = $resource)
        and ($api_group is null or api_group = $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
-- with its last finalizer an object goes, at the version it had
last_ones as (
    select a.audit_id, a.source, a.line
    from audit as a
    join writes as w on w.repeated and w.import_id = a.import_id and w.source = a.source and w.line = a.line
    where contains(a.response_object, '"deletionTimestamp"')
)
select
    w.username,
    w.client,
    w.api_group,
    w.resource,
    w.subresource,
    w.namespace,
    w.name,
    count(*) filter (where w.repeated and l.audit_id is null) as no_ops,
    count(*) as writes,
    min(w.stage_time) filter (where w.repeated) as first_time,
    max(w.stage_time) filter (where w.repeated) as last_time,
    max_by(w.audit_id, (w.stage_time, w.audit_id)) filter (where w.repeated) as audit_id,
    max_by(w.source, (w.stage_time, w.audit_id)) filter (where w.repeated) as source,
    max_by(w.line, (w.stage_time, w.audit_id)) filter (where w.repeated) as line,
    w.cluster
from writes as w
left join last_ones as l on l.audit_id = w.audit_id and l.source = w.source and l.line = w.line
where ($user is null or fits(w.username, $user))
group by w.cluster, w.username, w.client, w.api_group, w.resource, w.subresource, w.namespace, w.name
having count(*) filter (where w.repeated and l.audit_id is null) > 0
order by no_ops desc, w.username, w.client, w.resource, w.namespace, w.name
limit $limit
