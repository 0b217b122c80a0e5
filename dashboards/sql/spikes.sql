/* What was refused or failed in some stretches of time, $step seconds each: mostly by whom and what, and one of them. */
select
    time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
    {class} as class,
    mode(username) as mostly,
    mode(verb || ' ' || coalesce(resource, request_uri)) as doing,
    max_by(audit_id, stage_time) as audit_id
from audit
where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and (code is null or code >= 400)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
    and list_contains($times, epoch_us(time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time)))
group by all
