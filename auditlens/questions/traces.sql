/*
title = "What took the apiserver long, as it traced it; each trace with its request, slowest first"
group = "apiserver log"
show = ["time", "total_ms", "name", "steps", "verb", "url", "audit_id", "evidence"]
needs = "the apiserver's traces (on by default for what takes 500 ms; all steps at -v=4)"
logged = []

[params]
since = ""
until = ""
cluster = ""
audit_id = "only this request"
min_ms = {doc = "integer: only what took as long, milliseconds", default = 0}
limit = {default = 200}
*/
with counted as (
    select cluster, source, line, trace_id, count(*) filter (where seq > 0) as steps
    from trace
    where in_window(cluster, time, $cluster, $since, $until)
    group by all
)
select
    t.time,
    t.total_ms,
    t.name,
    c.steps,
    t.verb,
    t.url,
    t.audit_id,
    t.trace_id,
    t.source,
    t.line,
    t.cluster
from trace as t
join counted as c
    on c.cluster = t.cluster and c.source = t.source and c.line = t.line and c.trace_id is not distinct from t.trace_id
where t.seq = 0
    and in_window(t.cluster, t.time, $cluster, $since, $until)
    and same(t.audit_id, $audit_id)
    and coalesce(t.total_ms, 0) >= $min_ms
order by t.total_ms desc nulls last, t.time, t.source, t.line, t.trace_id, t.cluster
limit $limit
