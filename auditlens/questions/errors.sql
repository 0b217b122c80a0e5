/*
title = "Failed requests, grouped: what fails, for whom, and how often"
group = "traffic"
show = ["requests", "code", "decided_by", "verb", "resource", "username", "last_message", "last_audit_id"]
needs = "ResponseStarted (failed logins) and ResponseComplete at Metadata"
logged = [{level = "Metadata", codes = ["4xx", "5xx"]}]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
namespace = ""
code = "integer: only this HTTP status"
limit = {default = 100}
*/
select
    code,
    outcome,
    decided_by,
    verb,
    resource,
    subresource,
    username,
    client,
    count(*) as requests,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max_by(status_message, stage_time) as last_message,
    max_by(audit_id, stage_time) as last_audit_id,
    max_by(source, stage_time) as last_source,
    max_by(line, stage_time) as last_line
from audit
where code >= 400
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($code is null or code = $code)
    and fits(username, $user)
    and ($resource is null or resource = $resource)
    and ($api_group is null or api_group = $api_group)
    and fits(namespace, $namespace)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by requests desc, code, verb, resource, subresource, username, client, outcome, decided_by
limit $limit
