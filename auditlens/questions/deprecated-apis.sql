/*
title = "Who still calls deprecated, alpha or beta APIs, and when they go"
group = "traffic"
show = ["api_group", "api_version", "resource", "maturity", "removed_release", "username", "client", "requests", "last_time"]
needs = "ResponseComplete at Metadata for all requests (annotations since Kubernetes 1.19)"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
prereleases = "boolean: also show alpha and beta APIs that are not deprecated"
limit = {default = 1000}
*/
select
    api_group,
    api_version,
    resource,
    subresource,
    maturity,
    annotations['k8s.io/deprecated'] = 'true' as deprecated,
    annotations['k8s.io/removed-release'] as removed_release,
    username,
    client,
    list_sort(array_agg(distinct verb)) as verbs,
    count(*) as requests,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max_by(audit_id, (stage_time, audit_id)) as last_audit_id,
    cluster
from audit
where stage in ('ResponseComplete', 'Panic')
    and resource is not null
    and (annotations['k8s.io/deprecated'] = 'true' or ($prereleases and maturity in ('alpha', 'beta')))
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by cluster, api_group, api_version, resource, subresource, maturity, annotations['k8s.io/deprecated'],
    annotations['k8s.io/removed-release'], username, client
order by removed_release nulls last, requests desc, api_group, resource, username, client
limit $limit
