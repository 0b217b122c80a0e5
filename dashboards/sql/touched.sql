/* The figures of all requests that touched one object; a dry run changes nothing. */
select
    count(*) as touches,
    count(*) filter (where code >= 400) as failed,
    count(*) filter (where changes) as changes,
    count(distinct uid) as uids,
    min(time) filter (where changes and verb = 'create' and subresource is null) as created,
    max(time) filter (where changes and verb in ('delete', 'deletecollection') and subresource is null) as deletion
from (select *, verb in ('create', 'update', 'patch', 'delete', 'deletecollection') and coalesce(code, 500) < 400 and dry_run is not true as changes from audit_objects)
where resource = $resource
    and name = $name
    and namespace is not distinct from $namespace
    and coalesce(api_group, '') = $api_group
    and via <> 'owner'
    and in_window(cluster, time, $cluster, $since, $until)
