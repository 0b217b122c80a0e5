/*
title = "Panics and crashes: what, where, in which request"
group = "apiserver log"
show = ["time", "told_by", "what", "method", "uri", "audit_id", "evidence"]
needs = "the apiserver's log (panics are always logged), or stage Panic in the audit log"

[[logged]]
level = "Metadata"
stages = ["Panic"]

[params]
since = ""
until = ""
cluster = ""
limit = {default = 1000}
*/
with found as (
    select
        time, 'log' as told_by,
        split_part(coalesce(fields['panic'], fields['err'], message), chr(10), 1) as what,
        coalesce(fields['method'], nullif(regexp_extract(message, 'on ([A-Z]+) ', 1), '')) as method,
        coalesce(fields['URI'], nullif(regexp_extract(message, 'on [A-Z]+ (/[^ :]*)', 1), '')) as uri,
        audit_id,
        coalesce(fields['stacktrace'], nullif(regexp_extract(message, '(goroutine [0-9]+ (.|\n)*)', 1), '')) as stack,
        file || ':' || file_line as place, instance, source, line, item, cluster
    from klog
    where kind in ('panic', 'timeout.killed') or severity = 'F' or regexp_matches(message, '(^|\n)(panic: |goroutine [0-9]+ .running.:)')
    union all
    -- httplog appends the handler's stack to every 5xx: only one with a panic's frame in it is one
    select time, 'http', 'HTTP ' || code || ' while a panic unwound', verb, uri, audit_id, status_stack, null, instance, source, line, item, cluster
    from httplog
    where regexp_matches(status_stack, '(^|\n)(panic[(]|runtime[.]gopanic[(])')
    union all
    select stage_time, 'audit', coalesce(status_message, 'panic'), verb, request_uri, audit_id, null, null, instance, source, line, item, cluster
    from audit
    where stage = 'Panic'
)
select time, told_by, what, method, uri, audit_id, place, stack, instance, source, line, item, cluster
from found
where in_window(cluster, time, $cluster, $since, $until)
order by time, told_by, source, line, item, cluster
limit $limit
