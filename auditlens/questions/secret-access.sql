/*
title = "Who read, listed or watched Secrets; first reads of a user marked"
group = "access"
show = ["time", "username", "verb", "namespace", "name", "outcome", "first_time", "client", "source_ip", "evidence"]
needs = "ResponseComplete at Metadata for get, list and watch of secrets"

[[logged]]
level = "Metadata"
verbs = ["get", "list", "watch"]
resources = [{group = "", resources = ["secrets"]}]

[params]
since = ""
until = ""
cluster = ""
user = ""
namespace = ""
name = ""
allowed = "boolean: only what was allowed"
limit = {default = 1000}
*/
with reads as (
    select
        *,
        row_number() over (
            partition by cluster, username, impersonated_username, coalesce(namespace, ''), coalesce(name, '')
            order by case when code < 400 then 0 else 1 end, stage_time, audit_id
        ) as nth
    from audit
    where api_group = ''
        and resource = 'secrets'
        and verb in ('get', 'list', 'watch')
        -- a watch is known from its start on
        and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and (verb = 'watch' or code = 401)))
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
    -- one row a request
    qualify row_number() over (partition by cluster, audit_id, received_time, request_uri, username order by stage_time) = 1
)
select
    stage_time as time,
    username,
    impersonated_username,
    verb,
    namespace,
    name,
    code,
    outcome,
    -- whether it is the first that got an answer; with --since the log before is not looked at
    case when $since is null then nth = 1 and code < 400 end as first_time,
    decision_reason,
    client,
    source_ips[len(source_ips)] as source_ip,
    user_agent,
    audit_id,
    source,
    line,
    item,
    cluster
from reads
where ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and fits(namespace, $namespace)
    and fits(name, $name)
    and (not coalesce($allowed, false) or code < 400)
order by time, audit_id
limit $limit
