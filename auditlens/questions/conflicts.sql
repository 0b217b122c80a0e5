/*
title = "Fights over objects: who was refused with 409, who had written just before, and whether a retry went through"
group = "traffic"
show = ["time", "username", "impersonator", "identity", "kind", "object", "winner_username", "winner_audit_id", "retried_audit_id", "evidence"]
needs = "ResponseComplete at Metadata for all writes, deletions at Request (dry runs)"

[[logged]]
level = "Metadata"
verbs = ["create", "update", "patch", "delete"]
stages = ["ResponseComplete"]

[[logged]]
level = "Request"
verbs = ["delete"]
stages = ["ResponseComplete"]
why = "kubectl asks for a dry run of a deletion in the body"

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
        *,
        coalesce(name, object_name) as object,
        code < 300 and not coalesce(dry_run, false) and coalesce(subresource, '') not in ('token', 'exec', 'attach', 'portforward', 'proxy') as wrote
    from writes_in($cluster, $since, $until)
    where verb <> 'deletecollection'
        and resource is not null
        and (code < 300 or code = 409)
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
),
fought as (
    select distinct cluster, api_group, resource, namespace, object from writes where code = 409 and fits(object, $name)
),
told as (
    select
        w.*,
        last_value(case when w.wrote then w.actor end ignore nulls) over before as winner_username,
        last_value(case when w.wrote then w.audit_id end ignore nulls) over before as winner_audit_id,
        last_value(case when w.wrote then w.stage_time end ignore nulls) over before as winner_time,
        first_value(case when w.wrote then w.audit_id end ignore nulls) over later as retried_audit_id,
        first_value(case when w.wrote then w.stage_time end ignore nulls) over later as retried_time
    from writes as w
    join fought as f
        on f.cluster = w.cluster and f.api_group = w.api_group and f.resource = w.resource and f.object = w.object
        and coalesce(f.namespace, '') = coalesce(w.namespace, '')
    window
        before as (
            partition by w.cluster, w.api_group, w.resource, coalesce(w.namespace, ''), w.object
            order by w.stage_time, w.audit_id, w.source, w.line, w.item rows between unbounded preceding and 1 preceding
        ),
        later as (
            partition by w.cluster, w.api_group, w.resource, coalesce(w.namespace, ''), w.object, w.actor, w.verb
            order by w.stage_time, w.audit_id, w.source, w.line, w.item rows between 1 following and unbounded following
        )
)
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    verb,
    case
        when status_reason = 'AlreadyExists' then 'already-exists'
        when status_message like 'Apply failed%' then 'apply'
        when status_message like '%Precondition failed%' then 'precondition'
        else 'stale'
    end as kind,
    resource,
    subresource,
    namespace,
    object as name,
    resource_version as based_on,
    winner_username,
    winner_audit_id,
    winner_time,
    retried_audit_id,
    case when retried_time is not null then (epoch_us(retried_time) - epoch_us(stage_time)) // 1000 / 1000.0 end as retried_after,
    status_message,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from told
where code = 409
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
order by time, audit_id, source, line, item, cluster
limit $limit
