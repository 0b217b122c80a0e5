/*
title = "One request from all sides: audit stages, httplog line, trace steps, log entries, the client, on one line of time"
group = "apiserver log"
show = ["time", "side", "what", "ms", "detail", "evidence"]
needs = "the request in the audit log at Metadata; the more of the apiserver's own log (-v=3 for httplog, traces) and of kubectl -v=8, the more is told"

[[logged]]
level = "Metadata"

[params]
audit_id = "the request's audit id"
cluster = ""
limit = {default = 1000}
*/
with sides as (
    select
        stage_time as time, 'audit' as side, stage as what, latency_ms as ms, code,
        concat_ws(' ', actor(username, impersonated_username), 'by ' || impersonator(username, impersonated_username), verb,
            request_uri, outcome, status_message) as detail,
        instance, source, line, item, case stage when 'RequestReceived' then 0 when 'ResponseStarted' then 50 else 90 end as rank, 0 as seq
    from audit
    where audit_id = $audit_id and same(cluster, $cluster)
    union all
    select
        time, 'httplog', verb, latency_ms, code,
        concat_ws(' ', uri, 'from ' || source_ip, client, 'level ' || apf_pl, 'schema ' || apf_fs,
            'executed ' || apf_execution_ms || ' ms', added_info),
        instance, source, line, item, 80, 0
    from httplog
    where (audit_id = $audit_id or audit_id = left($audit_id, 64)) and same(cluster, $cluster)
    union all
    select
        coalesce(step_time, time), 'trace ' || coalesce(trace_id, ''), coalesce(step, name), step_ms, null,
        concat_ws(' ', case when seq = 0 then 'begins; logged at ' || strftime(time, '%H:%M:%S.%f') end,
            array_to_string(list_transform(map_entries(fields), lambda f: f.key || ':' || f.value), ' ')),
        instance, source, line, item, 10, seq
    from trace
    where same(cluster, $cluster)
        and (import_id, source, line, coalesce(trace_id, '')) in (
            select (import_id, source, line, coalesce(trace_id, '')) from trace where audit_id = $audit_id)
    union all
    select
        time, 'log ' || severity, coalesce(kind, file || ':' || file_line), null, null,
        concat_ws(' ', message, array_to_string(list_transform(map_entries(fields), lambda f: f.key || '=' || f.value), ' ')),
        instance, source, line, item, 70, 0
    from klog
    where (audit_id = $audit_id or contains(message, $audit_id))
        and coalesce(kind, '') not in ('http', 'trace') and same(cluster, $cluster)
    union all
    select
        time, 'kubectl', method, milliseconds, code, concat_ws(' ', url, status, request_headers['User-Agent']),
        instance, source, line, item, -1, 0
    from kubectl
    where audit_id = $audit_id and same(cluster, $cluster)
)
select
    time,
    (epoch_us(time) - min(epoch_us(time)) over ()) / 1000.0 as since_ms,
    side,
    what,
    rounded(ms, 1000) as ms,
    code,
    detail,
    instance,
    source,
    line,
    item
from sides
order by time, rank, source, line, item, seq, side, what, detail
limit $limit
