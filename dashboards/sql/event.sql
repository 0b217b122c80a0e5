/* Every stage of one audit id; clients may choose the id, so these may be several requests. */
select *, {class} as class
from audit
where audit_id = $audit_id
order by received_time, stage_time, source, line
limit 60
