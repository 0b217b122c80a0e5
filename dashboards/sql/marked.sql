/* Part of others: changes, failures and sessions with their lane, which is an object, a user or a node, and what was done. */
select
    case $by
        when 'objects' then resource || coalesce('/' || coalesce(name, object_name), '')
            || case when $namespace is null and namespace is not null then ' · ' || namespace else '' end
        when 'users' then coalesce(actor, 'nobody')
        else case
            when username like 'system:node:%' then substr(username, 13)
            when resource = 'nodes' then coalesce(name, object_name)
        end
    end as lane,
    coalesce(subresource, '') in ('exec', 'attach', 'portforward') as session,
    {class} as class,
    case when verb in ('create', 'update', 'patch', 'delete', 'deletecollection') then verb else 'read' end as did,
    *
from ended_in($cluster, $since, $until)
where (verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
        or code >= 400 or coalesce(subresource, '') in ('exec', 'attach', 'portforward'))
    and resource is not null
    and ($noise or (resource not in ('leases', 'events') and not (resource = 'subjectaccessreviews')
        and coalesce(subresource, '') not in ('status', 'token')))
    and ($namespace is null or namespace = $namespace or (resource = 'namespaces' and name = $namespace))
