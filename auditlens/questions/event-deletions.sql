/*
title = "Who deleted Events: traces of what happened in the cluster"
group = "access"
show = ["time", "username", "impersonator", "identity", "verb", "namespace", "name", "count", "outcome", "client", "evidence"]
of = ["events"]
needs = """ResponseComplete for delete of events at Request, where kubectl asks for a dry run; for deletecollection of them at
RequestResponse, to know how many it removed"""

[[logged]]
level = "Request"
verbs = ["delete"]
resources = [{group = "", resources = ["events"]}, {group = "events.k8s.io", resources = ["events"]}]
stages = ["ResponseComplete"]

[[logged]]
level = "RequestResponse"
verbs = ["deletecollection"]
resources = [{group = "", resources = ["events"]}, {group = "events.k8s.io", resources = ["events"]}]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
namespace = ""
name = ""
limit = {default = 1000}
*/
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    verb,
    namespace,
    name,
    -- how many a collection held, where the level shows it
    case when verb = 'deletecollection' then json_array_length(body(response_object), '$.items') end as count,
    code,
    outcome,
    dry_run,
    actor like 'system:serviceaccount:kube-system:%' as control_plane,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from writes_in($cluster, $since, $until)
where resource = 'events'
    and api_group in ('', 'events.k8s.io')
    and verb in ('delete', 'deletecollection')
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and fits(namespace, $namespace)
    -- a collection counts where it held the Event, or where the level does not show what it held
    and (
        fits(name, $name)
        or verb = 'deletecollection'
        and (
            json_extract(body(response_object), '$.items') is null
            or fits_one(json_extract_string(body(response_object), '$.items[*].metadata.name'), $name)
        )
    )
order by time, audit_id, source, line, item, cluster
limit $limit
