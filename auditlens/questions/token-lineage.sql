/*
title = "Where tokens came from, and what they were used for"
group = "access"
show = ["service_account", "credential", "issued", "issuer", "use", "requests", "account_requests", "source_ips", "first_used", "last_used"]
needs = "ResponseComplete at Metadata for all requests; Kubernetes 1.30 or newer for the ids of credentials, without which requests can only be counted by account"

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
        actor as issuer,
        impersonator as issuer_impersonator,
        user_extra['authentication.kubernetes.io/credential-id'][1] as issuer_credential,
        'system:serviceaccount:' || namespace || ':' || name as account,
        client,
        source_ip,
        audit_id,
        source,
        line,
        item
    from writes_in($cluster, null, null)
    where resource = 'serviceaccounts'
        and subresource = 'token'
        and verb = 'create'
        and code < 300
),
requests as materialized ( -- each distinct list below would read them again
    select
        cluster, username, verb, resource, request_uri, code, stage_time, source_ip, client, user_extra, audit_id, source, line, item,
        user_extra['authentication.kubernetes.io/credential-id'][1] as credential
    from requests_in($cluster, $since, $until)
    where username is not null
),
used as (
    select
        cluster,
        credential,
        min(username) as account,
        count(*) as requests,
        count(*) filter (where code >= 400) as failed,
        min(stage_time) as first_used,
        max(stage_time) as last_used,
        list_sort(array_agg(distinct source_ip)) as source_ips,
        list_sort(array_agg(distinct client)) as clients,
        list_sort(array_agg(distinct verb || ' ' || coalesce(resource, request_uri))) as did,
        list_sort(list_distinct(flatten(list(extra_names(user_extra))))) as identities,
        min(event_at(stage_time, audit_id, source, line, item)) as first
    from requests
    where credential is not null
    group by 1, 2
),
-- what accounts did by whichever credential: all there is where the log has no ids of credentials
accounts as (
    select
        cluster, username as account, count(*) as requests, count(credential) as told,
        min(stage_time) as first_used, max(stage_time) as last_used,
        list_sort(array_agg(distinct source_ip)) as source_ips,
        list_sort(array_agg(distinct client)) as clients,
        min(event_at(stage_time, audit_id, source, line, item)) as first
    from requests
    group by 1, 2
),
known as (
    select
        coalesce(i.cluster, u.cluster) as cluster,
        coalesce(i.credential, u.credential) as credential,
        coalesce(i.account, u.account) as account,
        i.* exclude (cluster, credential, account),
        u.* exclude (cluster, credential, account)
    from issued as i
    full join used as u on u.cluster = i.cluster and u.credential = i.credential
),
told as (
    select
        k.*, a.requests as account_requests,
        case
            when k.requests is not null then 'used'
            -- uses of it would carry its id, as other requests here do
            when k.credential is not null and (a.told > 0 or a.account is null and exists (select 1 from used as u where u.cluster = k.cluster))
                then 'not used in this log'
            else 'unknown: no ids of credentials in this log (Kubernetes 1.30 writes them)'
        end as use
    from known as k
    left join accounts as a on a.cluster = k.cluster and a.account = k.account
    union all by name
    select
        a.* exclude (requests, told), a.requests as account_requests,
        'unknown: no ids of credentials in this log (Kubernetes 1.30 writes them)' as use
    from accounts as a
    anti join known as k on k.cluster = a.cluster and k.account = a.account
)
select
    credential,
    stage_time as issued,
    issuer,
    issuer_impersonator,
    -- the credential the issuer used: ask again with it to go one step back
    issuer_credential,
    account as service_account,
    identities,
    use,
    case when use = 'not used in this log' then 0 else requests end as requests,
    case when use = 'not used in this log' then 0 else failed end as failed,
    -- by whichever credential
    coalesce(account_requests, 0) as account_requests,
    first_used,
    last_used,
    source_ips,
    clients,
    did,
    source_ip as issued_from,
    client as issued_with,
    -- the request that issued it, else the first that used it
    coalesce(audit_id, first.audit_id) as audit_id,
    case when audit_id is null then first.source else source end as source,
    case when audit_id is null then first.line else line end as line,
    first.audit_id as first_audit_id,
    cluster
from told
where (requests is not null or account_requests is not null or in_window(cluster, stage_time, null, $since, $until))
    and fits(credential, $credential)
    and ($user is null or fits(account, $user) or fits(issuer, $user) or fits(issuer_impersonator, $user)
        or fits_one(list_transform(identities, lambda n: substr(n, strpos(n, '=') + 1)), $user))
-- people first, then workloads, then the control plane
order by least(people_first(account), people_first(issuer)), coalesce(stage_time, first_used), credential, account, told.audit_id, told.source, told.line, told.item, cluster
limit $limit
