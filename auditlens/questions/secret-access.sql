/*
title = "Who read, listed or watched Secrets; first reads of a user marked"
group = "access"
show = ["time", "username", "impersonator", "identity", "verb", "namespace", "name", "outcome", "first_time", "client", "source_ip", "evidence"]
of = ["secrets"]
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
            partition by cluster, actor, namespace, name
            order by case when code < 400 then 0 else 1 end, stage_time, audit_id, source, line, item
        ) as nth
    from requests_in($cluster, $since, $until)
    where api_group = ''
        and resource = 'secrets'
        and verb in ('get', 'list', 'watch')
)
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    -- whom a refused impersonation was for
    wanted(decided_by, status_message, status_details) as wanted,
    verb,
    namespace,
    name,
    code,
    case when is_open then 'open' else outcome end as outcome,
    -- whether it is the first that got an answer; with --since the log before is not looked at
    case when $since is null then nth = 1 and code < 400 end as first_time,
    decision_reason,
    client,
    source_ip,
    user_agent,
    audit_id,
    source,
    line,
    item,
    cluster
from reads
where by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and fits(namespace, $namespace)
    and fits(name, $name)
    and (not coalesce($allowed, false) or code < 400)
order by time, audit_id, source, line, item, cluster
limit $limit
