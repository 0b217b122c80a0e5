/* What was refused or failed in some stretches of time, $step seconds each: mostly by whom and what, and one of them. */
with bad as (
    select
        time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
        {class} as class,
        actor,
        verb || ' ' || coalesce(resource, request_uri) as did,
        event_at(stage_time, audit_id, source, line, item) as event
    from ended_in($cluster, $since, $until)
    where (code is null or code >= 400)
        and list_contains($times, epoch_us(time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time)))
),
by_actor as (select time, class, actor, count(*) as requests, max(event) as event from bad group by all),
by_deed as (select time, class, did, count(*) as requests from bad group by all)
select
    a.time,
    a.class,
    max_by(a.actor, struct_pack(requests := a.requests, actor := a.actor)) as mostly,
    any_value(d.doing) as doing,
    max(a.event).audit_id as audit_id
from by_actor as a
join (
    select time, class, max_by(did, struct_pack(requests := requests, did := did)) as doing from by_deed group by all
) as d on d.time = a.time and d.class = a.class
group by a.time, a.class
