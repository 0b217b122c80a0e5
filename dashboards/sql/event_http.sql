/* The apiserver's own line about a request. */
select time, verb, uri, code, latency_ms, apf_pl, apf_fs, apf_execution_ms, source_ip, source, line
from httplog
where audit_id = $audit_id
order by time
limit 50
