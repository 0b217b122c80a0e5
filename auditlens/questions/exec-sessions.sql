/*
title = "Who got into a pod: exec, attach, port-forward, cp, debug; with which command, for how long"
group = "access"
show = ["time", "username", "how", "namespace", "name", "container", "command", "seconds", "code", "evidence"]
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
        list_transform(regexp_extract_all(request_uri, '[?&]command=([^&]*)', 1), lambda x: url_decode(replace(x, '+', ' '))) as argv
    from audit
    where resource = 'pods'
        and subresource in ('exec', 'attach', 'portforward', 'ephemeralcontainers')
        and stage <> 'RequestReceived'
        and verb in ('get', 'create', 'patch', 'update')
        and ($user is null or fits(username, $user) or fits(impersonated_username, $user))
        and fits(namespace, $namespace)
        and fits(name, $name)
        and ($cluster is null or cluster = $cluster)
        and ($since is null or stage_time >= $since)
        and ($until is null or stage_time <= $until)
),
-- one row a session: where it began, where it ended
sessions as (
    select
        cluster,
        audit_id,
        received_time,
        request_uri,
        min(stage_time) filter (where stage = 'ResponseStarted') as started,
        max(stage_time) filter (where stage in ('ResponseComplete', 'Panic')) as ended,
        max_by(line, (stage_time, stage)) as last_line,
        max_by(source, (stage_time, stage)) as last_source
    from stages
    group by cluster, audit_id, received_time, request_uri
)
select
    coalesce(s.started, a.received_time) as time,
    a.username,
    a.impersonated_username,
    case
        when a.subresource = 'exec' and a.argv[1] = 'tar' and a.client like 'kubectl%' then 'cp'
        when a.subresource = 'ephemeralcontainers' then 'debug'
        else a.subresource
    end as how,
    a.namespace,
    a.name,
    url_decode(nullif(regexp_extract(a.request_uri, '[?&]container=([^&]*)', 1), '')) as container,
    nullif(array_to_string(a.argv, ' '), '') as command,
    a.argv,
    case when a.subresource = 'ephemeralcontainers' then left(a.request_object, 2000) end as asked,
    s.started,
    s.ended,
    case when a.code = 101 then round(epoch(s.ended) - epoch(s.started), 3) end as seconds,
    a.verb,
    a.code,
    a.outcome,
    a.client,
    a.source_ips[len(a.source_ips)] as source_ip,
    a.user_agent,
    a.audit_id,
    a.source,
    a.line,
    a.item,
    a.cluster
from sessions as s
join stages as a
    on a.cluster = s.cluster and a.audit_id = s.audit_id and a.received_time = s.received_time
    and a.request_uri = s.request_uri and a.line = s.last_line and a.source = s.last_source
order by time, audit_id
limit $limit
