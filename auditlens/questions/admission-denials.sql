/*
title = "What admission refused: by which plugin, policy, quota or webhook"
group = "access"
show = ["time", "username", "impersonator", "identity", "verb", "object", "refused_by", "message", "code", "evidence"]
needs = "ResponseComplete at Metadata (messages since Kubernetes 1.24)"

[[logged]]
level = "Metadata"
verbs = ["create", "update", "patch", "delete", "get"]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
namespace = ""
limit = {default = 1000}
*/
select
    stage_time as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    verb,
    api_group,
    resource,
    subresource,
    namespace,
    coalesce(name, object_name) as name,
    case
        when status_message like '%admission webhook "%' then 'webhook ' || split_part(status_message, '"', 2)
        when status_message like '%failed calling webhook "%' then 'webhook (failed) ' || split_part(status_message, '"', 2)
        when status_message like '%ValidatingAdmissionPolicy %' then 'policy ' || regexp_extract(status_message, 'ValidatingAdmissionPolicy .([^'']+)', 1)
        when status_message like '%exceeded quota: %' then 'quota ' || regexp_extract(status_message, 'exceeded quota: ([^,]+)', 1)
        when status_message like '%violates PodSecurity%' then 'PodSecurity'
        when status_message like '%is being terminated%' then 'NamespaceLifecycle'
        when status_message like '%attempting to grant RBAC permissions%' or status_message like '%cannot bind%' then 'RBAC escalation'
        when status_message like '%maximum % usage per%' or status_message like '%minimum % usage per%' then 'LimitRanger'
        when username like 'system:node:%' then 'NodeRestriction'
        else 'admission'
    end as refused_by,
    code,
    status_message as message,
    annotations['pod-security.kubernetes.io/enforce-policy'] as pod_security_level,
    annotations['validation.policy.admission.k8s.io/validation_failure'] as policy_failures,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from ended_in($cluster, $since, $until)
where decision = 'allow'
    and code >= 400
    and (
        decided_by = 'admission'
        or status_message like '%admission webhook "%'
        or status_message like '%failed calling webhook "%'
        or status_message like '%ValidatingAdmissionPolicy %'
    )
    and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and same(resource, $resource)
    and same(api_group, $api_group)
    and fits(namespace, $namespace)
order by time, audit_id, source, line, item, cluster
limit $limit
