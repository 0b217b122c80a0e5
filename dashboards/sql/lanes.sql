/* The busiest $lanes lanes, the earliest first, and how many there are; those of objects with the object. */
select * from (
    select
        lane, min(stage_time) as first_time, count(*) as events, count(*) over () as lanes,
        any_value(resource) as resource, any_value(api_group) as api_group, any_value(namespace) as namespace,
        any_value(coalesce(name, object_name)) as name
    from ({marked})
    where lane is not null
    group by lane
    order by events desc, lane
    limit $lanes
)
order by first_time, lane
