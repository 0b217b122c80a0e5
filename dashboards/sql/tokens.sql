/* Tokens that were issued, and to whom. */
select
    stage_time as time,
    username,
    namespace,
    name as service_account,
    code,
    json_extract_string(request_object, '$.spec.audiences[0]') as audience,
    json_extract_string(request_object, '$.spec.expirationSeconds') as seconds,
    json_extract_string(request_object, '$.spec.boundObjectRef.name') as bound_to,
    annotations['authentication.kubernetes.io/issued-credential-id'] as credential_id,
    client,
    resource,
    name,
    api_group,
    audit_id,
    source,
    line
from audit
where resource = 'serviceaccounts'
    and subresource = 'token'
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time desc
limit 1000
