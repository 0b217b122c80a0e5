/* Silences of $least seconds and more, of each apiserver and of a cluster as a whole. */
with heard as (
    select cluster, instance, epoch_us(stage_time) // 10000000 as tick, min(stage_time) as first, max(stage_time) as last
    from audit
    where stage_time is not null
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
    group by all
),
together as (
    select cluster, coalesce(instance, '') as apiserver, first, last, false as whole from heard
    union all
    select cluster, 'all' as apiserver, min(first), max(last), true from heard group by cluster, tick
),
spaced as (
    select *, lag(last) over (partition by cluster, apiserver, whole order by first) as before from together
)
select cluster, apiserver, before as silent_from, first as silent_until, epoch(first - before) as seconds, whole
from spaced
where epoch(first - before) >= $least
order by seconds desc, silent_from
limit 500
