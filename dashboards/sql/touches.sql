/* The latest requests that touched one object, reads too. */
with touching as (
    select *
    from audit_objects
    where resource = $resource
        and name = $name
        and namespace is not distinct from $namespace
        and coalesce(api_group, '') = $api_group
        and via <> 'owner'
        and in_window(cluster, time, $cluster, $since, $until)
    order by time desc, audit_id, source, line
    limit 3000
)
select
    t.time, t.verb, t.subresource, t.code, t.via, t.audit_id, t.source, t.line, t.item, actor(a.username, a.impersonated_username) as username, a.client, a.outcome, a.latency_ms,
    t.uid, t.dry_run, a.received_time, {class} as class
from touching as t
join (select date, import_id, source, line, item, audit_id, username, impersonated_username, client, outcome, latency_ms, received_time from audit) as a
    on a.audit_id = t.audit_id and a.date = t.date and a.import_id = t.import_id and a.source = t.source and a.line = t.line
    and coalesce(a.item, 0) = coalesce(t.item, 0)
order by t.time, t.audit_id, t.source, t.line
