/* Latency over time. */
select time, q[1] as p50, q[2] as p95, q[3] as p99
from (
    select
        time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
        approx_quantile(latency_ms, [0.5, 0.95, 0.99]) as q
    from ended_in($cluster, $since, $until)
    where not long_running(verb, request_uri)
    group by all
)
order by time
