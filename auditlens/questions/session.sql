/*
title = "Everything a user, token or address did, in order"
group = "access"
show = ["time", "username", "verb", "object", "subresource", "outcome", "client", "source_ip", "evidence"]
needs = "ResponseComplete at Metadata for all requests, deletions at Request (dry runs); ResponseStarted for failed logins and for sessions that are still open"

[[logged]]
level = "Metadata"

[[logged]]
level = "Request"
verbs = ["delete", "deletecollection"]
why = "kubectl asks for a dry run of a deletion in the body"

[params]
since = ""
until = ""
cluster = ""
user = ""
credential = "id of a credential, such as JTI=... or X509SHA256=..."
source_ip = "address of the peer or one it claims to forward for"
limit = {default = 10000}
*/
-- what the filters leave
with asked as not materialized (
    select
        *,
        long_running(verb, request_uri) as long
    from audit
    where ($user is null or fits(username, $user) or fits(impersonated_username, $user))
        and ($credential is null or user_extra['authentication.kubernetes.io/credential-id'][1] = $credential)
        and ($source_ip is null or list_contains(source_ips, $source_ip))
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
-- sessions and watches of which the log holds no end: still open, or ended after it
begun as (
    select *
    from asked as s
    where stage = 'ResponseStarted'
        and code < 400
        and long
        and not exists (
            select 1
            from asked as c
            where c.long
                and c.stage in ('ResponseComplete', 'Panic')
                and c.cluster = s.cluster and c.audit_id = s.audit_id and c.received_time = s.received_time
        )
)
select
    stage_time as time,
    username,
    impersonated_username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    request_uri,
    code,
    case when dry_run and code < 300 then 'dry-run' when stage = 'ResponseStarted' and code < 400 then 'open' else outcome end as outcome,
    dry_run,
    latency_ms,
    user_extra['authentication.kubernetes.io/credential-id'][1] as credential,
    client,
    source_ips[len(source_ips)] as source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from (
    from asked where stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401)
    union all by name
    from begun
)
order by time, audit_id
limit $limit
