/*
title = "Combinations of user, verb, resource, address and program not seen before a date"
group = "access"
show = ["first_time", "username", "verb", "resource", "namespace", "source_ip", "client", "requests", "audit_id"]
needs = "ResponseComplete at Metadata for all requests, from well before the date on"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
until = ""
cluster = ""
before = "date or RFC 3339 time; what was seen earlier is left out"
user = ""
limit = {default = 1000}
*/
select
    min(stage_time) as first_time,
    username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    source_ips[len(source_ips)] as source_ip,
    client,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    min_by(audit_id, (stage_time, audit_id)) as audit_id,
    min_by(source, (stage_time, audit_id)) as source,
    min_by(line, (stage_time, audit_id)) as line,
    cluster
from audit
where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($cluster is null or cluster = $cluster)
    and ($until is null or stage_time <= $until)
group by cluster, username, verb, api_group, resource, subresource, namespace, source_ips[len(source_ips)], client
having $before is null or min(stage_time) >= cast($before as timestamptz)
order by first_time, username, verb, resource, namespace
limit $limit
