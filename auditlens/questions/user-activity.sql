/*
title = "What a user did: verbs and resources, how often, from where, with which programs"
group = "access"
show = ["username", "impersonator", "verb", "resource", "subresource", "namespace", "requests", "failed", "objects", "clients", "last_time"]
needs = "ResponseComplete at Metadata for all requests of the user"

[[logged]]
level = "Metadata"

[[logged]]
level = "RequestResponse"
verbs = ["create"]
why = "names that the server made up, among the objects counted"

[params]
since = ""
until = ""
cluster = ""
user = ""
limit = {default = 1000}
*/
select
    actor as username,
    impersonator,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    count(distinct coalesce(name, object_name)) as objects,
    list_sort(array_agg(distinct client)) as clients,
    list_sort(array_agg(distinct source_ip)) as source_ips,
    list_sort(list_distinct(flatten(list(coalesce(identity(user_extra, impersonated_username, impersonated_extra), []))))) as identities,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from requests_in($cluster, $since, $until)
where by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
group by actor, impersonator, verb, api_group, resource, subresource, namespace
order by requests desc, actor, impersonator, verb, api_group, resource, subresource, namespace
limit $limit
