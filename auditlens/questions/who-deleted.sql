/*
title = "Who deleted an object, directly, with a collection or by eviction"
group = "objects"
show = ["time", "username", "how", "object", "client", "source_ip", "evidence"]
needs = """
ResponseComplete at Metadata for delete; at RequestResponse for deletecollection, whose victims stand only in the response"""

[params]
since = ""
until = ""
cluster = ""
resource = ""
namespace = ""
name = ""
uid = ""
attempts = "boolean: also show refused deletions and dry runs"
limit = {default = 1000}
*/
with deletions as (
    -- what each event deleted: the object it names, or the items of a collection
    select t.*
    from touch as t
    where t.via in ('ref', 'body', 'item')
        and (t.verb in ('delete', 'deletecollection') or (t.verb = 'create' and t.subresource = 'eviction'))
        and (t.via <> 'item' or t.verb = 'deletecollection')
        and coalesce(t.subresource, '') in ('', 'eviction')
        and ($resource is null or t.resource = $resource)
        and fits(t.namespace, $namespace)
        and fits(t.name, $name)
        and fits(t.uid, $uid)
        and ($cluster is null or t.cluster = $cluster)
        and ($since is null or t.time >= $since)
        and ($until is null or t.time <= $until)
),
events as (
    select *, verb = 'deletecollection' and response_object is null as unrecorded
    from audit
    where stage <> 'RequestReceived'
        and verb in ('delete', 'deletecollection', 'create')
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
)
select
    a.stage_time as time,
    a.username,
    a.impersonated_username,
    a.verb,
    case
        when coalesce(a.code, 500) >= 300 then 'refused'
        when a.dry_run then 'dry-run'
        when a.subresource = 'eviction' then 'eviction'
        when d.via = 'item' then 'collection'
        -- the kubelet's last word on a pod somebody else deleted
        when a.username like 'system:node:%' and d.resource = 'pods' then 'kubelet'
        else 'direct'
    end as how,
    d.resource,
    d.namespace,
    d.name,
    d.uid,
    a.code,
    a.source_ips[len(a.source_ips)] as source_ip,
    a.client,
    a.user_agent,
    a.audit_id,
    a.source,
    a.line,
    a.item,
    a.cluster
from deletions as d
join events as a
    on a.import_id = d.import_id and a.source = d.source and a.line = d.line
    and coalesce(a.item, 0) = coalesce(d.item, 0) and a.audit_id = d.audit_id
where $attempts or (a.code < 300 and not a.dry_run)
union all by name
-- a collection deleted at a level that does not record what was in it: any object there may have been
select
    stage_time as time, username, impersonated_username, verb, 'collection-unrecorded' as how, resource, namespace,
    code, source_ips[len(source_ips)] as source_ip, client, user_agent, audit_id, source, line, item, cluster
from events
where unrecorded
    and code < 300
    and not dry_run
    and $uid is null
    and ($resource is null or resource = $resource)
    and (namespace is null or fits(namespace, $namespace))
order by time, namespace, name, audit_id
limit $limit
