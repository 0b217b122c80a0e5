/* Who read or changed secrets. */
select
    coalesce(impersonated_username, username) as acting_as,
    username,
    client,
    verb,
    namespace,
    count(*) as requests,
    count(*) filter (where code >= 400) as refused,
    count(distinct name) as secrets,
    array_agg(distinct name)[1:5] as names,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max_by(audit_id, stage_time) as audit_id
from audit
where resource = 'secrets'
    and api_group = ''
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by any_value(verb) in ('list', 'watch') desc, requests desc, acting_as
limit 500
