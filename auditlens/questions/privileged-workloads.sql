/*
title = "Privileged or host-near pods, also in templates, and who asked for them"
group = "access"
show = ["time", "username", "impersonator", "identity", "verb", "object", "reasons", "outcome", "evidence"]
of = ["pods", "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs", "replicationcontrollers", "podtemplates"]
needs = "ResponseComplete at Request for create, update and patch of pods and everything with a pod template"

[[logged]]
level = "Request"
verbs = ["create", "update", "patch"]
resources = [{group = "", resources = ["pods", "pods/ephemeralcontainers", "replicationcontrollers", "podtemplates"]}, {group = "apps", resources = ["deployments", "replicasets", "statefulsets", "daemonsets"]}, {group = "batch", resources = ["jobs", "cronjobs"]}]
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
api_group = ""
namespace = ""
name = ""
controllers = "boolean: also show what controllers make of it"
limit = {default = 1000}
*/
with bodies as (
    select
        *,
        case
            when code < 300 and response_kind not in ('Status', 'Scale', 'PartialObjectMetadata') then body(response_object)
            else body(request_object)
        end as body
    from writes_in($cluster, $since, $until)
    where resource in (
            'pods', 'deployments', 'replicasets', 'statefulsets', 'daemonsets', 'jobs', 'cronjobs', 'replicationcontrollers', 'podtemplates'
        )
        and verb in ('create', 'update', 'patch')
        and coalesce(subresource, 'ephemeralcontainers') = 'ephemeralcontainers'
        and not coalesce(dry_run, false)
        and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
        and ($controllers or actor not like 'system:serviceaccount:kube-system:%')
        and ($controllers or actor not in ('system:kube-controller-manager', 'system:kube-scheduler'))
        and ($controllers or actor not like 'system:node:%')
        and same(resource, $resource)
        and same(api_group, $api_group)
        and fits(namespace, $namespace)
        and fits(coalesce(name, object_name), $name)
),
specs as (
    select
        *,
        cast(
            coalesce(
                json_extract(body, '$.spec.jobTemplate.spec.template.spec'),
                json_extract(body, '$.spec.template.spec'),
                json_extract(body, '$.template.spec'),
                json_extract(body, '$.spec')
            ) as varchar
        ) as spec
    from bodies
    where regexp_matches(
            body,
            '"(privileged|hostPID|hostNetwork|hostIPC|allowPrivilegeEscalation)":\s*true|"hostPath"|"(SYS_[A-Z]+|NET_ADMIN|ALL|BPF)"'
        )
),
judged as (
    select
        *,
        list_filter(
            [
                case when contains(spec, '"privileged":true') then 'privileged' end,
                case when contains(spec, '"hostPID":true') then 'hostPID' end,
                case when contains(spec, '"hostNetwork":true') then 'hostNetwork' end,
                case when contains(spec, '"hostIPC":true') then 'hostIPC' end,
                case when contains(spec, '"hostPath":{') then 'hostPath' end,
                case when contains(spec, '"allowPrivilegeEscalation":true') then 'allowPrivilegeEscalation' end,
                case when regexp_matches(spec, '"add":\[[^\]]*"(SYS_[A-Z]+|NET_ADMIN|ALL|BPF)"') then 'capabilities' end
            ],
            lambda x: x is not null
        ) as reasons
    from specs
)
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
    reasons,
    owner_kind,
    owner_name,
    code,
    outcome,
    client,
    source_ip,
    audit_id,
    source,
    line,
    item,
    cluster
from judged
where len(reasons) > 0
order by time, audit_id, source, line, item, cluster
limit $limit
