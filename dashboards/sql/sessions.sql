/* Exec, attach and port-forward sessions with their length; the command stands in the URI. */
select
    min(received_time) as time,
    coalesce(any_value(impersonated_username), any_value(username)) as acting_as,
    any_value(username) as username,
    any_value(subresource) as subresource,
    any_value(namespace) as namespace,
    any_value(name) as name,
    any_value(resource) as resource,
    any_value(api_group) as api_group,
    array_to_string(
        list_transform(regexp_extract_all(any_value(request_uri), '[?&]command=([^&]*)', 1), lambda c: url_decode(replace(c, '+', ' '))), ' '
    ) as command,
    url_decode(regexp_extract(any_value(request_uri), '[?&]container=([^&]*)', 1)) as container,
    max(code) as code,
    max(latency_ms) filter (where stage <> 'RequestReceived') as session_ms,
    bool_or(stage in ('ResponseComplete', 'Panic')) as ended,
    any_value(client) as client,
    any_value(source_ips[len(source_ips)]) as source_ip,
    audit_id,
    min(source) as source,
    min(line) as line
from audit
where subresource in ('exec', 'attach', 'portforward')
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by cluster, audit_id, received_time
order by time
limit 1000
