/*
title = "Failed logins (401) with the reason that only the apiserver's log has"
group = "apiserver log"
show = ["time", "reason", "verb", "uri", "source_ip", "client", "audit_id", "evidence"]
needs = "ResponseStarted at Metadata for 401s, and the apiserver's log (the reason is always logged; -v=3 for requests the policy leaves out)"

[[logged]]
level = "Metadata"
stages = ["ResponseStarted"]
codes = ["401"]

[params]
since = ""
until = ""
cluster = ""
limit = {default = 1000}
*/
with refused as (
    select cluster, stage_time as time, verb, request_uri as uri, source_ip, client, audit_id, 'audit' as told_by, source, line, item
    from ended_in(null, null, null)
    where code = 401
    union all
    select h.cluster, h.time, http_verb(h.verb), h.uri, h.source_ip, h.client, h.audit_id, 'http', h.source, h.line, h.item
    from httplog h
    where h.code = 401 and not exists (select 1 from audit a where a.audit_id = h.audit_id and a.code = 401)
),
reasons as (
    select cluster, time, coalesce(fields['err'], message) as reason, source, line, item
    from klog
    where kind = 'auth.failed'
),
pairs as (
    -- the reason is logged a moment before the answer, without any id: the nearest within 50 ms, each for one answer
    select
        r.source as r_source, r.line as r_line, r.item as r_item, a.audit_id, a.source as a_source, a.line as a_line, a.item as a_item,
        row_number() over (partition by r.source, r.line, r.item order by abs(epoch_us(a.time) - epoch_us(r.time)), a.time, a.audit_id, a.source, a.line, a.item) as by_reason,
        row_number() over (partition by a.source, a.line, a.item order by abs(epoch_us(a.time) - epoch_us(r.time)), r.time, r.source, r.line, r.item) as by_answer
    from refused a
    join reasons r on r.cluster = a.cluster and abs(epoch_us(a.time) - epoch_us(r.time)) < 50000
),
matched as (select * from pairs where by_reason = 1 and by_answer = 1),
joined as (
    select a.time, r.reason, a.verb, a.uri, a.source_ip, a.client, a.audit_id, a.told_by, a.source, a.line, a.item,
        r.source || ':' || r.line as reason_evidence, a.cluster
    from refused a
    left join matched m on m.a_source = a.source and m.a_line = a.line and m.a_item is not distinct from a.item
    left join reasons r on r.source = m.r_source and r.line = m.r_line and r.item is not distinct from m.r_item
    union all
    select r.time, r.reason, null, null, null, null, null, 'log', r.source, r.line, r.item, r.source || ':' || r.line, r.cluster
    from reasons r
    where not exists (select 1 from matched m where m.r_source = r.source and m.r_line = r.line and m.r_item is not distinct from r.item)
)
select time, coalesce(reason, 'no credential was sent, or its log is missing') as reason, verb, uri, source_ip, client, audit_id,
    told_by, reason_evidence, source, line, item, cluster
from joined
where in_window(cluster, time, $cluster, $since, $until)
order by time, source, line, item, audit_id, told_by
limit $limit
