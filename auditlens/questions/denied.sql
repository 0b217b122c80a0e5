/*
title = "Requests that were refused (401, 403): by whom, why, and which part of the apiserver decided"
group = "access"
show = ["time", "code", "decided_by", "username", "impersonator", "identity", "wanted", "verb", "object", "reason", "evidence"]
needs = "ResponseStarted (failed logins) and ResponseComplete at Metadata, for all users"
logged = [{level = "Metadata", codes = [401, 403]}]

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
select
    stage_time as time,
    code,
    decided_by,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    -- whom a refused impersonation was for
    wanted(decided_by, status_message, status_details) as wanted,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    name,
    request_uri,
    -- the authorizer's words where it refused; what came after it says why in the answer
    case when decision = 'forbid' then coalesce(nullif(decision_reason, ''), status_message) else status_message end as reason,
    source_ip,
    client,
    audit_id,
    source,
    line,
    item,
    cluster
from ended_in($cluster, $since, $until)
where code in (401, 403)
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
    and fits(name, $name)
order by time, audit_id, source, line, item, cluster
limit $limit
