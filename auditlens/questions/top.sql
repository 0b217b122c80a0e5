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
select
    case $by
        when 'user' then actor
        when 'client' then client
        when 'verb' then verb
        when 'resource' then resource || case when subresource is null then '' else '/' || subresource end
            || case when api_group = '' then '' else '.' || api_group end
        when 'namespace' then namespace
        when 'code' then cast(code as varchar)
        when 'source-ip' then source_ip
        else error('--by takes user, client, verb, resource, namespace, code or source-ip')
    end as value,
    count(*) as requests,
    percent(count(*), sum(count(*)) over ()) as percent,
    count(*) filter (where code >= 400) as failed,
    count(distinct actor) as users,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from ended_in($cluster, $since, $until)
where by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
group by 1
order by requests desc, value
limit $limit
