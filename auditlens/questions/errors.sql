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
    actor as username,
    client,
    count(*) as requests,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max_by(struct_pack(said := status_message), event_at(stage_time, audit_id, source, line, item)).said as last_message,
    max(event_at(stage_time, audit_id, source, line, item)).audit_id as last_audit_id,
    max(event_at(stage_time, audit_id, source, line, item)).source as last_source,
    max(event_at(stage_time, audit_id, source, line, item)).line as last_line
from ended_in($cluster, $since, $until)
where code >= 400
    and same(code, $code)
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
group by all
order by requests desc, code, verb, resource, subresource, username, client, outcome, decided_by
limit $limit
