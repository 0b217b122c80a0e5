/*
title = "Requests without a login: what they asked and what was allowed"
group = "access"
show = ["time", "username", "impersonator", "verb", "object", "request_uri", "allowed", "outcome", "source_ip", "evidence"]
needs = "ResponseComplete at Metadata for users system:anonymous and system:unsecured; ResponseStarted for failed logins"

[[logged]]
level = "Metadata"

[params]
since = ""
until = ""
cluster = ""
allowed = "boolean: only what was allowed"
health = "boolean: also show probes of /healthz, /livez, /readyz and /version"
limit = {default = 1000}
*/
select
    stage_time as time,
    coalesce(actor, '(login failed)') as username,
    impersonator,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    name,
    request_uri,
    code,
    case when is_open then 'open' else outcome end as outcome,
    code < 400 as allowed,
    decision_reason,
    client,
    user_agent,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from requests_in($cluster, $since, $until)
where (
        actor in ('system:anonymous', 'system:unsecured')
        or list_contains(case when impersonated_username is null then user_groups else impersonated_groups end, 'system:unauthenticated')
        or decided_by = 'authentication'
    )
    and (not coalesce($allowed, false) or code < 400)
    and (coalesce($health, false) or resource is not null
        or not regexp_matches(request_uri, '^/(healthz|livez|readyz|version)([/?]|$)'))
order by time, audit_id, source, line, item, cluster
limit $limit
