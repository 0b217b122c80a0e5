/* Users, programs and addresses that the whole log does not show before $baseline. */
with seen as (
    select username, client, source_ips[len(source_ips)] as source_ip, min(stage_time) as first_time, count(*) as events
    from audit
    where ($cluster is null or cluster = $cluster)
        and ($until is null or stage_time <= $until)
    group by all
),
named as (
    select 'user' as what, username as value, first_time, events from seen where username is not null
    union all
    select 'program', client, first_time, events from seen where client is not null
    union all
    select 'address', source_ip, first_time, events from seen where source_ip is not null
)
select what, value, min(first_time) as first_time, sum(events)::bigint as events
from named
group by what, value
having min(first_time) >= $baseline
order by what = 'user' desc, first_time
limit 50
