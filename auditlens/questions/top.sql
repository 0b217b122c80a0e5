/*
title = "Who or what makes the most requests"
group = "traffic"
needs = "one stage of each request (ResponseComplete; ResponseStarted for failed logins) at Metadata"
logged = [{level = "Metadata"}]

[params]
since = ""
until = ""
cluster = ""
by = {doc = "user, client, verb, resource, namespace, code or source-ip", default = "user"}
user = ""
limit = {default = 20}
*/
with requests as (
    select *, impersonated_username is not null as impersonated
    from audit
    -- one row a request: failed logins have ResponseStarted only, long-running requests both
    where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
        and fits(username, $user)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
)
select
    case $by
        when 'user' then username
        when 'client' then client
        when 'verb' then verb
        when 'resource' then resource || case when subresource is null then '' else '/' || subresource end
            || case when api_group = '' then '' else '.' || api_group end
        when 'namespace' then namespace
        when 'code' then cast(code as varchar)
        when 'source-ip' then source_ips[len(source_ips)]
        else error('--by takes user, client, verb, resource, namespace, code or source-ip')
    end as value,
    count(*) as requests,
    round(100.0 * count(*) / sum(count(*)) over (), 2) as percent,
    count(*) filter (where code >= 400) as failed,
    count(distinct username) as users,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from requests
group by 1
order by requests desc, value
limit $limit
