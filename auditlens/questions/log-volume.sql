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
    where ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
)
select
    case $by
        when 'user' then username
        when 'verb' then verb
        when 'resource' then resource || case when subresource is null then '' else '/' || subresource end
            || case when api_group = '' then '' else '.' || api_group end
        when 'level' then level
        when 'stage' then stage
        when 'client' then client
        else error('--by takes user, verb, resource, level, stage or client')
    end as value,
    count(*) as events,
    round(100.0 * count(*) / sum(count(*)) over (), 2) as events_percent,
    sum(bytes)::bigint as bytes,
    round(100.0 * sum(bytes) / sum(sum(bytes)) over (), 2) as bytes_percent,
    round(avg(bytes), 0)::bigint as bytes_each
from sized
group by 1
order by bytes desc, value
limit $limit
