/*
title = "Which AWS role, session and access key is behind a user of EKS"
group = "access"
show = ["arn", "username", "session", "access_key", "granted", "denied", "requests", "failed", "last_time", "evidence"]
needs = "ResponseComplete at Metadata for all requests (EKS adds ARN, session and access key to them), or the authenticator's log, which alone tells refusals"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = "user name, ARN, session, access key or principal; globs"
limit = {default = 1000}
*/
with told as (
    -- what EKS adds to a user: arn, canonicalArn, sessionName, accessKeyId, principalId, in some versions behind a prefix
    select *, map_from_entries(list_distinct(list_transform(extra_names(user_extra), lambda n:
        struct_pack(k := lower(split_part(n, '=', 1)), v := substr(n, strpos(n, '=') + 1))))) as aws
    from requests_in($cluster, $since, $until)
    where user_extra is not null
),
used as (
    select
        cluster, aws['arn'] as arn, aws['canonicalarn'] as canonical_arn, username, aws['sessionname'] as session,
        aws['accesskeyid'] as access_key, aws['principalid'] as principal,
        count(*) as requests, count(*) filter (where code >= 400) as failed,
        min(stage_time) as first_time, max(stage_time) as last_time,
        list_sort(array_agg(distinct source_ip)) as source_ips,
        min(event_at(stage_time, audit_id, source, line, item)) as first
    from told
    where aws['arn'] is not null or aws['canonicalarn'] is not null
    group by all
),
asked as (
    -- aws-iam-authenticator: "access granted" and "access denied"; uid is aws-iam-authenticator:ACCOUNT:PRINCIPAL
    select
        cluster, fields['arn'] as arn, nullif(fields['username'], '') as username, nullif(fields['session'], '') as session,
        coalesce(nullif(fields['accesskeyid'], ''), nullif(fields['accessKeyId'], '')) as access_key,
        coalesce(nullif(fields['userid'], ''), nullif(split_part(coalesce(fields['uid'], ''), ':', 3), '')) as principal,
        nullif(fields['groups'], '') as groups, fields['error'] as error, message, time, source, line, item
    from klog
    where fields['arn'] is not null and message in ('access granted', 'access denied')
        and in_window(cluster, time, $cluster, $since, $until)
),
answered as (
    select
        cluster, arn, username, session, access_key, principal,
        count(*) filter (where message = 'access granted') as granted,
        count(*) filter (where message = 'access denied') as denied,
        list_sort(array_agg(distinct groups) filter (where groups is not null)) as groups,
        list_sort(array_agg(distinct error) filter (where error is not null)) as errors,
        min(time) as first_time, max(time) as last_time,
        min(event_at(time, null, source, line, item)) as first
    from asked
    group by all
),
-- the same identity: its ARN or its role's, and nothing that both tell may differ
pairs as (
    select u.first as used_first, a.first as asked_first
    from used u
    join answered a on a.cluster = u.cluster
        and (a.arn in (u.arn, u.canonical_arn))
        and coalesce(a.username = u.username, true) and coalesce(a.session = u.session, true)
        and coalesce(a.access_key = u.access_key, true)
        and coalesce(split_part(a.principal, ':', 1) = split_part(u.principal, ':', 1), true)
),
linked as (
    select p.used_first, sum(a.granted)::bigint as granted, sum(a.denied)::bigint as denied,
        list_sort(list_distinct(flatten(list(a.groups)))) as groups, list_sort(list_distinct(flatten(list(a.errors)))) as errors,
        min(a.first) as asked_first, min(a.first_time) as asked_from, max(a.last_time) as asked_to
    from pairs p join answered a on a.first = p.asked_first
    group by 1
),
identities as (
    select u.* exclude (first, first_time, last_time), least(u.first_time, l.asked_from) as first_time,
        greatest(u.last_time, l.asked_to) as last_time, l.granted, l.denied, l.groups, l.errors,
        l.asked_first.source || ':' || l.asked_first.line as authenticator_evidence,
        u.first.audit_id as audit_id, u.first.source as source, u.first.line as line, u.first.item as item
    from used u left join linked l on l.used_first = u.first
    union all by name
    select cluster, arn, username, session, access_key, principal, first_time, last_time, granted, denied, groups, errors,
        first.source || ':' || first.line as authenticator_evidence, first.source as source, first.line as line, first.item as item
    from answered
    where first not in (select asked_first from pairs)
)
select
    arn, canonical_arn, username, session, access_key, principal,
    -- null where the log of the authenticator, or that of the requests, has nothing of this identity
    granted, denied, groups, errors, requests, failed, first_time, last_time, source_ips, authenticator_evidence,
    audit_id, source, line, item, cluster
from identities
where fits_one([arn, canonical_arn, username, session, access_key, principal], $user)
order by last_time desc, arn, username, session, access_key, audit_id, source, line, item, cluster
limit $limit
