/*
title = "Starts, readiness, graceful shutdowns and leases of the control plane's processes"
group = "apiserver log"
show = ["time", "severity", "what", "detail", "pid", "evidence"]
needs = "the components' own logs at -v=2"
logged = []

[params]
since = ""
until = ""
cluster = ""
limit = {default = 1000}
*/
select
    time,
    severity,
    split_part(kind, '.', 2) as what,
    concat_ws(' ', split_part(message, chr(10), 1), fields['name'], fields['version'], fields['err'],
        array_to_string(list_filter(string_split(message, chr(10)), lambda l: starts_with(l, '[-]')), ' ')) as detail,
    pid,
    instance,
    source,
    line,
    item,
    cluster
from klog
where starts_with(kind, 'lifecycle.')
    and ($cluster is null or cluster = $cluster)
    and ($since is null or time >= $since)
    and ($until is null or time <= $until)
order by time, source, line
limit $limit
