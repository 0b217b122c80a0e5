/*
title = "Who still calls deprecated, alpha or beta APIs, and when they go"
group = "traffic"
show = ["status", "api_group", "api_version", "resource", "username", "client", "verbs", "requests", "last_time"]
needs = "ResponseComplete at Metadata for all requests (annotations since Kubernetes 1.19)"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
prereleases = "boolean: also show Kubernetes' own alpha and beta APIs that are not deprecated"
limit = {default = 1000}
*/
select
    api_group,
    api_version,
    resource,
    subresource,
    maturity,
    case
        when annotations['k8s.io/deprecated'] = 'true'
            then 'deprecated' || coalesce(', not served from ' || annotations['k8s.io/removed-release'] || ' on', '')
        else maturity || ', may change'
    end as status,
    annotations['k8s.io/deprecated'] = 'true' as deprecated,
    annotations['k8s.io/removed-release'] as removed_release,
    actor as username,
    client,
    list_sort(array_agg(distinct verb)) as verbs,
    count(*) as requests,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max(event_at(stage_time, audit_id, source, line, item)).audit_id as last_audit_id,
    cluster
from ended_in($cluster, $since, $until)
where resource is not null
    and (annotations['k8s.io/deprecated'] = 'true' or ($prereleases and maturity in ('alpha', 'beta') and own_group(api_group)))
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
group by cluster, api_group, api_version, resource, subresource, maturity, annotations['k8s.io/deprecated'],
    annotations['k8s.io/removed-release'], actor, client
order by removed_release nulls last, requests desc, api_group, api_version, resource, subresource, username, client, deprecated, cluster
limit $limit
