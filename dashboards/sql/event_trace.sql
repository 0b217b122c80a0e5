/* The trace of a request: its steps in order. */
select trace_id, seq, coalesce(step, name) as step, depth, span, step_ms, step_time, total_ms, time, source, line
from trace
where audit_id = $audit_id or trace_id in (select trace_id from trace where audit_id = $audit_id)
order by time, trace_id, seq
limit 500
