/*
title = "Where tokens came from, and what they were used for"
group = "access"
show = ["credential", "issued", "issuer", "issuer_credential", "service_account", "requests", "source_ips", "first_used", "last_used"]
needs = "ResponseComplete at Metadata for all requests; Kubernetes 1.30 or newer for the ids of credentials"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
credential = "id of a credential, such as JTI=...; globs"
user = ""
limit = {default = 1000}
*/
with issued as (
    select
        cluster,
        annotations['authentication.kubernetes.io/issued-credential-id'] as credential,
        stage_time,
        coalesce(impersonated_username, username) as issuer,
        user_extra['authentication.kubernetes.io/credential-id'][1] as issuer_credential,
        'system:serviceaccount:' || namespace || ':' || name as service_account,
        client,
        source_ips[len(source_ips)] as source_ip,
        audit_id,
        source,
        line
    from audit
    where resource = 'serviceaccounts'
        and subresource = 'token'
        and verb = 'create'
        and stage = 'ResponseComplete'
        and code < 300
        and ($cluster is null or cluster = $cluster)
),
used as (
    select
        cluster,
        user_extra['authentication.kubernetes.io/credential-id'][1] as credential,
        any_value(username) as username,
        count(*) as requests,
        count(*) filter (where code >= 400) as failed,
        min(stage_time) as first_used,
        max(stage_time) as last_used,
        list_sort(array_agg(distinct source_ips[len(source_ips)])) as source_ips,
        list_sort(array_agg(distinct client)) as clients,
        list_sort(array_agg(distinct verb || ' ' || coalesce(resource, request_uri))) as did,
        min_by(audit_id, (stage_time, audit_id)) as first_audit_id
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and user_extra['authentication.kubernetes.io/credential-id'] is not null
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
    group by 1, 2
)
select
    coalesce(i.credential, u.credential) as credential,
    i.stage_time as issued,
    i.issuer,
    -- the credential the issuer used: ask again with it to go one step back
    i.issuer_credential,
    coalesce(i.service_account, u.username) as service_account,
    coalesce(u.requests, 0) as requests,
    coalesce(u.failed, 0) as failed,
    u.first_used,
    u.last_used,
    u.source_ips,
    u.clients,
    u.did,
    i.source_ip as issued_from,
    i.client as issued_with,
    i.audit_id,
    i.source,
    i.line,
    u.first_audit_id,
    coalesce(i.cluster, u.cluster) as cluster
from issued as i
full join used as u on u.cluster = i.cluster and u.credential = i.credential
where (u.credential is not null or ($since is null or i.stage_time >= $since) and ($until is null or i.stage_time <= $until))
    and fits(coalesce(i.credential, u.credential), $credential)
    and ($user is null or fits(coalesce(i.service_account, u.username), $user) or fits(i.issuer, $user))
order by coalesce(i.stage_time, u.first_used), credential
limit $limit
