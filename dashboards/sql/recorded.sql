/* What is recorded of requests: levels, and events that were cut. */
select
    count(*) as events,
    count(*) filter (where level = 'Metadata') as metadata,
    count(*) filter (where level = 'Request') as request,
    count(*) filter (where level = 'RequestResponse') as request_response,
    count(*) filter (where partial) as partial,
    count(*) filter (where truncated) as truncated,
    count(*) filter (where stage = 'RequestReceived') as received,
    count(*) filter (where stage in ('ResponseComplete', 'Panic')) as completed
from audit
where ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
