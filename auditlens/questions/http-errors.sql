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
    rounded(max(latency_ms), 1000) as max_ms,
    min(time) as first_time,
    max(time) as last_time,
    max_by(struct_pack(uri := uri), event_at(time, audit_id, source, line, item)).uri as last_uri,
    max_by(struct_pack(said := added_info), event_at(time, audit_id, source, line, item)).said as last_info,
    max(event_at(time, audit_id, source, line, item)).audit_id as last_audit_id,
    max(event_at(time, audit_id, source, line, item)).source as source,
    max(event_at(time, audit_id, source, line, item)).line as line,
    cluster
from httplog
where (code >= 400 or code = 0)
    and same(code, $code)
    and same(uri_resource(uri), $resource)
    and fits(client, $client)
    and in_window(cluster, time, $cluster, $since, $until)
group by all
order by requests desc, code, verb, resource, client, source_ip, flow_schema, cluster
limit $limit
