/* The window in one row: requests by class, people, and the latency of requests that are not long-running. */
select * exclude (q), q[1] as p50, q[2] as p95, q[3] as p99
from (
    select
        count(*) as requests,
        count(*) filter (where {class} = 'denied') as denied,
        count(*) filter (where {class} = 'failed') as failed,
        count(*) filter (where {class} = 'rejected') as rejected,
        count(*) filter (where {class} = 'throttled') as throttled,
        count(distinct actor) as users,
        count(distinct client) as clients,
        approx_quantile(latency_ms, [0.5, 0.95, 0.99]) filter (where not long_running(verb, request_uri)) as q
    from ended_in($cluster, $since, $until)
)
