/*
title = "Evictions: by whom, blocked or done, and when the pod was gone"
group = "objects"
show = ["time", "username", "impersonator", "identity", "namespace", "name", "outcome", "gone", "client", "evidence"]
of = ["pods"]
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
    select cluster, namespace, name, stage_time, audit_id, source, line, item
    from writes_in($cluster, null, null)
    where resource = 'pods'
        and verb = 'delete'
        and subresource is null
        and code < 300
        and username like 'system:node:%'
),
asked as (
    select *, code < 300 and not coalesce(dry_run, false) as evicted
    from writes_in($cluster, $since, $until)
    where subresource = 'eviction'
        and verb = 'create'
        and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
        and fits(namespace, $namespace)
        and fits(name, $name)
),
ends as (
    select e.cluster, e.import_id, e.source, e.line, e.item, min(event_at(g.stage_time, g.audit_id, g.source, g.line, g.item)) as gone
    from asked as e
    join gone as g on g.cluster = e.cluster and g.namespace = e.namespace and g.name = e.name and g.stage_time >= e.stage_time
    where e.evicted
    group by all
)
select
    e.stage_time as time,
    e.actor as username,
    e.impersonator,
    identity(e.user_extra, e.impersonated_username, e.impersonated_extra) as identity,
    e.namespace,
    e.name,
    e.code,
    -- 429 is the apiserver's word for a disruption budget that does not allow it (registry/core/pod/rest/eviction.go)
    case when e.code = 429 and e.decided_by is distinct from 'flow_control' then 'blocked by budget'
        when e.dry_run and e.code < 300 then 'dry-run' else e.outcome end as outcome,
    e.status_message,
    e.dry_run,
    x.gone."time" as gone,
    x.gone.audit_id as gone_audit_id,
    e.client,
    e.source_ip,
    e.audit_id,
    e.source,
    e.line,
    e.item,
    e.cluster
from asked as e
left join ends as x
    on x.cluster = e.cluster and x.import_id = e.import_id and x.source = e.source and x.line = e.line and x.item is not distinct from e.item
order by time, audit_id, source, line, item, cluster
limit $limit
