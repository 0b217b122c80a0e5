/*
title = "Requests without a login: what they asked and what was allowed"
group = "access"
show = ["time", "username", "verb", "object", "request_uri", "allowed", "outcome", "source_ip", "evidence"]
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
    coalesce(username, '(login failed)') as username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    name,
    request_uri,
    code,
    outcome,
    code < 400 as allowed,
    decision_reason,
    client,
    user_agent,
    source_ips[len(source_ips)] as source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from audit
where (
        (
            (username in ('system:anonymous', 'system:unsecured') or list_contains(user_groups, 'system:unauthenticated'))
            and stage in ('ResponseComplete', 'Panic')
        )
        or (code = 401 and stage = 'ResponseStarted')
    )
    and (not coalesce($allowed, false) or code < 400)
    and (coalesce($health, false) or resource is not null
        or not regexp_matches(request_uri, '^/(healthz|livez|readyz|version)([/?]|$)'))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time, audit_id
limit $limit
