/*
title = "Single requests by any filter; follows one audit id through its stages"
group = "traffic"
show = ["time", "stage", "username", "impersonator", "identity", "verb", "object", "subresource", "code", "outcome", "latency_ms", "evidence"]
needs = "the stages asked for, at Metadata"

[[logged]]
level = "Metadata"
stages = ["RequestReceived", "ResponseStarted", "ResponseComplete"]

[[logged]]
level = "Request"
verbs = ["delete", "deletecollection"]
why = "kubectl asks for a dry run of a deletion in the body"

[[logged]]
level = "RequestResponse"
verbs = ["create"]
why = "names that the server made up"

[params]
since = ""
until = ""
cluster = ""
audit_id = ""
user = ""
verb = "verb"
resource = ""
api_group = ""
subresource = "subresource; globs"
namespace = ""
name = ""
uid = ""
code = "integer: HTTP status"
stage = "RequestReceived, ResponseStarted, ResponseComplete or Panic"
outcome = "outcome, such as forbidden or conflict"
client = "program named in the user agent; globs"
user_agent = "user agent; globs"
source_ip = "address of the peer or one it claims to forward for"
uri = "request URI; globs"
limit = {default = 1000}
*/
select
    stage_time as time,
    audit_id,
    stage,
    level,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    wanted(decided_by, status_message, status_details) as wanted,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    code,
    outcome,
    decided_by,
    latency_ms,
    dry_run,
    client,
    source_ip,
    request_uri,
    partial,
    truncated,
    instance,
    source,
    line,
    item,
    cluster
from stages_in($cluster, $since, $until)
where same(audit_id, $audit_id)
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(verb, $verb)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(subresource, $subresource)
    and fits(namespace, $namespace)
    and fits(coalesce(name, object_name), $name)
    and ($uid is null or object_uid = $uid or uid = $uid)
    and same(code, $code)
    and same(stage, $stage)
    and same(outcome, $outcome)
    and fits(client, $client)
    and fits(user_agent, $user_agent)
    and ($source_ip is null or list_contains(source_ips, $source_ip))
    and fits(request_uri, $uri)
order by received_time, audit_id, stage_time, stage, source, line, item, cluster
limit $limit
