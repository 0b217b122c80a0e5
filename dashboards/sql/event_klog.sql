/* Log entries that name a request. */
select time, severity, file, file_line, message, source, line
from klog
where audit_id = $audit_id
order by time, line
limit 200
