/*
title = "Who deleted an object, directly, with a collection or by eviction"
group = "objects"
show = ["time", "username", "how", "object", "client", "source_ip", "evidence"]
needs = """
ResponseComplete at Metadata for delete; at RequestResponse for deletecollection, whose victims stand only in the response"""

[[logged]]
level = "RequestResponse"
verbs = ["delete", "deletecollection"]
why = "uids, dry runs, what a collection held"

[[logged]]
level = "Metadata"
verbs = ["create"]
resources = [{group = "", resources = ["pods/eviction"]}]
why = "evictions"

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
with deletes as (
    select
        *,
        case
            when coalesce(code, 500) >= 300 then 'refused'
            when dry_run then 'dry-run'
            when subresource = 'eviction' then 'eviction'
            when verb = 'deletecollection' and response_object is null then 'collection-unrecorded'
            when verb = 'deletecollection' then 'collection'
            -- the kubelet's last word on a pod that somebody else deleted
            when username like 'system:node:%' and resource = 'pods' then 'kubelet'
            else 'direct'
        end as how
    from audit
    where stage <> 'RequestReceived'
        and (verb in ('delete', 'deletecollection') or (verb = 'create' and subresource = 'eviction'))
        and coalesce(subresource, '') in ('', 'eviction')
        and ($resource is null or resource = $resource)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
-- what a collection deleted stands only in its answer
victims as (
    select import_id, source, line, item, audit_id, resource, namespace, name, uid
    from touch
    where via = 'item'
        and verb = 'deletecollection'
        and ($resource is null or resource = $resource)
        and fits(namespace, $namespace)
        and fits(name, $name)
        and fits(uid, $uid)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or time >= $since)
        and ($until is null or time <= $until)
),
found as (
    select * replace (coalesce(name, object_name) as name, coalesce(object_uid, uid) as uid)
    from deletes
    where verb <> 'deletecollection'
        and fits(namespace, $namespace)
        and fits(name, $name)
        and fits(coalesce(object_uid, uid), $uid)
    union all by name
    select d.* replace (v.namespace as namespace, v.name as name, v.uid as uid)
    from deletes as d
    join victims as v
        on v.import_id = d.import_id and v.source = d.source and v.line = d.line
        and coalesce(v.item, 0) = coalesce(d.item, 0) and v.audit_id = d.audit_id
    where d.verb = 'deletecollection'
    union all by name
    -- a collection whose level does not record what was in it, or that was refused: any object there may be meant
    select *
    from deletes
    where verb = 'deletecollection'
        and how in ('collection-unrecorded', 'refused', 'dry-run')
        and response_object is null
        and $uid is null
        and (namespace is null or fits(namespace, $namespace))
)
select
    stage_time as time,
    username,
    impersonated_username,
    verb,
    how,
    resource,
    namespace,
    name,
    uid,
    code,
    source_ips[len(source_ips)] as source_ip,
    client,
    user_agent,
    audit_id,
    source,
    line,
    item,
    cluster
from found
where $attempts or how not in ('refused', 'dry-run')
order by time, namespace, name, audit_id
limit $limit
