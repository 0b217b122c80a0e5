/* Stretches with unusually many refusals or failures: over three deviations above the mean of their class, and five at least. */
with bucketed as (
    select
        time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
        {class} as class,
        count(*) as requests,
        mode(username) as mostly,
        mode(verb || ' ' || coalesce(resource, request_uri)) as doing,
        max_by(audit_id, stage_time) as audit_id
    from audit
    where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
        and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
        and (code is null or code >= 400)
    group by all
),
usual as (
    select class, sum(requests) / $buckets as mean, sqrt(sum(requests * requests) / $buckets - (sum(requests) / $buckets) ** 2) as deviation
    from bucketed
    group by class
)
select time, class, requests, round(mean, 1) as usually, mostly, doing, audit_id
from bucketed
join usual using (class)
where requests >= 5 and requests > mean + 3 * deviation
order by (requests - mean) / greatest(deviation, 0.1) desc, time
limit 8
