/*
title = "What fills the audit log: events and bytes"
group = "policy"
needs = "nothing: it answers for what was recorded"
logged = []

[params]
since = ""
until = ""
cluster = ""
by = {doc = "user, verb, resource, level, stage or client", default = "resource"}
limit = {default = 50}
*/
with sized as (
    select
        *,
        -- about what the event takes in the log: the bodies as they are, and the envelope by its own fields
        420 + coalesce(strlen(request_object), 0) + coalesce(strlen(response_object), 0) + coalesce(strlen(request_uri), 0)
            + coalesce(strlen(user_agent), 0) + coalesce(strlen(username), 0) + coalesce(strlen(decision_reason), 0)
            + coalesce(strlen(status_message), 0) + 24 * coalesce(len(user_groups), 0) as bytes
    from audit
    where in_window(cluster, stage_time, $cluster, $since, $until)
)
select
    case $by
        when 'user' then actor(username, impersonated_username)
        when 'verb' then verb
        when 'resource' then resource || case when subresource is null then '' else '/' || subresource end
            || case when api_group = '' then '' else '.' || api_group end
        when 'level' then level
        when 'stage' then stage
        when 'client' then client
        else error('--by takes user, verb, resource, level, stage or client')
    end as value,
    count(*) as events,
    percent(count(*), sum(count(*)) over ()) as events_percent,
    sum(bytes)::bigint as bytes,
    percent(sum(bytes), sum(sum(bytes)) over ()) as bytes_percent,
    rounded(sum(bytes) / count(*), 1)::bigint as bytes_each
from sized
group by 1
order by bytes desc, value
limit $limit
