/* The owners of an object above it and what it owns below it, as answers to creates and changes named them, and between when. */
with recursive edges as (
    select
        api_group, resource, namespace, coalesce(name, object_name) as name, owner_kind, owner_name,
        max(response_kind) filter (where response_kind not in ('Status', 'Scale', 'Table')) as kind,
        min(stage_time) as first_time, max(stage_time) as last_time, count(*) as requests
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and code < 400
        and owner_name is not null
        and namespace is not distinct from $namespace
        and same(cluster, $cluster)
    group by all
),
above as (
    select -1 as depth, * from edges where name = $name and resource = $resource
    union all
    select a.depth - 1, e.*
    from above as a join edges as e on e.name = a.owner_name and lower(e.kind) = lower(a.owner_kind)
    where a.depth > -5
),
below as (
    select 1 as depth, lower($kind) || '/' || $name || '/' || resource || '/' || name as path, * from edges
    where owner_name = $name and lower(owner_kind) = lower($kind)
    union all
    select b.depth + 1, b.path || '/' || e.resource || '/' || e.name, e.*
    from below as b join edges as e on e.owner_name = b.name and lower(e.owner_kind) = lower(b.kind)
    where b.depth < 5
)
select depth, 'owner' as relation, null as api_group, owner_kind as resource, namespace, owner_name as name, min(first_time) as first_time,
    max(last_time) as last_time, sum(requests)::bigint as requests, '' as path
from above group by all
union all
select depth, 'owned', api_group, resource, namespace, name, first_time, last_time, requests, path
from below
order by depth >= 0, case when depth < 0 then depth end, path, first_time, name
limit 500
