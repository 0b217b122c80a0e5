-- The words of questions: macros and views that mean one thing in all of them. Another engine provides the same.

-- ASKING: a parameter that was not given is null, and leaves everything

-- a row of the cluster and the time that are asked for; both ends of a window belong to it
create macro in_window(its_cluster, its_time, cluster_asked, since, until) as
    (cluster_asked is null or its_cluster = cluster_asked)
    and (since is null or its_time >= since) and (until is null or its_time <= until);

-- exactly this value
create macro same(v, p) as p is null or v = p;

-- no pattern fits everything; a glob comes as a LIKE pattern behind a \x01 (see engine.pattern)
create macro fits(v, p) as p is null or case when starts_with(p, chr(1)) then v like substr(p, 2) escape '\' else v = p end;

-- one of several names fits
create macro fits_one(names, p) as p is null or len(list_filter(names, lambda n: fits(n, p))) > 0;

-- NUMBERS: the same on every engine, in every order of rows, on every number of threads

-- the nearest multiple of 1/scale, halves up; round() of a double has changed its mind about halves between versions
create macro rounded(x, scale) as floor(cast(x as double) * scale + 0.5) / scale;

-- what share x is of a whole, in percent
create macro percent(x, whole) as rounded(100.0 * x / nullif(whole, 0), 100);

-- how often a minute, for what took a minute or more
create macro per_minute(times, first_time, last_time) as
    rounded(times * 60 / greatest((epoch_us(last_time) - epoch_us(first_time)) / 1000000, 60), 10);

-- the nearest-rank percentile: a value that was measured, so nothing is interpolated; milliseconds to the microsecond
create macro percentile_ms(ms, p) as rounded(quantile_disc(ms, p), 1000);

-- the sum of milliseconds, exact to the nanosecond: the sum of doubles depends on their order
create macro sum_ms(ms) as cast(sum(try_cast(floor(cast(ms as double) * 1000000 + 0.5) as bigint)) as double) / 1000000;

-- BODIES: whatever came in their place is not looked into

-- a JSON object, else null: platforms put words where a body was too large, and what was cut is no JSON
create macro body(text) as case when starts_with(text, '{') and json_valid(text) then text end;

-- PEOPLE

-- who acted: whom the request was allowed to act as, else who authenticated
create macro actor(username, impersonated_username) as coalesce(impersonated_username, username);

-- who authenticated, where that is not who acted: a person with --as, a proxy that acts for its users
create macro impersonator(username, impersonated_username) as case when impersonated_username is not null then username end;

-- what an authenticator adds that names somebody, as key=value: names at identity providers (Rancher's username and principalid,
-- EKS' arn, canonicalArn, sessionName, accessKeyId, ...); not the credential, the pod or the node, and no scopes and groups
create macro extra_names(extra) as case
    -- most have nothing else: a look at the keys costs a third of what the names do
    when len(list_filter(map_keys(extra), lambda k: not starts_with(k, 'authentication.kubernetes.io/'))) > 0
    then list_sort(flatten(list_transform(
        list_filter(map_entries(extra), lambda e: not regexp_matches(e.key, '^authentication[.]kubernetes[.]io/|(?i)scope|group')),
        lambda e: list_transform(
            list_filter(e.value, lambda v: v <> '' and strlen(v) <= 256), lambda v: split_part(e.key, '/', -1) || '=' || v))))
    when extra is not null then [] end;

-- how else who acted is known
create macro identity(user_extra, impersonated_username, impersonated_extra) as
    nullif(extra_names(case when impersonated_username is null then user_extra else impersonated_extra end), []);

-- the same names alone
create macro extra_values(extra) as list_transform(extra_names(extra), lambda n: substr(n, strpos(n, '=') + 1));

-- --user: who acted, who authenticated, or a name that an authenticator added for one of them; the first look is the cheaper one
create macro by_user(username, impersonated_username, user_extra, impersonated_extra, p) as p is null
    or fits(username, p) or fits(impersonated_username, p)
    or case
        when starts_with(p, chr(1)) or list_contains(flatten(list_concat(map_values(user_extra), map_values(impersonated_extra))), p)
        then fits_one(list_concat(extra_values(user_extra), extra_values(impersonated_extra)), p) else false end;

-- whom a refused impersonation was for: the message names it and the details repeat it (apiserver pkg/endpoints/filters/
-- impersonation; apimachinery NewForbidden), never the object of the request
create macro wanted(decided_by, message, details) as case when decided_by = 'impersonation' then
    case regexp_extract(coalesce(message, ''), '^([a-z]+)[a-z.0-9]* "', 1)
        when 'serviceaccounts' then 'system:serviceaccount:' || regexp_extract(message, 'in the namespace "([^"]*)"', 1)
            || ':' || regexp_extract(message, '^[^"]*"([^"]*)"', 1)
        when '' then json_extract_string(body(details), '$.name')
        when 'users' then regexp_extract(message, '^[^"]*"((?:[^"\\]|\\.)*)"', 1)
        else regexp_extract(message, '^([a-z]+)', 1) || ' ' || regexp_extract(message, '^[^"]*"((?:[^"\\]|\\.)*)"', 1) end end;

-- the part of the control plane behind a request, null for anybody else; without service accounts of their own the controllers
-- are told apart by the end of their user agent (controller-manager: clientbuilder AddUserAgent)
create macro controller(username, user_agent) as case
    when username like 'system:serviceaccount:kube-system:%' then substr(username, 35)
    when username = 'system:kube-controller-manager'
        then coalesce(nullif(replace(split_part(user_agent, '/', -1), 'system:serviceaccount:kube-system:', ''), ''), 'kube-controller-manager')
    when username = 'system:kube-scheduler' then 'scheduler'
    when username = 'system:apiserver' then 'apiserver'
    when username like 'system:node:%' then 'kubelet' end;

-- what brings people before workloads before the control plane
create macro people_first(username) as case
    when username is null then 3
    when not starts_with(username, 'system:') then 0
    when starts_with(username, 'system:serviceaccount:') and not starts_with(username, 'system:serviceaccount:kube-system:') then 1
    else 2 end;

-- REQUESTS

-- requests that may have two answers in the log, one that says they began and one that says they ended: apiserver's long-running
-- check (pkg/server/config.go); all others have one
create macro may_last(verb, subresource) as verb in ('watch', 'watchlist', 'connect', 'proxy')
    or coalesce(subresource, '') in ('exec', 'attach', 'portforward', 'proxy', 'log');

-- the stage that says what became of a request: ResponseComplete or Panic; ResponseStarted of what cannot last, and of failed
-- logins and bad timeouts, which leave nothing else (apiserver pkg/endpoints/filters, withFailedRequestAudit)
create macro is_final(stage, verb, subresource, decided_by) as stage <> 'RequestReceived' and (stage <> 'ResponseStarted'
    or not may_last(verb, subresource) or coalesce(decided_by, '') in ('authentication', 'request_deadline'));

-- which event: max() is the last of a group, min() the first, beyond doubt; times are shared, and audit ids chosen by clients
create macro event_at(its_time, audit_id, source, line, item) as
    struct_pack("time" := its_time, audit_id := audit_id, source := source, line := line, item := item);

-- every stage of the requests of a window, with who acted
create macro stages_in(cluster_asked, since, until) as table
    select
        *,
        actor(username, impersonated_username) as actor,
        impersonator(username, impersonated_username) as impersonator,
        source_ips[len(source_ips)] as source_ip
    from audit
    where in_window(cluster, stage_time, cluster_asked, since, until);

-- requests that ended in a window, one row each: their final stage
create macro ended_in(cluster_asked, since, until) as table
    select *
    from stages_in(cluster_asked, since, until)
    where is_final(stage, verb, subresource, decided_by);

-- those of them that write
create macro writes_in(cluster_asked, since, until) as table
    select *
    from ended_in(cluster_asked, since, until)
    where verb in ('create', 'update', 'patch', 'delete', 'deletecollection');

-- one request, whatever its stage
create macro request_key(cluster, audit_id, received_time) as
    cluster || ' ' || coalesce(audit_id, '') || ' ' || coalesce(cast(epoch_us(received_time) as varchar), '');

-- requests of a window, one row each: those that ended, and watches and sessions of which it holds the beginning alone: still
-- open, or ended after it. A request whose answer is not in the window has no row.
create macro requests_in(cluster_asked, since, until) as table
    select
        * exclude (begun) replace (case when begun is null or code >= 400 then latency_ms end as latency_ms),
        begun is not null and coalesce(code, 0) < 400 as is_open
    from (
        select *, case when not is_final(stage, verb, subresource, decided_by) then request_key(cluster, audit_id, received_time) end as begun
        from stages_in(cluster_asked, since, until)
        where stage <> 'RequestReceived'
    )
    -- one key a row: as a union with an anti join it read everything twice and took 1.1 to 1.4 times as long
    where begun is null or begun not in (
        select request_key(cluster, audit_id, received_time)
        from audit
        where stage in ('ResponseComplete', 'Panic') and may_last(verb, subresource)
            and in_window(cluster, stage_time, cluster_asked, since, until)
    );

-- all requests, for SQL of one's own
create view requests as select * from requests_in(null, null, null);

-- groups of Kubernetes itself (k8s.io/api, kube-aggregator, apiextensions-apiserver); others are somebody's CRD or aggregated API,
-- also where their name ends in k8s.io
create macro own_group(api_group) as not contains(api_group, '.') or api_group in (
    'admissionregistration.k8s.io', 'apiextensions.k8s.io', 'apiregistration.k8s.io', 'auditregistration.k8s.io',
    'authentication.k8s.io', 'authorization.k8s.io', 'certificates.k8s.io', 'coordination.k8s.io', 'discovery.k8s.io',
    'events.k8s.io', 'flowcontrol.apiserver.k8s.io', 'imagepolicy.k8s.io', 'internal.apiserver.k8s.io', 'networking.k8s.io',
    'node.k8s.io', 'rbac.authorization.k8s.io', 'resource.k8s.io', 'scheduling.k8s.io', 'settings.k8s.io', 'storage.k8s.io',
    'storagemigration.k8s.io');

-- plural resource of a request's path, null for what is no resource
create macro uri_resource(uri) as case
    when regexp_matches(uri, '^/api/[^/?]+/namespaces/[^/?]+/(status|finalize)([?]|$)') then 'namespaces'
    else nullif(regexp_extract(
        uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/(?:watch/)?(?:namespaces/[^/?]+/)?([a-z0-9.-]+)', 1), '') end;

-- its subresource, null where there is none
create macro uri_subresource(uri) as nullif(coalesce(
    nullif(regexp_extract(uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/namespaces/[^/?]+/[a-z0-9.-]+/[^/?]+/([a-z]+)', 1), ''),
    case when not regexp_matches(uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/(?:watch/|namespaces/[^/?]+/[^/?]+)') then regexp_extract(
        uri, '^/(?:api/[^/?]+|apis/[^/?]+/[^/?]+)/[a-z0-9.-]+/[^/?]+/([a-z]+)', 1) end,
    regexp_extract(uri, '^/api/[^/?]+/namespaces/[^/?]+/(status|finalize)(?:[?]|$)', 1)), '');

-- httplog's verb in the words of audit events
create macro http_verb(verb) as case verb
    when 'POST' then 'create' when 'PUT' then 'update' when 'APPLY' then 'patch' when 'HEAD' then 'get' else lower(verb) end;

-- sessions and watches: their latency is their life
create macro long_running(verb, uri) as verb in ('watch', 'WATCH', 'connect', 'CONNECT', 'proxy')
    or regexp_matches(uri, '/(exec|attach|portforward|proxy)([/?]|$)')
    or regexp_matches(uri, '/log[?](.*&)?follow=(true|1)') or regexp_matches(uri, '[?&]watch=(true|1|&|$)|^/api.*/watch/');

-- THE APISERVER'S LOG

-- milliseconds of a Go duration such as 1m2.5s
create macro duration_ms(t) as case when t is null then null else
    coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)h', 1), '') as double), 0) * 3600000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)m([0-9]|$)', 1), '') as double), 0) * 60000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)s$', 1), '') as double), 0) * 1000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)ms$', 1), '') as double), 0)
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)[uµμ]s$', 1), '') as double), 0) / 1000
    + coalesce(try_cast(nullif(regexp_extract(t, '([0-9.]+)ns$', 1), '') as double), 0) / 1000000 end;

-- the part of the apiserver that a line of a trace names; a span stands for what its steps do not explain
create macro trace_part(name) as case
    when name like 'Call % webhook' or name like '%admission%' or name = 'About to store object in database'
        or name = 'About to delete object from database' then 'admission'
    when name like 'Proxy via%' or name like '%aggregat%' then 'backend'
    when name like '%etcd3%' or name like '%Txn call%' or name like 'Transaction %' or name like '%initial value restored%'
        or name like '%Retry value restored%' or name like '%List from storage%' or name like 'Listing from storage done%'
        or name like '%from underlying storage%' or name like 'Get succeeded%' or name like 'About to Get from storage%'
        or name like 'Object stored in database%' or name like 'Object deleted from database%'
        -- to 1.5: pkg/storage/etcd/etcd_helper.go, pkg/registry/generic/registry/store.go
        or name in ('Etcd node listed', 'Etcd node read', 'Object read', 'List extracted', 'Object extracted')
        or name like 'Write to database call%' or name like 'About to write to%' then 'etcd'
    when lower(name) like 'cacher%' or name like 'watchCache %' or name = 'Ready' or name like 'Filtered items%'
        or name like 'Listed items from cache%' or name like 'Resized result%' then 'watch cache'
    when name like '%TransformFromStorage%' or name like 'TransformToStorage%' or name like 'Encode %' or name like 'Decode %'
        or name like 'Transformed response object%' or name like 'Transform%' or name in ('Node list decoded', 'Object decoded') then 'transform'
    when name like 'SerializeObject%' or name like 'About to start writing response%' then 'serialise'
    when name like 'Write call%' or name like 'Writing http response done%' or name like 'About to write a response%' then 'client write'
    when name like 'limitedReadBody%' or name like 'About to convert%' or name like 'Conversion done%' or name like '%apply patch%'
        or name like 'Patch applied%' or name like 'About to check%' then 'decoding'
    when name like '%audit%' or name like 'Call Audit%' then 'audit'
    when name = 'Request completed' then 'admission and etcd' end;
