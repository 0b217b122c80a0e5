/* The steps of one trace block. */
select seq, coalesce(step, name) as step, depth, span, step_ms, at_ms, step_time, total_ms, time, audit_id, source, line
from trace
where source = $source and line = $line and trace_id is not distinct from $trace_id
order by seq
