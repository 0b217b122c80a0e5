/*
title = "Who acted as somebody else, or tried to"
group = "access"
show = ["time", "username", "impersonated_username", "verb", "object", "outcome", "client", "source_ip", "evidence"]
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
    username,
    impersonated_username,
    impersonated_groups,
    impersonated_uid,
    -- of a refused impersonation the message alone says whom it was for
    case when impersonated_username is null then status_message end as refusal,
    verb,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    request_uri,
    code,
    outcome,
    client,
    source_ips[len(source_ips)] as source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from audit
where stage in ('ResponseComplete', 'Panic')
    and (impersonated_username is not null or (decided_by = 'impersonation' and code >= 400))
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time, audit_id
limit $limit
