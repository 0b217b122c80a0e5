/* Flow control as the apiserver's own log tells it: priority level and schema; times are of what is over when it is answered. */
select
    apf_pl as priority_level, apf_fs as flow_schema, count(*) as requests, count(*) filter (where code = 429) as throttled,
    approx_quantile(latency_ms, 0.95) filter (where answered) as p95_ms,
    approx_quantile(apf_execution_ms, 0.95) filter (where answered) as execution_p95_ms,
    approx_quantile(latency_ms - apf_execution_ms, 0.95) filter (where answered) as queue_p95_ms, avg(apf_iseats) as seats
from (select *, verb not in ('WATCH', 'CONNECT') as answered from httplog)
where apf_pl is not null
    and ($cluster is null or cluster = $cluster)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
group by all
order by requests desc
