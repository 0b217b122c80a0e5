/*
title = "Who deleted Events: traces of what happened in the cluster"
group = "access"
show = ["time", "username", "verb", "namespace", "name", "count", "outcome", "client", "evidence"]
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
limit = {default = 1000}
*/
select
    stage_time as time,
    username,
    impersonated_username,
    verb,
    namespace,
    name,
    -- how many a collection held, where the level shows it
    case when verb = 'deletecollection' then json_array_length(json_extract(response_object, '$.items')) end as count,
    code,
    outcome,
    dry_run,
    username like 'system:serviceaccount:kube-system:%' as control_plane,
    client,
    source_ips[len(source_ips)] as source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from audit
where resource = 'events'
    and api_group in ('', 'events.k8s.io')
    and verb in ('delete', 'deletecollection')
    and stage in ('ResponseComplete', 'Panic')
    and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
    and fits(namespace, $namespace)
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
order by time, audit_id
limit $limit
