/* Writes that lost a race: 409 by object. */
select
    api_group, resource, namespace, coalesce(name, object_name) as name, verb, outcome, count(*) as conflicts,
    array_agg(distinct username) as users, array_agg(distinct client) as clients,
    min(stage_time) as first_time, max(stage_time) as last_time, max_by(audit_id, stage_time) as audit_id
from audit
where code = 409
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by conflicts desc, resource, namespace, name
limit 300
