/* Events by stretch of $step seconds, apiserver, level and outcome class: what the head of the overview is made of. */
select
    coalesce(instance, '') as instance,
    time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
    stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code is not distinct from 401) as answered,
    {class} as class,
    level = 'RequestResponse' as bodies,
    coalesce(partial, false) or coalesce(truncated, false) as cut,
    count(*) as events
from audit
where ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
