/*
title = "Where the time of slow requests goes: decoding, admission, etcd, serialising, the client, ..."
group = "apiserver log"
show = ["told_by", "verb", "resource", "part", "requests", "ms", "percent", "steps"]
needs = "the apiserver's traces (on by default for what takes 500 ms; all steps at -v=4), or ResponseComplete at Metadata (1.23 and later annotate what takes 500 ms)"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
audit_id = "only this request"
verb = "verb, as in audit events"
resource = ""
client = "program named in the user agent; globs"
limit = {default = 200}
*/
with lines as (
    select
        *,
        coalesce(http_verb(max(verb) over block), max(name) over block) as block_verb,
        coalesce(max(case when seq = 0 then fields['resource'] end) over block, uri_resource(max(url) over block)) as block_resource,
        nullif(split_part(max(user_agent) over block, '/', 1), '') as block_client
    from trace
    where same(audit_id, $audit_id)
        and in_window(cluster, time, $cluster, $since, $until)
    window block as (partition by import_id, source, line, item, trace_id)
),
parents as (
    select
        c.import_id, c.source, c.line, c.item, c.trace_id, c.seq, max(p.seq) as parent
    from lines c
    join lines p
        on p.import_id = c.import_id and p.source = c.source and p.line = c.line and p.trace_id is not distinct from c.trace_id
        and p.item is not distinct from c.item and p.span and p.depth = c.depth - 1 and p.seq < c.seq
    group by all
),
siblings as (
    select
        l.*, p.parent,
        lag(l.step) over (family) as before,
        lag(l.step_time) over (family) as before_time,
        lag(case when l.span then l.step_ms else 0 end) over (family) as before_ms
    from lines l
    left join parents p
        on p.import_id = l.import_id and p.source = l.source and p.line = l.line and p.trace_id is not distinct from l.trace_id
        and p.item is not distinct from l.item and p.seq = l.seq
    window family as (partition by l.import_id, l.source, l.line, l.item, l.trace_id, p.parent order by l.seq)
),
timed as (
    select
        *,
        -- between a step and the span behind it lies what no line is about: of writes that is admission
        case when span and seq > 0 and before is not null
            then greatest((epoch_us(step_time) - epoch_us(before_time)) / 1000.0 - before_ms, 0) else 0 end as gap_ms
    from siblings
),
inside as (
    select import_id, source, line, item, trace_id, parent as seq, sum_ms(step_ms + coalesce(gap_ms, 0)) as ms
    from timed
    where parent is not null
    group by all
),
own as (
    select
        l.block_verb as verb, l.block_resource as resource, l.block_client as client, l.audit_id,
        l.source || ':' || l.line || ':' || coalesce(l.trace_id, '') as request,
        -- the time of a span that its own lines do not explain
        greatest(l.step_ms - case when l.span then coalesce(i.ms, 0) else 0 end, 0) as ms,
        case
            when l.seq = 0 and coalesce(trace_part(l.name), '') <> '' then trace_part(l.name)
            when l.seq = 0 then 'not told'
            else coalesce(trace_part(l.step), 'handler') end as part,
        coalesce(l.step, l.name) as step
    from timed l
    left join inside i
        on i.import_id = l.import_id and i.source = l.source and i.line = l.line and i.trace_id is not distinct from l.trace_id
        and i.item is not distinct from l.item and i.seq = l.seq
    where l.step_ms is not null
    union all
    select
        block_verb, block_resource, block_client, audit_id, source || ':' || line || ':' || coalesce(trace_id, ''), gap_ms,
        case when before like 'About to store%' or before like 'About to delete%' or before like 'Conversion done%'
            then 'admission' else 'handler' end,
        'behind ' || before
    from timed
    where gap_ms >= 1
),
noted as (
    select
        verb, resource, client, audit_id, source || ':' || line as request, latency_ms,
        key as note, duration_ms(annotations[key]) as ms
    from (select *, unnest(map_keys(annotations)) as key from ended_in($cluster, $since, $until))
    where starts_with(key, 'apiserver.latency.k8s.io/') and not coalesce(long_running(verb, request_uri), false)
        and same(audit_id, $audit_id)
),
annotated as (
    select
        verb, resource, client, audit_id, request, ms,
        case split_part(note, '/', 2)
            when 'authentication' then 'authentication'
            when 'authorization' then 'authorization'
            when 'apf-queue-wait' then 'queueing'
            when 'mutating-webhook' then 'admission'
            when 'validating-webhook' then 'admission'
            when 'admission' then 'admission'
            when 'etcd' then 'etcd'
            when 'decode-response-object' then 'decoding'
            when 'transform-response-object' then 'transform'
            when 'serialize-response-object' then 'serialise'
            when 'response-write' then 'client write'
            else split_part(note, '/', 2) end as part,
        split_part(note, '/', 2) as step
    from noted
    where note <> 'apiserver.latency.k8s.io/total'
    union all
    -- the total is of the whole request: what no part of it explains
    select verb, resource, client, audit_id, request,
        greatest(max(case when note like '%/total' then ms end)
            - coalesce(sum_ms(case when note not like '%/total' then ms end), 0), 0),
        'not told', 'total'
    from noted
    group by all
),
every as (
    select 'trace' as told_by, verb, resource, client, audit_id, request, part, step, ms from own
    union all
    select 'audit', verb, resource, client, audit_id, request, part, step, ms from annotated
),
parts as (
    select
        told_by, verb, resource, part,
        count(distinct request) as requests,
        rounded(sum_ms(ms), 1000) as ms,
        string_agg(distinct step, ', ' order by step) as steps,
        max(row(ms, audit_id))[2] as worst_audit_id
    from every
    where same(verb, $verb)
        and same(resource, $resource)
        and fits(client, $client)
    group by all
)
select
    told_by,
    verb,
    resource,
    part,
    requests,
    ms,
    rounded(100.0 * ms / nullif(sum_of, 0), 10) as percent,
    steps,
    worst_audit_id
from (select *, cast(sum(cast(ms * 1000 as bigint)) over (partition by told_by, verb, resource) as double) / 1000 as sum_of from parts where ms > 0)
order by sum_of desc, told_by, verb, resource, ms desc, part
limit $limit
