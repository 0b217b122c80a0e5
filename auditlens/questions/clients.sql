/*
title = "Programs that talk to the apiserver: versions, users, addresses"
group = "traffic"
show = ["client", "client_version", "kind", "requests", "failed", "users", "source_ips", "last_time"]
needs = "ResponseComplete at Metadata for all requests"

[[logged]]
level = "Metadata"
stages = ["ResponseComplete"]

[params]
since = ""
until = ""
cluster = ""
user = ""
client = "program named in the user agent; globs"
limit = {default = 1000}
*/
select
    client,
    client_version,
    -- what user agents call themselves (client-go rest.DefaultKubernetesUserAgent and common SDKs); they can be forged
    case
        when client is null then 'none sent'
        when client like 'kubectl%' then 'kubectl'
        when client in ('curl', 'Wget', 'HTTPie', 'python-requests', 'Mozilla', 'PostmanRuntime') then 'by hand'
        when client in ('kubelet', 'kube-proxy', 'kube-scheduler', 'kube-controller-manager', 'kube-apiserver') then 'control plane'
        when client like 'OpenAPI-Generator%' or client in ('Go-http-client', 'okhttp', 'axios') or lower(client) like '%client%' then 'sdk'
        when client in ('helm', 'Helm', 'argocd', 'argocd-application-controller', 'flux', 'terraform', 'HashiCorp') then 'deployment'
        else 'other'
    end as kind,
    count(*) as requests,
    count(*) filter (where code >= 400) as failed,
    count(distinct actor) as users,
    list_sort(array_agg(distinct actor))[1:5] as some_users,
    list_sort(array_agg(distinct source_ip))[1:5] as source_ips,
    count(distinct user_agent) as user_agents,
    min(user_agent) as a_user_agent,
    min(stage_time) as first_time,
    max(stage_time) as last_time
from ended_in($cluster, $since, $until)
where by_user(username, impersonated_username, user_extra, impersonated_extra, $user)
    and fits(client, $client)
group by client, client_version
order by requests desc, client, client_version
limit $limit
