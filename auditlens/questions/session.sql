/*
title = "Everything a user, token or address did, in order"
group = "access"
show = ["time", "username", "impersonator", "identity", "verb", "object", "subresource", "outcome", "client", "source_ip", "evidence"]
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
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    -- whom a refused impersonation was for
    wanted(decided_by, status_message, status_details) as wanted,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    request_uri,
    code,
    case when dry_run and code < 300 then 'dry-run' when is_open then 'open' else outcome end as outcome,
    dry_run,
    latency_ms,
    user_extra['authentication.kubernetes.io/credential-id'][1] as credential,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from requests_in($cluster, $since, $until)
where by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(user_extra['authentication.kubernetes.io/credential-id'][1], $credential)
    and ($source_ip is null or list_contains(source_ips, $source_ip))
order by time, audit_id, source, line, item, cluster
limit $limit
