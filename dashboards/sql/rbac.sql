/* Changes to roles and bindings. */
select
    stage_time as time,
    coalesce(impersonated_username, username) as acting_as,
    username,
    verb,
    resource,
    namespace,
    coalesce(name, object_name) as name,
    code,
    outcome,
    coalesce(
        json_extract_string(coalesce(response_object, request_object), '$.roleRef.name'),
        json_extract_string(request_object, '$.roleRef.name')
    ) as role,
    json_extract_string(coalesce(response_object, request_object), '$.subjects[*].name') as subjects,
    client,
    api_group,
    audit_id,
    source,
    line
from audit
where api_group = 'rbac.authorization.k8s.io'
    and verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by username in ('system:apiserver') , time desc
limit 1000
