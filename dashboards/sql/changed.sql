/* Objects that were changed most. */
select
    api_group,
    resource,
    namespace,
    coalesce(name, object_name) as name,
    count(*) filter (where code < 400 and dry_run is not true) as changes,
    count(*) filter (where code >= 400) as failed,
    count(distinct username) as users,
    mode(username) as mostly,
    max(stage_time) as last_time
from audit
where stage in ('ResponseComplete', 'Panic')
    and verb in ('create', 'update', 'patch', 'delete')
    and coalesce(name, object_name) is not null
    and resource not in ('leases', 'events')
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by changes desc, resource, namespace, name
limit 15
