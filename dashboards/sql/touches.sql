/* Every request that touched one object, for its chart; reads too. */
select
    t.time, t.verb, t.subresource, t.code, t.via, t.audit_id, t.source, t.line, t.item, a.username, a.client, a.outcome, a.latency_ms,
    t.uid, a.received_time, {class} as class
from touch as t
join (select import_id, source, line, item, audit_id, username, client, outcome, latency_ms, received_time from audit) as a
    on a.import_id = t.import_id and a.source = t.source and a.line = t.line
    and coalesce(a.item, 0) = coalesce(t.item, 0) and a.audit_id = t.audit_id
where t.resource = $resource
    and t.name = $name
    and t.namespace is not distinct from $namespace
    and coalesce(t.api_group, '') = $api_group
    and t.via <> 'owner'
    and ($cluster is null or t.cluster = $cluster)
    and ($since is null or t.time >= $since)
    and ($until is null or t.time <= $until)
order by t.time
limit 5000
