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
        username,
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
        audit_id
    from audit
    where verb in ('get', 'list')
        and resource is not null
        and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')
        and stage = 'ResponseComplete'
        and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
        and ($resource is null or resource = $resource)
        and ($api_group is null or api_group = $api_group)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
)
select
    case when verb = 'get' then 'get loop' when unbounded then 'unbounded list' else 'relist' end as kind,
    username,
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
    round(count(*) * 60.0 / greatest(epoch(max(stage_time)) - epoch(min(stage_time)), 60), 1) as per_minute,
    max_by(audit_id, (stage_time, audit_id)) as last_audit_id,
    cluster
from reads
group by cluster, username, client, verb, api_group, resource, subresource, namespace, name, unbounded
having count(*) >= $least
    and count(*) * 60.0 / greatest(epoch(max(stage_time)) - epoch(min(stage_time)), 60) >= $per_minute
order by requests desc, username, client, resource, namespace, name
limit $limit
