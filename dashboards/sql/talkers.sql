/* Who makes the most requests: a user with a program. */
select
    username,
    client,
    count(*) as requests,
    round(100.0 * count(*) / sum(count(*)) over (), 1) as percent,
    count(*) filter (where code >= 400) as failed,
    approx_quantile(latency_ms, 0.95) filter (where verb <> 'watch' and coalesce(subresource, '') not in ('exec', 'attach', 'portforward', 'proxy', 'log')) as p95_ms,
    max(stage_time) as last_time
from audit
where (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by requests desc, username, client
limit 15
