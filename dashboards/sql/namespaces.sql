/* Namespaces with changes, busiest first. */
select namespace, count(*) as changes
from writes_in($cluster, null, null)
where namespace is not null
group by all
order by changes desc, namespace
limit 500
