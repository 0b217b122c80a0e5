/*
title = "Every request that touched an object, from first sight to deletion"
group = "objects"
show = ["time", "username", "verb", "subresource", "object", "outcome", "client", "evidence"]
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

[params]
since = ""
until = ""
cluster = ""
resource = ""
namespace = ""
name = ""
uid = ""
reads = "boolean: also show get, list and watch"
limit = {default = 10000}
*/
with touched as (
    select distinct import_id, source, line, item, audit_id, via, resource, namespace, name, uid, resource_version
    from touch
    where via in ('ref', 'body', 'item')
        and ($resource is null or resource = $resource)
        and fits(namespace, $namespace)
        and fits(name, $name)
        and fits(uid, $uid)
        and ($reads or verb not in ('get', 'list', 'watch'))
        and ($cluster is null or cluster = $cluster)
        and ($since is null or time >= $since)
        and ($until is null or time <= $until)
),
events as (
    select * from audit
    where stage <> 'RequestReceived'
        and ($resource is null or resource = $resource)
        and ($reads or verb not in ('get', 'list', 'watch'))
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
-- requests of which the log holds only the beginning: what became of them is unknown
lost as (
    select r.*
    from audit as r
    where r.stage = 'RequestReceived'
        and ($resource is null or r.resource = $resource)
        and fits(r.namespace, $namespace)
        and fits(r.name, $name)
        and $uid is null
        and r.name is not null
        and ($reads or r.verb not in ('get', 'list', 'watch'))
        and ($cluster is null or r.cluster = $cluster)
        and ($since is null or r.stage_time >= $since)
        and ($until is null or r.stage_time <= $until)
        and not exists (
            select 1 from audit as c
            where c.stage in ('ResponseStarted', 'ResponseComplete', 'Panic')
                and ($resource is null or c.resource = $resource)
                and c.cluster = r.cluster and c.audit_id = r.audit_id and c.received_time = r.received_time
                and c.request_uri = r.request_uri
        )
)
select
    a.stage_time as time,
    a.stage,
    a.username,
    a.impersonated_username,
    a.verb,
    t.resource,
    a.subresource,
    t.namespace,
    t.name,
    t.uid,
    t.resource_version,
    t.via,
    a.code,
    a.outcome,
    a.dry_run,
    a.client,
    a.source_ips[len(a.source_ips)] as source_ip,
    a.audit_id,
    a.source,
    a.line,
    a.item,
    a.cluster
from touched as t
join events as a
    on a.import_id = t.import_id and a.source = t.source and a.line = t.line
    and coalesce(a.item, 0) = coalesce(t.item, 0) and a.audit_id = t.audit_id
union all by name
select
    stage_time as time, stage, username, impersonated_username, verb, resource, subresource, namespace, name, 'ref' as via,
    'unknown' as outcome, dry_run, client, source_ips[len(source_ips)] as source_ip, audit_id, source, line, item, cluster
from lost
order by time, audit_id, stage, namespace, name, via
limit $limit
