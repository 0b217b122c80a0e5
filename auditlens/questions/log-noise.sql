/*
title = "What fills the apiserver's log, by the code that writes it, and the -v or --vmodule that changes it"
group = "apiserver log"
show = ["place", "severity", "lines", "percent", "bytes", "bytes_percent", "example", "setting"]
needs = "the apiserver's log; JSON logging tells the level of each message, text does not"
logged = []

[params]
since = ""
until = ""
cluster = ""
limit = {default = 50}
*/
with placed as (
    select
        file || ':' || file_line as place, file, severity, kind, bytes, message, source, line, time,
        -- klog.V(3) in httplog.go since 1.11; other levels only JSON logging tells
        coalesce(verbosity, case when kind = 'http' then 3 when kind = 'watch.start' then 3 when kind = 'apf.limit' then 4
            when kind = 'auth.rbac_denied' then 5 end) as level
    from klog
    where ($cluster is null or cluster = $cluster)
        and ($since is null or time >= $since)
        and ($until is null or time <= $until)
)
select
    place,
    severity,
    any_value(kind) as kind,
    max(level) as level,
    count(*) as lines,
    round(100.0 * count(*) / sum(count(*)) over (), 2) as percent,
    sum(bytes)::bigint as bytes,
    round(100.0 * sum(bytes) / sum(sum(bytes)) over (), 2) as bytes_percent,
    left(split_part(min(message), chr(10), 1), 120) as example,
    case
        when place is null then 'not written by klog'
        when coalesce(severity, 'I') <> 'I' then 'errors and warnings are always logged'
        when max(level) >= 1 then 'gone with -v=' || (max(level) - 1) || ', or --vmodule=' || any_value(replace(file, '.go', '')) || '='
            || (max(level) - 1) || '; only this: --vmodule=' || any_value(replace(file, '.go', '')) || '=' || max(level)
        when max(level) = 0 then 'always logged'
        else '--vmodule=' || any_value(replace(file, '.go', '')) || '=N logs this file at its own level N, whatever -v is' end as setting,
    min_by(source, time) as source,
    min_by(line, time) as line
from placed
group by place, severity
order by bytes desc, place, severity
limit $limit
