/* Slow operations as the apiserver traced them. */
with steps as (
    select source, line, trace_id, count(*) as steps
    from trace
    where seq > 0 and ($since is null or time >= $since) and ($until is null or time <= $until)
    group by all
)
select time, total_ms, name, coalesce(steps, 0) as steps, verb, url, audit_id, t.trace_id, t.source, t.line
from trace as t
left join steps as s on s.source = t.source and s.line = t.line and s.trace_id is not distinct from t.trace_id
where seq = 0
    and ($cluster is null or cluster = $cluster)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
order by total_ms desc nulls last
limit 200
