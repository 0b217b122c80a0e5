/*
title = "Who polls: get loops that should be watches, lists of everything, relist storms"
group = "traffic"
show = ["kind", "username", "client", "verb", "resource", "namespace", "name", "requests", "per_minute"]
needs = "ResponseComplete at Metadata for get and list"

[[logged]]
level = "Metadata"
verbs = ["get", "list"]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
per_minute = {doc = "integer: at least this many a minute", default = 6}
least = {doc = "integer: at least this many in all", default = 10}
limit = {default = 100}
*/
with reads as (
    select
        cluster,
        actor,
        client,
        verb,
        api_group,
        resource,
        subresource,
        namespace,
        name,
        -- a list that neither pages nor says which version will do is read from the store in full
        verb = 'list' and not regexp_matches(request_uri, '[?&](limit|resourceVersion|continue)=[^&]') as unbounded,
        stage_time,
        audit_id,
        source,
        line,
        item
    from ended_in($cluster, $since, $until)
    where verb in ('get', 'list')
        and resource is not null
        and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')
        and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
        and same(resource, $resource)
        and same(api_group, $api_group)
)
select
    case when verb = 'get' then 'get loop' when unbounded then 'unbounded list' else 'relist' end as kind,
    actor as username,
    client,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    name,
    count(*) as requests,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    per_minute(count(*), min(stage_time), max(stage_time)) as per_minute,
    max(event_at(stage_time, audit_id, source, line, item)).audit_id as last_audit_id,
    cluster
from reads
group by cluster, actor, client, verb, api_group, resource, subresource, namespace, name, unbounded
having count(*) >= $least
    and per_minute(count(*), min(stage_time), max(stage_time)) >= $per_minute
order by requests desc, username, client, verb, api_group, resource, subresource, namespace, name, kind, cluster
limit $limit
