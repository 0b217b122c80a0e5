/*
title = "Who acted as somebody else, or tried to"
group = "access"
show = ["time", "username", "impersonator", "identity", "wanted", "verb", "object", "outcome", "client", "source_ip", "evidence"]
needs = "ResponseStarted or ResponseComplete at Metadata for all requests"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
limit = {default = 1000}
*/
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    -- how else who authenticated is known
    nullif(extra_names(user_extra), []) as impersonator_identity,
    impersonated_groups,
    impersonated_uid,
    -- whom a refused impersonation was for; the request itself was not looked at
    wanted(decided_by, status_message, status_details) as wanted,
    case when impersonated_username is null then status_message end as refusal,
    case when is_open then 'open' else outcome end as outcome,
    verb,
    resource,
    subresource,
    namespace,
    case when impersonated_username is null then name else coalesce(name, object_name) end as name,
    request_uri,
    code,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from requests_in($cluster, $since, $until)
where (impersonated_username is not null or (decided_by = 'impersonation' and code >= 400))
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
order by time, audit_id, source, line, item, cluster
limit $limit
