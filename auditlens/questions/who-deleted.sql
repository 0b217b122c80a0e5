/*
title = "Who deleted an object, how, and who began the chain that led to it"
group = "objects"
finish = "auditlens.forensics.roots:fill"
show = ["time", "username", "how", "object", "root_username", "client", "source_ip", "evidence"]
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

[[logged]]
level = "RequestResponse"
verbs = ["create", "update", "patch"]
why = "what a controller acted on: owners, replicas, taints, finalizers, limits"

[params]
since = ""
until = ""
cluster = ""
resource = ""
api_group = ""
namespace = ""
name = ""
uid = ""
attempts = "boolean: also show refused deletions and dry runs"
limit = {default = 1000}
*/
with deletes as not materialized (
    select
        cluster, stage_time, username, impersonated_username, identity(user_extra, impersonated_username, impersonated_extra) as identity,
        source_ips[len(source_ips)] as source_ip, user_agent, client,
        verb, api_group, resource, subresource, namespace, name, uid, object_name, object_uid, code, response_kind,
        audit_id, import_id, source, line, item,
        case when impersonated_username is null then controller(username, user_agent) end as component,
        case
            -- given up on the way: done or not, nobody was told
            when not dry_run and (coalesce(code, 0) in (0, 499, 504) or stage = 'Panic'
                or code = 500 and coalesce(status_reason, 'Timeout') in ('Timeout', 'ServerTimeout')) then 'unknown'
            when coalesce(code, 500) >= 300 then 'refused'
            when dry_run then 'dry-run'
            when subresource = 'eviction' then 'eviction'
            when verb = 'deletecollection' and response_kind is null then 'collection-unrecorded'
            when verb = 'deletecollection' then 'collection'
            -- the kubelet's last word on a pod that somebody else deleted
            when username like 'system:node:%' and impersonated_username is null and resource = 'pods' then 'kubelet'
            else 'direct'
        end as how
    from audit
    where stage <> 'RequestReceived'
        and (verb in ('delete', 'deletecollection') or (verb = 'create' and subresource = 'eviction'))
        and coalesce(subresource, '') in ('', 'eviction')
        and same(resource, $resource)
        and same(api_group, $api_group)
        and in_window(cluster, stage_time, $cluster, $since, $until)
),
collections as materialized (
    select *
    from deletes
    where verb = 'deletecollection'
        and fits(namespace, $namespace)
),
found as materialized (
    select * replace (coalesce(name, object_name) as name, coalesce(object_uid, uid) as uid)
    from deletes
    where verb <> 'deletecollection'
        and fits(namespace, $namespace)
        and fits(name, $name)
        and fits(coalesce(object_uid, uid), $uid)
    union all by name
    -- what a collection deleted stands only in its answer
    select c.* replace (v.namespace as namespace, v.name as name, v.uid as uid)
    from collections as c
    join audit_objects as v
        on v.import_id = c.import_id and v.source = c.source and v.line = c.line
        and coalesce(v.item, 0) = coalesce(c.item, 0) and v.audit_id = c.audit_id
    where v.via = 'item'
        and v.verb = 'deletecollection'
        and fits(v.namespace, $namespace)
        and fits(v.name, $name)
        and fits(v.uid, $uid)
    union all by name
    -- a collection whose level does not record what was in it, or that was refused: any object there may be meant
    select *
    from collections
    where how in ('collection-unrecorded', 'refused', 'dry-run', 'unknown') and response_kind is null and $uid is null
    union all by name
    -- an object being deleted goes with its last finalizer; bodies are only looked into for one object
    select
        cluster, stage_time, username, impersonated_username, identity(user_extra, impersonated_username, impersonated_extra) as identity,
        source_ips[len(source_ips)] as source_ip, user_agent, client,
        verb, api_group, resource, subresource, namespace, coalesce(name, object_name) as name, coalesce(object_uid, uid) as uid,
        object_name, object_uid, code, response_kind, audit_id, import_id, source, line, item,
        case when impersonated_username is null then controller(username, user_agent) end as component,
        'finalizer' as how
    from audit
    where ($name is not null or $uid is not null)
        and stage = 'ResponseComplete'
        and verb in ('update', 'patch')
        and code < 300
        and not coalesce(dry_run, false)
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
        and fits(name, $name)
        and fits(object_uid, $uid)
        and in_window(cluster, stage_time, $cluster, $since, $until)
        and contains(response_object, '"deletionTimestamp"')
        and json_extract_string(body(response_object), '$.metadata.deletionTimestamp') is not null
        and coalesce(json_array_length(json_extract(body(response_object), '$.metadata.finalizers')), 0) = 0
        and coalesce(json_array_length(json_extract(body(response_object), '$.spec.finalizers')), 0) = 0
        and coalesce(cast(json_extract_string(body(response_object), '$.metadata.deletionGracePeriodSeconds') as bigint), 0) = 0
)
select
    a.stage_time as time,
    actor(a.username, a.impersonated_username) as username,
    impersonator(a.username, a.impersonated_username) as impersonator,
    a.verb,
    case
        when a.how not in ('direct', 'collection') then a.how
        when a.component = 'generic-garbage-collector' then 'owner-gc'
        when a.component = 'namespace-controller' then 'namespace'
        when a.component = 'pod-garbage-collector' then 'pod-gc'
        when a.component in ('taint-eviction-controller', 'node-controller') and a.resource = 'pods' then 'taint'
        when a.component = 'scheduler' and a.resource = 'pods' then 'preemption'
        when a.component = 'ttl-after-finished-controller' then 'ttl'
        when a.component is not null then 'controller'
        else a.how
    end as how,
    a.resource,
    a.namespace,
    a.name,
    a.uid,
    a.code,
    a.source_ip,
    a.client,
    a.user_agent,
    a.audit_id,
    a.source,
    a.line,
    a.item,
    a.cluster,
    a.api_group,
    a.identity
from found as a
where $attempts or a.how not in ('refused', 'dry-run')
order by time, namespace, name, audit_id, source, line, item, uid
limit $limit
