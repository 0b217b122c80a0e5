/*
title = "Who was refused and later let in, and by which binding"
group = "access"
show = ["username", "verb", "resource", "namespace", "denied", "first_denied", "first_allowed", "reason", "allowed_audit_id"]
needs = "ResponseComplete at Metadata for all requests"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
limit = {default = 1000}
*/
with asked as (
    select
        cluster,
        coalesce(impersonated_username, username) as username,
        verb,
        api_group,
        resource,
        subresource,
        namespace,
        count(*) filter (where code = 403 and decision = 'forbid') as denied,
        min(stage_time) filter (where code = 403 and decision = 'forbid') as first_denied,
        min_by(audit_id, stage_time) filter (where code = 403 and decision = 'forbid') as denied_audit_id,
        max(stage_time) filter (where decision = 'allow' and code < 400) as last_allowed
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and resource is not null
        and (code = 403 or code < 400)
        and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
        and ($resource is null or resource = $resource)
        and ($api_group is null or api_group = $api_group)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
    group by all
    having count(*) filter (where code = 403 and decision = 'forbid') > 0
        and max(stage_time) filter (where decision = 'allow' and code < 400)
            > min(stage_time) filter (where code = 403 and decision = 'forbid')
)
select
    d.username,
    d.verb,
    d.api_group,
    d.resource,
    d.subresource,
    d.namespace,
    d.denied,
    d.first_denied,
    d.denied_audit_id,
    min(a.stage_time) as first_allowed,
    min_by(a.decision_reason, a.stage_time) as reason,
    min_by(a.audit_id, a.stage_time) as allowed_audit_id,
    min_by(a.source, a.stage_time) as source,
    min_by(a.line, a.stage_time) as line,
    d.cluster
from asked as d
join audit as a
    on a.cluster = d.cluster and coalesce(a.impersonated_username, a.username) = d.username and a.verb = d.verb
    and a.resource = d.resource and a.api_group = d.api_group
    and coalesce(a.subresource, '') = coalesce(d.subresource, '') and coalesce(a.namespace, '') = coalesce(d.namespace, '')
where a.decision = 'allow'
    and a.code < 400
    and a.stage in ('ResponseComplete', 'Panic')
    and a.stage_time > d.first_denied
group by all
order by first_allowed, d.username, d.verb, d.resource
limit $limit
