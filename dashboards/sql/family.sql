/* The owner of an object and what it owns, as answers to creates and changes named them, with the time between which. */
select
    case when coalesce(name, object_name) = $name and resource = $resource then 'owned by' else 'owns' end as relation,
    api_group,
    case when coalesce(name, object_name) = $name and resource = $resource then owner_kind else resource end as resource,
    namespace,
    case when coalesce(name, object_name) = $name and resource = $resource then owner_name else coalesce(name, object_name) end as name,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    count(*) as requests
from audit
where stage in ('ResponseComplete', 'Panic')
    and code < 400
    and namespace is not distinct from $namespace
    and owner_name is not null
    and ((coalesce(name, object_name) = $name and resource = $resource) or (owner_name = $name and lower(owner_kind) = $kind))
    and ($cluster is null or cluster = $cluster)
group by all
order by relation, first_time, name
limit 500
