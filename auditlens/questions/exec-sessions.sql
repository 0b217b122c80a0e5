/*
title = "Who got into a pod: exec, attach, port-forward, cp, debug; with which command, for how long"
group = "access"
show = ["time", "username", "impersonator", "identity", "how", "namespace", "name", "container", "command", "seconds", "code", "evidence"]
of = ["pods"]
needs = "ResponseStarted and ResponseComplete at Metadata for pods/exec, attach, portforward; Request for ephemeralcontainers shows the image"

[[logged]]
level = "Metadata"
verbs = ["get", "create"]
resources = [{group = "", resources = ["pods/exec", "pods/attach", "pods/portforward"]}]

[[logged]]
level = "Request"
verbs = ["patch", "update"]
resources = [{group = "", resources = ["pods/ephemeralcontainers"]}]
stages = ["ResponseComplete"]
why = "the image and command of kubectl debug"

[params]
since = ""
until = ""
cluster = ""
user = ""
namespace = ""
name = ""
limit = {default = 1000}
*/
with stages as (
    select
        *,
        -- argv stands in the URI only, one parameter an argument (k8s.io/api core/v1 PodExecOptions)
        list_transform(regexp_extract_all(request_uri, '[?&]command=([^&]*)', 1), lambda x: url_decode(replace(x, '+', ' '))) as argv,
        max(case when stage = 'ResponseStarted' then stage_time end) over request as started,
        max(case when stage <> 'ResponseStarted' then stage_time end) over request as ended,
        row_number() over (request order by stage_time desc, stage, source, line, item) as from_last
    from stages_in($cluster, $since, $until)
    where resource = 'pods'
        and subresource in ('exec', 'attach', 'portforward', 'ephemeralcontainers')
        and stage <> 'RequestReceived'
        and verb in ('get', 'create', 'patch', 'update')
        and by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
        and fits(namespace, $namespace)
        and fits(name, $name)
    window request as (partition by cluster, audit_id, received_time, request_uri, username)
)
-- one row a session: where it began, where it ended
select
    coalesce(started, received_time) as time,
    actor as username,
    impersonator,
    identity(user_extra, impersonated_username, impersonated_extra) as identity,
    case
        when subresource = 'exec' and argv[1] = 'tar' and client like 'kubectl%' then 'cp'
        when subresource = 'ephemeralcontainers' then 'debug'
        else subresource
    end as how,
    namespace,
    name,
    url_decode(nullif(regexp_extract(request_uri, '[?&]container=([^&]*)', 1), '')) as container,
    nullif(array_to_string(argv, ' '), '') as command,
    argv,
    case when subresource = 'ephemeralcontainers' then left(request_object, 2000) end as asked,
    started,
    ended,
    case when code = 101 then (epoch_us(ended) - epoch_us(started)) // 1000 / 1000.0 end as seconds,
    verb,
    code,
    case when ended is null and code < 400 then 'open' else outcome end as outcome,
    client,
    source_ip,
    user_agent,
    audit_id,
    source,
    line,
    item,
    cluster
from stages
where from_last = 1
order by time, audit_id, source, line, item, cluster
limit $limit
