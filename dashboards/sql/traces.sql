/* Slow operations as the apiserver traced them. */
select time, total_ms, name, verb, url, audit_id, trace_id, source, line
from trace
where seq = 0
    and ($cluster is null or cluster = $cluster)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
order by total_ms desc nulls last
limit 200
