/*
title = "Who changed roles and bindings: before, after, who gained what"
group = "access"
show = ["time", "username", "impersonator", "identity", "verb", "object", "role", "subjects", "rules", "outcome", "evidence"]
needs = "ResponseComplete at RequestResponse for writes of rbac.authorization.k8s.io"

[[logged]]
level = "RequestResponse"
verbs = ["create", "update", "patch", "delete", "deletecollection"]
resources = [{group = "rbac.authorization.k8s.io", resources = ["*"]}]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
namespace = ""
name = ""
attempts = "boolean: also show refused changes"
system = "boolean: also show what the control plane does itself"
limit = {default = 1000}
*/
with bodies as (
    select
        *,
        coalesce(name, object_name) as object,
        case
            when code < 300 and response_kind not in ('Status', 'PartialObjectMetadata') then body(response_object)
            else body(request_object)
        end as body
    from writes_in($cluster, $since, $until)
    where api_group = 'rbac.authorization.k8s.io'
        and not coalesce(dry_run, false)
),
granted as (
    select
        *,
        json_extract_string(body, '$.roleRef.kind') || '/' || json_extract_string(body, '$.roleRef.name') as role_ref,
        cast(json_extract(body, '$.subjects') as varchar) as subjects,
        cast(json_extract(body, '$.rules') as varchar) as rules
    from bodies
),
told as (
    select
        *,
        lag(case when code < 300 then subjects end ignore nulls) over w as subjects_before,
        lag(case when code < 300 then rules end ignore nulls) over w as rules_before,
        lag(case when code < 300 then role_ref end ignore nulls) over w as role_before
    from granted
    window w as (partition by cluster, resource, namespace, object order by stage_time, audit_id, source, line, item)
)
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    verb,
    resource,
    namespace,
    object as name,
    coalesce(role_ref, role_before) as role,
    case when verb = 'delete' then null else subjects end as subjects,
    subjects_before,
    -- what is given or taken away, for people: the role and who has it
    coalesce(role_ref, role_before) || coalesce(' → ' || array_to_string(list_transform(
        try_cast(coalesce(subjects, subjects_before) as json[]),
        lambda s: concat_ws(' ', s ->> '$.kind', concat_ws('/', s ->> '$.namespace', s ->> '$.name'))), ', '), '') as grants,
    case when verb = 'delete' then null else rules end as rules,
    rules_before,
    code,
    outcome,
    status_message,
    decision_reason,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from told
where ($attempts or code < 300)
    and ($system or coalesce(actor, '') not in ('system:apiserver', 'system:serviceaccount:kube-system:clusterrole-aggregation-controller'))
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and fits(namespace, $namespace)
    and fits(object, $name)
order by time, audit_id, source, line, item, cluster
limit $limit
