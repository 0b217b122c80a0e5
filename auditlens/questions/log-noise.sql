/*
title = "What fills the log, by the code that writes it, and the -v or --vmodule that changes it"
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
with levels(file, opening, level) as (
    -- klog.V(N) of what fills an apiserver's log, 1.36; text does not tell it, JSON logging does
    values ('httplog.go', '', 3), ('flags.go', 'FLAG: ', 1), ('apf_controller.go', 'Update CurrentCL', 2),
        ('apf_controller.go', 'Retaining queues', 2), ('apf_controller.go', 'Introducing queues', 2),
        ('apf_controller.go', 'Controller writing Condition', 4), ('apf_controller.go', 'Retaining mandatory', 3),
        ('storage_factory.go', 'storing ', 3), ('etcd.go', 'Using watch cache', 3), ('etcd.go', 'Not using watch cache', 3),
        ('get.go', 'Starting watch', 3), ('watch.go', 'WatchList initial events sent', 3), ('graph_populator.go', '', 4),
        ('reflector.go', 'Caches populated', 2), ('reflector.go', 'Listing and watching', 3), ('reflector.go', 'Starting reflector', 3),
        ('reflector.go', 'Stopping reflector', 3), ('reflector.go', 'Exiting watch', 4), ('reflector.go', 'Forcing resync', 4),
        ('remote_available_controller.go', '', 4), ('local_available_controller.go', '', 4), ('storage_rbac.go', 'created ', 2),
        ('store.go', 'Monitoring resource count', 2), ('store.go', 'deletion of ', 4), ('store.go', 'GuaranteedUpdate of ', 4),
        ('watch_cache.go', 'Replaced watchCache', 3), ('delegator.go', 'Cache consistency check', 3), ('cacher.go', 'cacher ', 1),
        ('authorization.go', 'Forbidden', 4), ('rbac.go', 'RBAC: no rules', 5), ('rbac.go', 'RBAC DENY', 5), ('healthz.go', '', 2),
        ('queueset.go', 'AntiWindup', 4), ('queueset.go', 'QS(', 5), ('timing_ratio_histogram.go', '', 3), ('strategy.go', 'Successfully created', 2)
),
placed as (
    select
        k.file || ':' || k.file_line as place, k.file, severity, kind, bytes, message, source, line, time,
        -- a trace is written unconditionally behind a test of the level
        case when kind = 'trace' then 2 else coalesce(verbosity, known.level) end as level
    from klog k
    left join levels known on known.file = k.file and starts_with(k.message, known.opening) and k.severity = 'I' and k.verbosity is null
    where in_window(cluster, time, $cluster, $since, $until)
)
select
    place,
    severity,
    min(kind) as kind,
    min(level) as level,
    count(*) as lines,
    percent(count(*), sum(count(*)) over ()) as percent,
    sum(bytes)::bigint as bytes,
    percent(sum(bytes), sum(sum(bytes)) over ()) as bytes_percent,
    left(split_part(min(message), chr(10), 1), 120) as example,
    -- --vmodule adds to -v and takes nothing away
    case
        when place is null then 'not written by klog'
        when coalesce(severity, 'I') <> 'I' then 'always logged'
        when min(level) >= 1 then 'gone with -v=' || (min(level) - 1) || '; then --vmodule=' || min(replace(file, '.go', '')) || '='
            || max(level) || ' brings this file back'
        when min(level) = 0 then 'always logged'
        else 'level not in the text; --vmodule=' || min(replace(file, '.go', '')) || '=N logs this file up to level N' end as setting,
    min(row(time, source, line))[2] as source,
    min(row(time, source, line))[3] as line
from placed
group by place, severity
order by bytes desc, place, severity
limit $limit
