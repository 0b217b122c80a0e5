/*
title = "Priority and fairness: load, waits and rejections of each priority level and flow schema"
group = "apiserver log"
show = ["priority_level", "flow_schema", "requests", "rejected", "wait_p50_ms", "wait_p99_ms", "wait_max_ms", "execution_p99_ms", "seats", "limit_seats", "rejections_logged"]
needs = "the apiserver's httplog lines (-v=3, 1.24 and later); limits at -v=4, the queues' own words at -v=5"
logged = []

[params]
since = ""
until = ""
cluster = ""
limit = {default = 100}
*/
with served as (
    select
        *, not long_running(verb, uri) as short,
        -- it never began; a 429 that was executed is an eviction that a budget refused
        code = 429 and apf_execution_ms is null and not regexp_matches(uri, '/eviction([?]|$)') as refused,
        -- what the request spent before and after its execution; of that the queue is the part that grows
        latency_ms - case when refused then 0 else apf_execution_ms end as wait_ms
    from httplog
    where apf_pl is not null
        and in_window(cluster, time, $cluster, $since, $until)
),
seen as (
    select
        cluster, apf_pl as priority_level, apf_fs as flow_schema,
        count(*) as requests,
        count(*) filter (where refused) as rejected,
        greatest(percentile_ms(case when short then wait_ms end, 0.5), 0) as wait_p50_ms,
        greatest(percentile_ms(case when short then wait_ms end, 0.99), 0) as wait_p99_ms,
        greatest(rounded(max(wait_ms) filter (where short), 1000), 0) as wait_max_ms,
        percentile_ms(case when short then apf_execution_ms end, 0.99) as execution_p99_ms,
        sum(apf_iseats) as seats,
        max_by(struct_pack(id := audit_id), row(wait_ms, time, audit_id, source, line, item)) filter (where short and wait_ms is not null) as longest
    from served
    group by all
),
said as (
    select
        cluster,
        coalesce(fields['plName'], nullif(regexp_extract(message, 'QS[(]([^)]*)[)]', 1), '')) as priority_level,
        max_by(try_cast(fields['currentCL'] as bigint), row(time, source, line, item)) filter (where kind = 'apf.limit') as limit_seats,
        max(try_cast(fields['seatDemandHighWatermark'] as double)) filter (where kind = 'apf.limit') as highest_demand,
        count(*) filter (where kind = 'apf.rejected') as rejections_logged
    from klog
    where kind in ('apf.limit', 'apf.rejected')
        and in_window(cluster, time, $cluster, $since, $until)
    group by all
)
select
    coalesce(seen.priority_level, said.priority_level) as priority_level,
    flow_schema,
    coalesce(requests, 0) as requests,
    coalesce(rejected, 0) as rejected,
    wait_p50_ms,
    wait_p99_ms,
    wait_max_ms,
    execution_p99_ms,
    seats::bigint as seats,
    limit_seats,
    highest_demand,
    coalesce(rejections_logged, 0) as rejections_logged,
    longest.id as longest_wait_audit_id,
    coalesce(seen.cluster, said.cluster) as cluster
from seen
full join said on said.cluster = seen.cluster and said.priority_level = seen.priority_level
order by rejected desc, wait_max_ms desc nulls last, priority_level, flow_schema, cluster
limit $limit
