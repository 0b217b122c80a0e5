/*
title = "Which parts of the API are used, by how many"
group = "traffic"
show = ["api_group", "api_version", "resource", "subresource", "verb", "maturity", "requests", "failed", "users", "last_time"]
needs = "ResponseComplete at Metadata for all requests"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
limit = {default = 10000}
*/
select
    api_group,
    api_version,
    maturity,
    resource,
    subresource,
    verb,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    count(distinct username) as users,
    count(distinct client) as clients,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from audit
where stage in ('ResponseComplete', 'Panic')
    and resource is not null
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and ($resource is null or resource = $resource)
    and ($api_group is null or api_group = $api_group)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by api_group, api_version, maturity, resource, subresource, verb
order by api_group, api_version, resource, subresource nulls first, verb
limit $limit
