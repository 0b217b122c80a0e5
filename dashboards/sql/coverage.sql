/* Where the log has events, by apiserver: $step seconds a bucket. */
select
    coalesce(instance, '') as instance,
    time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
    count(*) as events
from audit
where stage_time is not null
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by instance, time
