/*
title = "Who deleted an object, how, and who began the chain that led to it"
group = "objects"
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
verbs = ["create"]
why = "owners: whose deletion the garbage collector followed"

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
with recursive deletes as not materialized (
    select
        cluster, stage_time, username, impersonated_username, source_ips[len(source_ips)] as source_ip, user_agent, client,
        verb, resource, subresource, namespace, name, uid, object_name, object_uid, owner_uid, code, response_kind,
        audit_id, import_id, source, line, item,
        controller(username, user_agent) as actor,
        case
            when coalesce(code, 500) >= 300 then 'refused'
            when dry_run then 'dry-run'
            when subresource = 'eviction' then 'eviction'
            when verb = 'deletecollection' and response_kind is null then 'collection-unrecorded'
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
        and ($api_group is null or api_group = $api_group)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
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
    where how in ('collection-unrecorded', 'refused', 'dry-run') and response_kind is null and $uid is null
    union all by name
    -- an object being deleted goes with its last finalizer; bodies are only looked into for one object
    select
        cluster, stage_time, username, impersonated_username, source_ips[len(source_ips)] as source_ip, user_agent, client,
        verb, resource, subresource, namespace, coalesce(name, object_name) as name, coalesce(object_uid, uid) as uid,
        object_name, object_uid, owner_uid, code, response_kind, audit_id, import_id, source, line, item,
        controller(username, user_agent) as actor,
        'finalizer' as how
    from audit
    where ($name is not null or $uid is not null)
        and stage = 'ResponseComplete'
        and verb in ('update', 'patch')
        and code < 300
        and not coalesce(dry_run, false)
        and ($resource is null or resource = $resource)
        and ($api_group is null or api_group = $api_group)
        and fits(namespace, $namespace)
        and fits(name, $name)
        and fits(object_uid, $uid)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
        and contains(response_object, '"deletionTimestamp"')
        and json_extract_string(response_object, '$.metadata.deletionTimestamp') is not null
        and coalesce(json_array_length(json_extract(response_object, '$.metadata.finalizers')), 0) = 0
        and coalesce(json_array_length(json_extract(response_object, '$.spec.finalizers')), 0) = 0
        and coalesce(cast(json_extract_string(response_object, '$.metadata.deletionGracePeriodSeconds') as bigint), 0) = 0
),
numbered as materialized (
    select *, row_number() over (order by stage_time, audit_id, source, line, item, name) as number from found
),
-- deletions that follow from others: by a part of the control plane, or by whoever took away the last finalizer
followers as materialized (
    select number, cluster, stage_time as time, resource, namespace, uid, owner_uid, how, actor, username, audit_id
    from numbered
    where how not in ('refused', 'dry-run') and (actor is not null or how = 'finalizer')
),
-- what was taken away beside them; owners and their dependants are in one namespace, or the owner in none
removals as materialized (
    select
        cluster, stage_time as time, username, controller(username, user_agent) as actor, verb, resource, subresource,
        namespace, name, coalesce(object_uid, uid) as uid, owner_uid, audit_id, import_id, source, line, item
    from audit
    where stage = 'ResponseComplete'
        and code < 300
        and not coalesce(dry_run, false)
        and (verb in ('delete', 'deletecollection') and subresource is null or verb = 'create' and subresource = 'eviction')
        and namespace in (select namespace from followers)
        and ($cluster is null or cluster = $cluster)
    union all by name
    select
        cluster, stage_time as time, username, controller(username, user_agent) as actor, verb, resource, subresource,
        namespace, name, coalesce(object_uid, uid) as uid, owner_uid, audit_id, import_id, source, line, item
    from audit
    where stage = 'ResponseComplete'
        and code < 300
        and not coalesce(dry_run, false)
        and verb = 'delete'
        and subresource is null
        and namespace is null
        and cluster in (select cluster from followers)
        and ($cluster is null or cluster = $cluster)
),
-- who owned what the garbage collector took, where its last body does not tell
owned as (
    select cluster, object_uid as uid, max_by(owner_uid, (stage_time, audit_id)) as owner_uid
    from audit
    where stage = 'ResponseComplete'
        and verb in ('create', 'update')
        and subresource is null
        and owner_uid is not null
        and namespace in (select namespace from followers)
        and object_uid in (
            select uid from removals where actor = 'generic-garbage-collector' and owner_uid is null
            union all
            select uid from followers where actor = 'generic-garbage-collector' and owner_uid is null
        )
        and ($cluster is null or cluster = $cluster)
    group by cluster, object_uid
),
-- each removal with the keys its consequences find it by
ends as (
    select cluster, 'uid:' || uid as key, uid, owner_uid, namespace, time, username, actor, audit_id
    from removals
    where verb = 'delete' and uid is not null and actor is distinct from 'kubelet'
    union all
    select cluster, 'ns:' || coalesce(name, namespace), uid, owner_uid, namespace, time, username, actor, audit_id
    from removals
    where verb = 'delete' and resource = 'namespaces'
    union all
    select r.cluster, 'uid:' || v.uid, v.uid, null, r.namespace, r.time, r.username, r.actor, r.audit_id
    from removals as r
    join audit_objects as v
        on v.import_id = r.import_id and v.source = r.source and v.line = r.line
        and coalesce(v.item, 0) = coalesce(r.item, 0) and v.audit_id = r.audit_id
    where r.verb = 'deletecollection' and v.via = 'item' and v.verb = 'deletecollection' and v.uid is not null
    union all
    -- evictions name no uid: the kubelet's deletion of that name which came next does
    select e.cluster, 'uid:' || min_by(k.uid, k.time), min_by(k.uid, k.time), null, e.namespace, e.time, e.username, e.actor, e.audit_id
    from removals as e
    join removals as k
        on k.cluster = e.cluster and k.namespace = e.namespace and k.name = e.name and k.time >= e.time
    where e.subresource = 'eviction' and k.verb = 'delete' and k.resource = 'pods'
    group by e.cluster, e.namespace, e.time, e.username, e.actor, e.audit_id
),
causes as materialized (
    select e.cluster, e.key, e.time, e.username, e.actor, e.audit_id,
        case e.actor
            when 'generic-garbage-collector' then 'uid:' || coalesce(e.owner_uid, o.owner_uid)
            when 'namespace-controller' then 'ns:' || e.namespace
        end as parent
    from ends as e
    left join owned as o on o.cluster = e.cluster and o.uid = e.uid
),
chain as (
    select f.number, 0 as step, f.cluster, f.time, f.username, f.actor, f.audit_id,
        case
            when f.how = 'finalizer' or f.actor = 'kubelet' then 'uid:' || f.uid
            when f.actor = 'generic-garbage-collector' then 'uid:' || coalesce(f.owner_uid, o.owner_uid)
            when f.actor = 'namespace-controller' then 'ns:' || f.namespace
        end as parent
    from followers as f
    left join owned as o on o.cluster = f.cluster and o.uid = f.uid
    union all
    select c.number, c.step + 1, c.cluster, p.time, p.username, p.actor, p.audit_id, p.parent
    from chain as c
    join causes as p on p.cluster = c.cluster and p.key = c.parent and p.time <= c.time
    where c.step < 8
    -- the first deletion of a uid, for the next ones came too late; the last of a name, which may be used again
    qualify row_number() over (
        partition by c.number order by case when starts_with(p.key, 'ns:') then -1 else 1 end * epoch_us(p.time), p.audit_id
    ) = 1
),
roots as (
    select number, max_by(username, step) as username, max_by(audit_id, step) as audit_id, arg_max_null(actor, step) as actor
    from chain
    group by number
)
select
    a.stage_time as time,
    a.username,
    a.impersonated_username,
    a.verb,
    case
        when a.how not in ('direct', 'collection') then a.how
        when a.actor = 'generic-garbage-collector' then 'owner-gc'
        when a.actor = 'namespace-controller' then 'namespace'
        when a.actor = 'pod-garbage-collector' then 'pod-gc'
        when a.actor in ('taint-eviction-controller', 'node-controller') and a.resource = 'pods' then 'taint'
        when a.actor = 'scheduler' and a.resource = 'pods' then 'preemption'
        when a.actor = 'ttl-after-finished-controller' then 'ttl'
        when a.actor is not null then 'controller'
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
    -- nobody is named as long as the chain ends at a part of the control plane
    case
        when a.how in ('refused', 'dry-run') then null
        when r.number is null then a.username
        when r.actor is null then r.username
    end as root_username,
    case
        when a.how in ('refused', 'dry-run') then null
        when r.number is null then a.audit_id
        when r.actor is null then r.audit_id
    end as root_audit_id
from numbered as a
left join roots as r on r.number = a.number
where $attempts or a.how not in ('refused', 'dry-run')
order by time, namespace, name, audit_id
limit $limit
