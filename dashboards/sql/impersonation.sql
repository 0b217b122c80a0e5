/* Who acted as whom. */
select
    username,
    impersonated_username,
    impersonated_groups,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    count(distinct verb || ' ' || coalesce(resource, request_uri)) as kinds,
    array_agg(distinct client) as clients,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max_by(audit_id, stage_time) as audit_id
from audit
where impersonated_username is not null
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by requests desc, username
limit 500
