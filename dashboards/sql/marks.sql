/* Every event of some lanes. */
select
    lane, session, class, did,
    1 as events, stage_time as last_time, stage_time, received_time, verb, subresource, code, actor as username, client, api_group, resource,
    namespace, coalesce(name, object_name) as name, audit_id, source, line
from ({marked})
where lane in (select unnest($names))
order by stage_time
