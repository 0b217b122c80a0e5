/* Refusals by who decided and who was refused. */
select
    coalesce(decided_by, 'unknown') as decided_by,
    coalesce(username, 'nobody') as username,
    count(*) as refused
from audit
where code in (401, 403)
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by refused desc, username
