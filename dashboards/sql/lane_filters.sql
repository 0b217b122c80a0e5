/* What the lanes can be narrowed to: the namespaces, kinds and users of changes, busiest first. */
select what, value, count(*) as changes
from (
    select unnest([
        {'what': 'namespace', 'value': namespace}, {'what': 'kind', 'value': resource}, {'what': 'user', 'value': actor}
    ], recursive := true)
    from writes_in($cluster, null, null)
)
where value is not null
group by all
order by changes desc, value
limit 1500
