/*
title = "Evictions: by whom, blocked or done, and when the pod was gone"
group = "objects"
show = ["time", "username", "namespace", "name", "outcome", "gone", "client", "evidence"]
needs = "ResponseComplete for create of pods/eviction at Request, where a dry run is asked for; for delete of pods at Metadata"

[[logged]]
level = "Request"
verbs = ["create"]
resources = [{group = "", resources = ["pods/eviction"]}]
stages = ["ResponseComplete"]

[[logged]]
level = "Metadata"
verbs = ["delete"]
resources = [{group = "", resources = ["pods"]}]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
namespace = ""
name = ""
limit = {default = 1000}
*/
with gone as (
    select cluster, namespace, name, stage_time, audit_id
    from audit
    where resource = 'pods'
        and verb = 'delete'
        and subresource is null
        and stage = 'ResponseComplete'
        and code < 300
        and username like 'system:node:%'
)
select
    e.stage_time as time,
    e.username,
    e.impersonated_username,
    e.namespace,
    e.name,
    e.code,
    e.outcome,
    e.status_message,
    e.dry_run,
    min(case when e.code < 300 and not coalesce(e.dry_run, false) then g.stage_time end) as gone,
    min_by(case when e.code < 300 and not coalesce(e.dry_run, false) then g.audit_id end, g.stage_time) as gone_audit_id,
    e.client,
    e.source_ips[len(e.source_ips)] as source_ip,
    e.audit_id,
    e.source,
    e.line,
    e.item,
    e.cluster
from audit as e
left join gone as g
    on g.cluster = e.cluster and g.namespace = e.namespace and g.name = e.name and g.stage_time >= e.stage_time
where e.subresource = 'eviction'
    and e.verb = 'create'
    and e.stage in ('ResponseComplete', 'Panic')
    and ($user is null or fits(e.username, $user) or fits(e.impersonated_username, $user))
    and fits(e.namespace, $namespace)
    and fits(e.name, $name)
    and ($cluster is null or e.cluster = $cluster)
    and ($since is null or e.stage_time >= $since)
    and ($until is null or e.stage_time <= $until)
group by all
order by time, audit_id
limit $limit
