/*
title = "What a user did: verbs and resources, how often, from where, with which programs"
group = "access"
show = ["acting_as", "verb", "resource", "subresource", "namespace", "requests", "failed", "objects", "clients", "last_time"]
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
    coalesce(impersonated_username, username) as acting_as,
    username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    count(distinct coalesce(name, object_name)) as objects,
    list_sort(array_agg(distinct client)) as clients,
    list_sort(array_agg(distinct source_ips[len(source_ips)])) as source_ips,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from audit
where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and (fits(username, $user) or fits(impersonated_username, $user))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by requests desc, username, acting_as, verb, api_group, resource, subresource, namespace
limit $limit
