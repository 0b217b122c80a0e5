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
    union all by name
    -- an object being deleted goes with its last finalizer; bodies are only looked into for one object
    select * replace (coalesce(name, object_name) as name, coalesce(object_uid, uid) as uid), 'finalizer' as how
    from audit
    where ($name is not null or $uid is not null)
        and stage = 'ResponseComplete'
        and verb in ('update', 'patch')
        and code < 300
        and not coalesce(dry_run, false)
        and ($resource is null or resource = $resource)
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
-- owners and their dependants are in one namespace; this keeps the look-ups to the files of these
spaces as (select distinct namespace from found where namespace is not null),
-- every deletion that may have led to another, with the key its consequences find it by
ends as (
    select
        cluster,
        'uid:' || coalesce(object_uid, uid) as key,
        min(stage_time) as time,
        min_by(username, (stage_time, audit_id)) as username,
        min_by(user_agent, (stage_time, audit_id)) as user_agent,
        min_by(namespace, (stage_time, audit_id)) as namespace,
        min_by(coalesce(object_uid, uid), (stage_time, audit_id)) as uid,
        min_by(audit_id, (stage_time, audit_id)) as audit_id
    from audit
    where verb = 'delete'
        and stage = 'ResponseComplete'
        and code < 300
        and subresource is null
        and not coalesce(dry_run, false)
        and coalesce(object_uid, uid) is not null
        and username not like 'system:node:%'
        and namespace in (select namespace from spaces)
        and ($cluster is null or cluster = $cluster)
    group by cluster, coalesce(object_uid, uid)
    union all by name
    -- owners outside of namespaces
    select
        cluster,
        'uid:' || coalesce(object_uid, uid) as key,
        min(stage_time) as time,
        min_by(username, (stage_time, audit_id)) as username,
        min_by(user_agent, (stage_time, audit_id)) as user_agent,
        min_by(namespace, (stage_time, audit_id)) as namespace,
        min_by(coalesce(object_uid, uid), (stage_time, audit_id)) as uid,
        min_by(audit_id, (stage_time, audit_id)) as audit_id
    from audit
    where verb = 'delete'
        and stage = 'ResponseComplete'
        and code < 300
        and subresource is null
        and not coalesce(dry_run, false)
        and coalesce(object_uid, uid) is not null
        and username not like 'system:node:%'
        and namespace is null
        and ($cluster is null or cluster = $cluster)
    group by cluster, coalesce(object_uid, uid)
    union all by name
    select cluster, 'ns:' || coalesce(name, namespace) as key, stage_time as time, username, user_agent, namespace, object_uid as uid, audit_id
    from audit
    where verb = 'delete'
        and resource = 'namespaces'
        and namespace in (select namespace from spaces)
        and subresource is null
        and stage = 'ResponseComplete'
        and code < 300
        and not coalesce(dry_run, false)
        and ($cluster is null or cluster = $cluster)
    union all by name
    -- victims of collections, by uid
    select c.cluster, 'uid:' || t.uid as key, c.stage_time as time, c.username, c.user_agent, c.namespace, t.uid, c.audit_id
    from audit as c
    join touch as t
        on t.import_id = c.import_id and t.source = c.source and t.line = c.line
        and coalesce(t.item, 0) = coalesce(c.item, 0) and t.audit_id = c.audit_id
    where c.verb = 'deletecollection'
        and c.namespace in (select namespace from spaces)
        and c.stage = 'ResponseComplete'
        and c.code < 300
        and not coalesce(c.dry_run, false)
        and t.via = 'item'
        and t.verb = 'deletecollection'
        and t.uid is not null
        and ($cluster is null or c.cluster = $cluster)
    union all by name
    -- evictions name no uid: the kubelet's deletion of that name which came next does
    select
        e.cluster,
        'uid:' || min_by(k.object_uid, k.stage_time) as key,
        e.stage_time as time,
        e.username,
        e.user_agent,
        e.namespace,
        min_by(k.object_uid, k.stage_time) as uid,
        e.audit_id
    from audit as e
    join audit as k
        on k.cluster = e.cluster and k.resource = 'pods' and k.namespace = e.namespace and k.name = e.name and k.stage_time >= e.stage_time
    where e.subresource = 'eviction'
        and e.resource = 'pods'
        and e.namespace in (select namespace from spaces)
        and k.namespace in (select namespace from spaces)
        and e.verb = 'create'
        and e.stage = 'ResponseComplete'
        and e.code < 300
        and not coalesce(e.dry_run, false)
        and k.verb = 'delete'
        and k.stage = 'ResponseComplete'
        and k.code < 300
        and k.subresource is null
        and ($cluster is null or e.cluster = $cluster)
    group by e.cluster, e.stage_time, e.username, e.user_agent, e.namespace, e.audit_id
),
-- who owned what, as any body shows it
owned as (
    select cluster, object_uid as uid, any_value(owner_uid) as owner_uid
    from audit
    where owner_uid is not null
        and object_uid is not null
        and namespace in (select namespace from spaces)
        and subresource is null
        and stage = 'ResponseComplete'
        and verb in ('create', 'update', 'delete')
        and ($cluster is null or cluster = $cluster)
    group by cluster, object_uid
),
actors as (
    select
        f.*,
        -- without service accounts of their own the controllers are told apart by their user agent
        case
            when f.username like 'system:serviceaccount:kube-system:%' then substr(f.username, 35)
            when f.username = 'system:kube-controller-manager' then split_part(f.user_agent, '/', -1)
            when f.username = 'system:kube-scheduler' then 'scheduler'
            when f.username like 'system:node:%' then 'kubelet'
            when f.username = 'system:apiserver' then 'apiserver'
        end as actor,
        row_number() over (order by f.stage_time, f.audit_id, f.source, f.line, f.item, f.name) as start
    from found as f
),
steps as (
    select a.start, 0 as step, a.cluster, a.stage_time as time, a.username, a.actor, a.audit_id,
        case
            when a.how = 'finalizer' then 'uid:' || a.uid
            when a.actor = 'generic-garbage-collector' then 'uid:' || coalesce(a.owner_uid, o.owner_uid)
            when a.actor = 'namespace-controller' then 'ns:' || a.namespace
            when a.actor = 'kubelet' then 'uid:' || a.uid
        end as parent
    from actors as a
    left join owned as o on o.cluster = a.cluster and o.uid = a.uid
    where a.how not in ('refused', 'dry-run')
),
causes as (
    select e.*, o.owner_uid,
        case
            when e.username like 'system:serviceaccount:kube-system:%' then substr(e.username, 35)
            when e.username = 'system:kube-controller-manager' then split_part(e.user_agent, '/', -1)
            when e.username = 'system:kube-scheduler' then 'scheduler'
            when e.username = 'system:apiserver' then 'apiserver'
        end as actor
    from ends as e
    left join owned as o on o.cluster = e.cluster and o.uid = e.uid
),
parents as (
    select *,
        case actor
            when 'generic-garbage-collector' then 'uid:' || owner_uid
            when 'namespace-controller' then 'ns:' || namespace
        end as parent
    from causes
),
step1 as (
    select c.start, 1 as step, c.cluster, max(p.time) as time, max_by(coalesce(p.username, ''), p.time) as username, max_by(coalesce(p.actor, ''), p.time) as actor,
        max_by(p.audit_id, p.time) as audit_id, max_by(coalesce(p.parent, ''), p.time) as parent
    from steps as c
    join parents as p on p.cluster = c.cluster and p.key = c.parent and p.time <= c.time
    group by c.start, c.cluster
),
step2 as (
    select c.start, 2 as step, c.cluster, max(p.time) as time, max_by(coalesce(p.username, ''), p.time) as username, max_by(coalesce(p.actor, ''), p.time) as actor,
        max_by(p.audit_id, p.time) as audit_id, max_by(coalesce(p.parent, ''), p.time) as parent
    from step1 as c
    join parents as p on p.cluster = c.cluster and p.key = c.parent and p.time <= c.time
    group by c.start, c.cluster
),
step3 as (
    select c.start, 3 as step, c.cluster, max(p.time) as time, max_by(coalesce(p.username, ''), p.time) as username, max_by(coalesce(p.actor, ''), p.time) as actor,
        max_by(p.audit_id, p.time) as audit_id, max_by(coalesce(p.parent, ''), p.time) as parent
    from step2 as c
    join parents as p on p.cluster = c.cluster and p.key = c.parent and p.time <= c.time
    group by c.start, c.cluster
),
step4 as (
    select c.start, 4 as step, c.cluster, max(p.time) as time, max_by(coalesce(p.username, ''), p.time) as username, max_by(coalesce(p.actor, ''), p.time) as actor,
        max_by(p.audit_id, p.time) as audit_id, max_by(coalesce(p.parent, ''), p.time) as parent
    from step3 as c
    join parents as p on p.cluster = c.cluster and p.key = c.parent and p.time <= c.time
    group by c.start, c.cluster
),
roots as (
    select start, max_by(username, step) as username, max_by(audit_id, step) as audit_id, max_by(coalesce(actor, ''), step) as actor
    from (select start, step, username, audit_id, actor from steps union all select start, step, username, audit_id, actor from step1 union all select start, step, username, audit_id, actor from step2 union all select start, step, username, audit_id, actor from step3 union all select start, step, username, audit_id, actor from step4)
    group by start
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
    a.source_ips[len(a.source_ips)] as source_ip,
    a.client,
    a.user_agent,
    a.audit_id,
    a.source,
    a.line,
    a.item,
    a.cluster,
    -- nobody is named as long as the chain ends at a part of the control plane
    case when r.actor = '' then r.username end as root_username,
    case when r.actor = '' then r.audit_id end as root_audit_id
from actors as a
left join roots as r on r.start = a.start
where $attempts or a.how not in ('refused', 'dry-run')
order by time, namespace, name, audit_id
limit $limit
