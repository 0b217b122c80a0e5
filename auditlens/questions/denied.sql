/*
title = "Requests that were refused (401, 403): by whom, why, and which part of the apiserver decided"
group = "access"
show = ["time", "code", "decided_by", "username", "verb", "object", "reason", "evidence"]
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
    username,
    impersonated_username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    name,
    request_uri,
    -- the authorizer's words where it refused; what came after it says why in the answer
    case when decision = 'forbid' then coalesce(nullif(decision_reason, ''), status_message) else status_message end as reason,
    source_ips[len(source_ips)] as source_ip,
    client,
    audit_id,
    source,
    line,
    item,
    cluster
from audit
where code in (401, 403)
    -- a long-running request that fails has two stages with the same code; a failed login has only the first
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and fits(username, $user)
    and ($resource is null or resource = $resource)
    and ($api_group is null or api_group = $api_group)
    and fits(namespace, $namespace)
    and fits(name, $name)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time, audit_id
limit $limit
