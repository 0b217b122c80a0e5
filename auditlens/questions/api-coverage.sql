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
    count(distinct actor) as users,
    count(distinct client) as clients,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from requests_in($cluster, $since, $until)
where resource is not null
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
group by api_group, api_version, maturity, resource, subresource, verb
order by api_group, api_version, resource, subresource nulls first, verb
limit $limit
