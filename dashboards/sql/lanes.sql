/* The busiest $lanes lanes, the earliest first. */
select * from (
    select lane, min(stage_time) as first_time, count(*) as events
    from ({marked})
    where lane is not null
    group by lane
    order by events desc, lane
    limit $lanes
)
order by first_time, lane
