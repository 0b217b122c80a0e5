/* The owners of an object above it and what it owns below it, as answers to creates and changes named them, and between when. */
with recursive edges as (
    select
        api_group, resource, namespace, coalesce(name, object_name) as name, owner_kind, owner_name,
        max(response_kind) filter (where response_kind not in ('Status', 'Scale', 'Table')) as kind,
        min(stage_time) as first_time, max(stage_time) as last_time, count(*) as requests
    from ended_in($cluster, null, null)
    where code < 400
        and owner_name is not null
        and namespace is not distinct from $namespace
    group by all
),
-- what owner references call objects of this resource: as the log shows them, where the kind is not built in
kind as (
    select lower(coalesce($kind, max(response_kind), $resource)) as word
    from ended_in($cluster, null, null)
    where resource = $resource
        and name = $name
        and namespace is not distinct from $namespace
        and code < 400
        and response_kind not in ('Status', 'Scale', 'Table')
        and not ends_with(response_kind, 'List')
),
above as (
    select -1 as depth, * from edges where name = $name and resource = $resource
    union all
    select a.depth - 1, e.*
    from above as a join edges as e on e.name = a.owner_name and lower(e.kind) = lower(a.owner_kind)
    where a.depth > -5
),
below as (
    select 1 as depth, k.word || '/' || $name || '/' || e.resource || '/' || e.name as path, e.*
    from edges as e join kind as k on lower(e.owner_kind) = k.word
    where e.owner_name = $name
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
