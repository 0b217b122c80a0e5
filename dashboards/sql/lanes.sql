/* Changes, failures and sessions by lane: an object, a user or a node; the busiest $lanes of them. */
with marked as (
    select
        case $by
            when 'objects' then resource || coalesce('/' || coalesce(name, object_name), '')
            when 'users' then coalesce(username, 'nobody')
            else case
                when username like 'system:node:%' then substr(username, 13)
                when resource = 'nodes' then coalesce(name, object_name)
            end
        end as lane,
        stage_time, received_time, verb, subresource, code, username, client, api_group, resource, namespace,
        coalesce(name, object_name) as name, audit_id, source, line, latency_ms,
        coalesce(subresource, '') in ('exec', 'attach', 'portforward') as session,
        {class} as class
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and (verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
            or code >= 400 or coalesce(subresource, '') in ('exec', 'attach', 'portforward'))
        and resource is not null
        and ($noise or (resource not in ('leases', 'events') and not (resource = 'subjectaccessreviews')
            and coalesce(subresource, '') not in ('status', 'token')))
        and ($namespace is null or namespace = $namespace or (resource = 'namespaces' and name = $namespace))
        and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
),
ranked as (
    select lane, min(stage_time) as first_time from (
        select lane, stage_time, count(*) over (partition by lane) as n from marked where lane is not null
    ) group by lane order by any_value(n) desc, lane limit $lanes
)
select m.* exclude (session), m.session
from marked as m
join ranked as r using (lane)
order by r.first_time, m.lane, m.stage_time
limit 20000
