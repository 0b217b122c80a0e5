/* The marks of some lanes where there are too many to draw each: what falls into one lane, outcome and stretch of $step seconds
   is one mark, which leads to the first of its events. Sessions are never put together. */
select lane, session, class, did, events, last_time, unnest(e)
from (
    select
        lane, session, class, did,
        case when session then audit_id || line end as alone,
        epoch_us(stage_time) // cast($step * 1000000 as bigint) as stretch,
        count(*) as events,
        max(stage_time) as last_time,
        arg_min({'stage_time': stage_time, 'audit_id': audit_id, 'line': line, 'received_time': received_time}, stage_time) as e
    from ({marked})
    where lane in (select unnest($names))
    group by all
)
order by e.stage_time
limit 20000
