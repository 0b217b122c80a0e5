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
with requests as (
    select
        *,
        code = 403 and decision = 'forbid' as denied,
        decision = 'allow' and code < 400 as allowed
    from requests_in($cluster, $since, $until)
    where resource is not null
        and (code = 403 or code < 400)
        and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
        and same(resource, $resource)
        and same(api_group, $api_group)
),
refused as (
    select
        cluster, actor, verb, api_group, resource, subresource, namespace,
        count(*) as denied,
        min(event_at(stage_time, audit_id, source, line, item)) as first_denied
    from requests
    where denied
    group by all
)
select
    r.actor as username,
    r.verb,
    r.api_group,
    r.resource,
    r.subresource,
    r.namespace,
    r.denied,
    r.first_denied."time" as first_denied,
    r.first_denied.audit_id as denied_audit_id,
    min(a.stage_time) as first_allowed,
    min_by(struct_pack(said := a.decision_reason), event_at(a.stage_time, a.audit_id, a.source, a.line, a.item)).said as reason,
    min(event_at(a.stage_time, a.audit_id, a.source, a.line, a.item)).audit_id as allowed_audit_id,
    min(event_at(a.stage_time, a.audit_id, a.source, a.line, a.item)).source as source,
    min(event_at(a.stage_time, a.audit_id, a.source, a.line, a.item)).line as line,
    r.cluster
from refused as r
join requests as a
    on a.cluster = r.cluster and a.actor is not distinct from r.actor and a.verb = r.verb
    and a.resource = r.resource and a.api_group = r.api_group
    and a.subresource is not distinct from r.subresource and a.namespace is not distinct from r.namespace
where a.allowed
    and a.stage_time > r.first_denied."time"
group by all
order by first_allowed, username, r.verb, r.api_group, r.resource, r.subresource, r.namespace, r.cluster
limit $limit
