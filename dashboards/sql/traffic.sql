/* Requests over time by outcome class; one row a request, $step seconds a bucket. */
select
    time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
    {class} as class,
    count(*) as requests
from audit
where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by time, class
