/* What a request touched. */
select via, api_group, resource, namespace, name, uid, resource_version
from audit_objects
where audit_id = $audit_id
    and name is not null
    and time >= $since
    and time <= $until
group by all
order by via, resource, namespace, name
limit 500
