/*
title = "Which webhook changed or refused what, and which calls failed open"
group = "objects"
show = ["time", "effect", "webhook", "username", "impersonator", "identity", "verb", "object", "patch", "evidence"]
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
    from ended_in($cluster, $since, $until)
    where verb in ('create', 'update', 'patch', 'delete', 'deletecollection', 'get')
        and resource is not null
        and len(list_filter(map_keys(annotations), lambda k: contains(k, 'webhook.admission.k8s.io/'))) > 0
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
),
-- the annotations of apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go and validating/dispatcher.go
calls as (
    select
        *,
        case
            when note.key like 'failed-open.%' then 'failed open'
            when note.key like 'patch.webhook.admission.k8s.io/%' then 'patched'
            when json_extract_string(body(note.value), '$.mutated') = 'true' then 'mutated'
            else 'called'
        end as effect,
        case when note.key like 'failed-open.%' then note.value else json_extract_string(body(note.value), '$.webhook') end as webhook
    from noted
    where contains(note.key, 'webhook.admission.k8s.io/')
),
refused as (
    select
        *,
        case when code = 500 then 'failed closed' else 'refused' end as effect,
        regexp_extract(status_message, '(?:admission webhook|failed calling webhook) "([^"]+)"', 1) as webhook,
        null as note
    from ended_in($cluster, $since, $until)
    where code >= 400
        and regexp_matches(status_message, '(admission webhook|failed calling webhook) "')
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
),
everything as (
    select stage_time, effect, webhook, json_extract_string(body(note.value), '$.configuration') as configuration,
        cast(case when effect = 'patched' then json_extract(body(note.value), '$.patch') end as varchar) as patch, actor, impersonator, identity(user_extra, impersonated_username, impersonated_extra) as identity, verb, api_group,
        resource, subresource, namespace, coalesce(name, object_name) as name, code, outcome, null as message, note.key as annotation,
        audit_id, source, line, item, cluster
    from calls
    where effect <> 'failed open'
    union all by name
    select stage_time, effect, webhook, actor, impersonator, identity(user_extra, impersonated_username, impersonated_extra) as identity, verb, api_group, resource, subresource, namespace,
        coalesce(name, object_name) as name, code, outcome, note.key as annotation, audit_id, source, line, item, cluster
    from calls
    where effect = 'failed open'
    union all by name
    select stage_time, effect, webhook, actor, impersonator, identity(user_extra, impersonated_username, impersonated_extra) as identity, verb, api_group, resource, subresource, namespace,
        coalesce(name, object_name) as name, code, outcome, status_message as message, audit_id, source, line, item, cluster
    from refused
)
select
    stage_time as time,
    effect,
    webhook,
    configuration,
    actor as username,
    impersonator,
    identity,
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
order by time, audit_id, annotation, webhook, source, line, item, cluster
limit $limit
