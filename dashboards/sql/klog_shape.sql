/* Lines of the apiserver's own log by stretch of $step seconds and where they are from. */
select coalesce(instance, '') as instance, time_bucket(to_milliseconds(cast($step * 1000 as bigint)), time) as time, count(*) as events
from klog
where in_window(cluster, time, $cluster, $since, $until) and time is not null
group by all
