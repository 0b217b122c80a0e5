/* Events by stretch of $step seconds, apiserver, level and outcome class: what the head of the overview is made of. */
select
    coalesce(instance, '') as instance,
    time_bucket(to_milliseconds(cast($step * 1000 as bigint)), stage_time) as time,
    is_final(stage, verb, subresource, decided_by) as answered,
    {class} as class,
    level = 'RequestResponse' as bodies,
    coalesce(partial, false) or coalesce(truncated, false) as cut,
    count(*) as events
from stages_in($cluster, $since, $until)
group by all
