/*
title = "Clients that held requests back by their own rate limit"
group = "apiserver log"
show = ["time", "delay_ms", "reason", "verb", "url", "pid", "evidence"]
needs = "the client's own log: kubectl, controllers, scheduler (waits over 1 s always, 50 ms at -v=3)"
logged = []

[params]
since = ""
until = ""
cluster = ""
limit = {default = 1000}
*/
select
    time,
    duration_ms(coalesce(fields['delay'], nullif(regexp_extract(message, '(?:took|Waited for) ([0-9hmsµun.]+)', 1), ''))) as delay_ms,
    coalesce(fields['reason'], nullif(regexp_extract(message, 'due to (.*), request:', 1), ''),
        nullif(regexp_extract(message, 'Waited for [^,]*, (.*) - request:', 1), ''), 'client-side throttling') as reason,
    coalesce(fields['verb'], nullif(regexp_extract(message, 'request: ?([A-Z]+):', 1), '')) as verb,
    coalesce(fields['URL'], nullif(regexp_extract(message, 'request: ?[A-Z]+:(.*)$', 1), '')) as url,
    file || ':' || file_line as place,
    pid,
    instance,
    source,
    line,
    item,
    cluster
from klog
where kind = 'client.throttled'
    and in_window(cluster, time, $cluster, $since, $until)
order by delay_ms desc nulls last, time, source, line, item, cluster
limit $limit
