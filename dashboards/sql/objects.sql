/* Every object the log has seen, for the search box. */
select
    api_group,
    resource,
    namespace,
    name,
    count(*) as requests,
    count(*) filter (where verb in ('create', 'update', 'patch', 'delete', 'deletecollection') and code < 400 and dry_run is not true) as changes,
    min(time) as first_time,
    max(time) as last_time
from audit_objects
where name is not null
    and resource is not null
    and via <> 'owner'
    and same(cluster, $cluster)
group by all
