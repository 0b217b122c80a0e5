/*
title = "Requests that were cut off, and by what: a deadline, a client that left, etcd, a webhook, a panic, flow control"
group = "apiserver log"
show = ["time", "cut_by", "username", "verb", "uri", "code", "ms", "message", "told_by", "evidence"]
needs = "ResponseComplete at Metadata (messages since Kubernetes 1.24), the apiserver's log (aborts and panics always, httplog lines at -v=3)"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]
codes = ["429", "5xx"]

[params]
since = ""
until = ""
cluster = ""
user = ""
resource = ""
namespace = ""
limit = {default = 1000}
*/
with said as (
    select
        cluster, stage_time as time, actor as username, impersonator, verb, resource, namespace, coalesce(name, object_name) as name,
        request_uri as uri, code, latency_ms as ms, concat_ws(' ', stage, status_message) as words, status_message as message,
        decided_by = 'flow_control' as queued, by_user(username, impersonated_username, user_extra, impersonated_extra, $user) as asked_for,
        client, source_ip, 'audit' as told_by, audit_id, source, line, item
    from ended_in($cluster, $since, $until)
    where code >= 429 or stage = 'Panic'
    union all by name
    select
        cluster, time, http_verb(verb) as verb, uri_resource(uri) as resource,
        nullif(regexp_extract(uri, '/namespaces/([^/?]+)', 1), '') as namespace, uri, code, latency_ms as ms,
        concat_ws(' ', case when code = 0 then 'nothing was written' end, added_info) as words, added_info as message,
        -- it never began; a 429 that was executed is an eviction that a budget refused
        code = 429 and apf_execution_ms is null and not regexp_matches(uri, '/eviction([?]|$)') as queued, $user is null as asked_for,
        client, source_ip, 'httplog' as told_by, audit_id, source, line, item
    from httplog
    where (code >= 429 or code = 0) and in_window(cluster, time, $cluster, $since, $until)
    union all by name
    select
        cluster, time, http_verb(method) as verb, uri_resource(uri) as resource,
        nullif(regexp_extract(uri, '/namespaces/([^/?]+)', 1), '') as namespace, uri,
        concat_ws(' ', kind, err, message) as words, concat_ws(': ', split_part(message, chr(10), 1), err) as message,
        false as queued, $user is null as asked_for, 'log' as told_by, audit_id, source, line, item
    from (
        select
            *, coalesce(fields['err'], fields['panic']) as err,
            coalesce(fields['method'], nullif(regexp_extract(message, '(?:method=|on |, )([A-Z]+) ', 1), '')) as method,
            coalesce(fields['URI'], fields['path'], nullif(regexp_extract(message, '(?:URI=|[A-Z]+ )"?(/[^" :]*)', 1), '')) as uri
        from klog
        where in_window(cluster, time, $cluster, $since, $until)
            and (kind in ('timeout.abort', 'timeout.post', 'timeout.killed', 'panic') or kind = 'response.no_status')
    )
),
cut as (
    select
        *,
        case
            -- how net/http ends a connection on purpose: the answer had begun when the backend or the client went
            when contains(words, 'abort Handler') or contains(words, 'ErrAbortHandler') then 'aborted connection'
            when regexp_matches(words, 'timeout[.]abort|[tT]imeout or abort while handling|http: Handler timeout') then 'timeout or abort'
            when contains(words, 'timeout.post') then 'timeout, the handler went on'
            when contains(words, 'timeout.killed') then 'timeout, the handler was killed'
            when regexp_matches(words, '^(Panic|panic)') then 'panic'
            when regexp_matches(words, 'failed calling webhook') and regexp_matches(words, 'deadline exceeded|[tT]imeout|canceled') then 'webhook'
            when regexp_matches(words, 'etcdserver: (request timed out|leader changed)') then 'etcd'
            when contains(words, 'Too large resource version') then 'watch cache behind'
            when code = 499 or regexp_matches(words, 'context canceled|client disconnected|stream closed|broken pipe|connection reset') then 'client gone'
            when regexp_matches(words, '(?i)deadline *exceeded|did not complete within|timed out') then 'deadline'
            when queued then 'flow control'
            when code = 504 then 'deadline'
            when code = 0 then 'nothing was written'
        end as cut_by
    from said
),
-- one row a request: the log adds its line to what the audit log or httplog tells
ids as (
    select cluster, audit_id, min(case told_by when 'audit' then 1 when 'httplog' then 2 else 3 end) as best, list_sort(list_distinct(list(told_by))) as told,
        min(case when told_by = 'log' then source || ':' || line end) as log_evidence
    from cut
    where cut_by is not null and audit_id is not null
    group by all
)
select
    c.time,
    c.cut_by,
    c.username,
    c.impersonator,
    c.verb,
    c.resource,
    c.namespace,
    c.name,
    c.uri,
    c.code,
    rounded(c.ms, 1000) as ms,
    c.message,
    c.client,
    c.source_ip,
    coalesce(array_to_string(i.told, ', '), c.told_by) as told_by,
    i.log_evidence,
    c.audit_id,
    c.source,
    c.line,
    c.item,
    c.cluster
from cut as c
left join ids as i on i.cluster = c.cluster and i.audit_id = c.audit_id
where c.cut_by is not null
    and c.asked_for
    and (i.best is null or i.best = case c.told_by when 'audit' then 1 when 'httplog' then 2 else 3 end)
    and same(c.resource, $resource)
    and fits(c.namespace, $namespace)
order by c.time, c.told_by, c.audit_id, c.source, c.line, c.item, c.cluster
limit $limit
