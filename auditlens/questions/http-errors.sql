/*
title = "Requests the apiserver's log shows as failed, grouped"
group = "apiserver log"
show = ["requests", "code", "verb", "resource", "client", "source_ip", "flow_schema", "last_time", "last_uri"]
needs = "the apiserver's httplog lines (-v=3); it shows refusals that the audit policy leaves out"
logged = []

[params]
since = ""
until = ""
cluster = ""
code = "integer: only this HTTP status"
resource = ""
client = "program named in the user agent; globs"
limit = {default = 100}
*/
select
    code,
    verb,
    coalesce(uri_resource(uri) || coalesce('/' || uri_subresource(uri), ''), split_part(uri, '?', 1)) as resource,
    client,
    source_ip,
    apf_fs as flow_schema,
    count(*) as requests,
    round(max(latency_ms), 3) as max_ms,
    min(time) as first_time,
    max(time) as last_time,
    max_by(uri, time) as last_uri,
    max_by(added_info, time) as last_info,
    max_by(audit_id, time) as last_audit_id,
    max_by(source, time) as source,
    max_by(line, time) as line,
    cluster
from httplog
where (code >= 400 or code = 0)
    and ($code is null or code = $code)
    and ($resource is null or uri_resource(uri) = $resource)
    and fits(client, $client)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
group by all
order by requests desc, code, verb, resource, client, source_ip
limit $limit
