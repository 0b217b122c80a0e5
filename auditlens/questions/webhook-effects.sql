/*
title = "Which webhook changed or refused what, and which calls failed open"
group = "objects"
show = ["time", "effect", "webhook", "username", "verb", "object", "patch", "evidence"]
needs = "ResponseComplete at Request for writes that webhooks see"

[[logged]]
level = "Request"
verbs = ["create", "update", "patch", "delete"]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
webhook = "name of the webhook; globs"
resource = ""
api_group = ""
namespace = ""
name = ""
quiet = "boolean: also show calls that changed nothing"
limit = {default = 1000}
*/
with noted as (
    select *, unnest(map_entries(annotations)) as note
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and verb in ('create', 'update', 'patch', 'delete', 'deletecollection', 'get')
        and resource is not null
        and len(list_filter(map_keys(annotations), lambda k: contains(k, 'webhook.admission.k8s.io/'))) > 0
        and ($resource is null or resource = $resource)
        and ($api_group is null or api_group = $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
-- the annotations of apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go and validating/dispatcher.go
calls as (
    select
        *,
        case
            when note.key like 'failed-open.%' then 'failed open'
            when note.key like 'patch.webhook.admission.k8s.io/%' then 'patched'
            when json_extract_string(note.value, '$.mutated') = 'true' then 'mutated'
            else 'called'
        end as effect,
        case when note.key like 'failed-open.%' then note.value else json_extract_string(note.value, '$.webhook') end as webhook
    from noted
    where contains(note.key, 'webhook.admission.k8s.io/')
),
refused as (
    select
        *,
        case when code = 500 then 'failed closed' else 'refused' end as effect,
        regexp_extract(status_message, '(?:admission webhook|failed calling webhook) "([^"]+)"', 1) as webhook,
        null as note
    from audit
    where stage in ('ResponseComplete', 'Panic')
        and code >= 400
        and regexp_matches(status_message, '(admission webhook|failed calling webhook) "')
        and ($resource is null or resource = $resource)
        and ($api_group is null or api_group = $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
everything as (
    select stage_time, effect, webhook, json_extract_string(note.value, '$.configuration') as configuration,
        cast(case when effect = 'patched' then json_extract(note.value, '$.patch') end as varchar) as patch, username, verb, api_group,
        resource, subresource, namespace, coalesce(name, object_name) as name, code, outcome, null as message, note.key as annotation,
        audit_id, source, line, item, cluster
    from calls
    where effect <> 'failed open'
    union all by name
    select stage_time, effect, webhook, username, verb, api_group, resource, subresource, namespace,
        coalesce(name, object_name) as name, code, outcome, note.key as annotation, audit_id, source, line, item, cluster
    from calls
    where effect = 'failed open'
    union all by name
    select stage_time, effect, webhook, username, verb, api_group, resource, subresource, namespace,
        coalesce(name, object_name) as name, code, outcome, status_message as message, audit_id, source, line, item, cluster
    from refused
)
select
    stage_time as time,
    effect,
    webhook,
    configuration,
    username,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    name,
    patch,
    code,
    outcome,
    message,
    annotation,
    audit_id,
    source,
    line,
    item,
    cluster
from everything
where fits(webhook, $webhook)
    and ($quiet or effect <> 'called')
order by time, audit_id, annotation
limit $limit
