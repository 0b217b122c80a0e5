/* Namespaces with changes, busiest first. */
select namespace, count(*) as changes
from audit
where namespace is not null
    and stage in ('ResponseComplete', 'Panic')
    and verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
    and ($cluster is null or cluster = $cluster)
group by all
order by changes desc, namespace
limit 500
