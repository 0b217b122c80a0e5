/* Requests without a name: anonymous, or refused before they had one. */
select
    coalesce(username, 'nobody') as username,
    source_ips[len(source_ips)] as source_ip,
    client,
    verb,
    coalesce(resource, split_part(request_uri, '?', 1)) as thing,
    code,
    count(*) as requests,
    min(stage_time) as first_time,
    max(stage_time) as last_time,
    max_by(audit_id, stage_time) as audit_id
from audit
where (username is null or username = 'system:anonymous')
    and (stage in ('ResponseComplete', 'Panic') or (stage = 'ResponseStarted' and code = 401))
    and ($cluster is null or cluster = $cluster)
    and ($since is null or stage_time >= $since)
    and ($until is null or stage_time <= $until)
group by all
order by min(code) < 400 desc, requests desc, username, client
limit 500
