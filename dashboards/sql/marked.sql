/* Part of others: changes, failures and sessions with their lane, which is an object, a user or a node, and what was done. */
select
    {lane} as lane,
    coalesce(subresource, '') in ('exec', 'attach', 'portforward') as session,
    {class} as class,
    case when dry_run and code < 400 then 'dry-run'
        when verb in ('create', 'update', 'patch', 'delete', 'deletecollection') then verb else 'read' end as did,
    *
from ended_in($cluster, $since, $until)
where (verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
        or code >= 400 or coalesce(subresource, '') in ('exec', 'attach', 'portforward'))
    and resource is not null
    and ($noise or (resource not in ('leases', 'events') and not (resource = 'subjectaccessreviews')
        and coalesce(subresource, '') not in ('status', 'token')))
    and ($namespace is null or namespace = $namespace or (resource = 'namespaces' and name = $namespace))
    and same(resource, $kind)
    and same(actor, $user)
    and ($words is null or contains(lower(concat_ws(' ', resource, namespace, coalesce(name, object_name), actor)), lower($words)))
