/*
title = "Starts, readiness, graceful shutdowns and leases of the control plane's processes"
group = "apiserver log"
show = ["time", "what", "times", "last_time", "detail", "pid", "evidence"]
needs = "the components' own logs at -v=2"
logged = []

[params]
since = ""
until = ""
cluster = ""
limit = {default = 1000}
*/
with said as (
    select
        time,
        severity,
        split_part(kind, '.', 2) as what,
        case when kind = 'lifecycle.not_ready' and contains(message, chr(10) || '[-]')
            then coalesce(nullif(regexp_extract(message, 'check failed: ([a-z]+)', 1), ''), 'not ready') || ': ' || array_to_string(
                list_transform(list_filter(string_split(message, chr(10)), lambda l: starts_with(l, '[-]')), lambda l: substr(l, 4)), ', ')
            else concat_ws(' ', split_part(message, chr(10), 1), fields['name'], fields['version'], fields['err']) end as detail,
        pid, instance, source, line, item, cluster
    from klog
    where starts_with(kind, 'lifecycle.')
        and in_window(cluster, time, $cluster, $since, $until)
),
-- a probe fails every few seconds in the same words: those in a row are one answer
runs as (
    select *, sum(new) over (partition by cluster, instance, source, pid order by time, line, item, what, detail rows unbounded preceding) as run
    from (
        select *, case when lag(what || ' ' || detail) over (partition by cluster, instance, source, pid order by time, line, item, what, detail)
            is not distinct from what || ' ' || detail then 0 else 1 end as new
        from said)
)
select
    min(time) as time,
    max(time) as last_time,
    count(*) as times,
    min(severity) as severity,
    what,
    detail,
    pid,
    instance,
    source,
    min(line) as line,
    min(row(line, item))[2] as item,
    cluster
from runs
group by cluster, instance, source, pid, run, what, detail
order by time, source, line, item, what, detail, cluster
limit $limit
