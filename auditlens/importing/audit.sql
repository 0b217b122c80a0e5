-- What the apiserver's facts amount to: the derived columns of `audit`, and the parsing of one batch of event lines.

-- Status reason in the words of `outcome`; codes decide where a plain-text answer carries no reason.
-- Source: apimachinery pkg/apis/meta/v1/types.go (StatusReason), apiserver pkg/server/httplog and filters.
create or replace temp macro outcome(code, reason) as case
    when reason = 'Unauthorized' then 'unauthenticated'
    when reason = 'TooManyRequests' then 'throttled'
    when reason in ('ServerTimeout', 'Timeout') then 'timeout'
    when reason in ('InternalError', 'StorageReadError') then 'error'
    when reason = 'Expired' then 'gone'
    when reason = 'ServiceUnavailable' then 'unavailable'
    when reason in ('Forbidden', 'NotFound', 'AlreadyExists', 'Conflict', 'Gone', 'Invalid', 'BadRequest', 'MethodNotAllowed',
                    'NotAcceptable', 'RequestEntityTooLarge', 'UnsupportedMediaType')
        then lower(regexp_replace(reason, '(.)([A-Z])', '\1_\2', 'g'))
    when code is null then null
    when code = 201 then 'created'
    when code = 202 then 'accepted'
    when code = 304 then 'not_modified'
    when code < 400 then 'ok'
    when code = 400 then 'bad_request'
    when code = 401 then 'unauthenticated'
    when code = 403 then 'forbidden'
    when code = 404 then 'not_found'
    when code = 405 then 'method_not_allowed'
    when code = 406 then 'not_acceptable'
    when code in (409, 412) then 'conflict'
    when code = 410 then 'gone'
    when code = 413 then 'request_entity_too_large'
    when code = 415 then 'unsupported_media_type'
    when code = 422 then 'invalid'
    when code = 429 then 'throttled'
    when code = 503 then 'unavailable'
    when code = 504 then 'timeout'
    when code < 500 then 'bad_request'
    else 'error' end;

-- Which part ended a failed request; the order matters, the first hit wins.
-- Source: apiserver pkg/server/config.go (DefaultBuildHandlerChain), pkg/endpoints/filters, pkg/endpoints/handlers.
create or replace temp macro decided_by(stage, code, reason, message, decision, why, username, subresource, uri, annotations) as case
    when stage = 'Panic' then 'panic'
    when code is null or code < 400 then null
    when code = 400 and username is null and contains(coalesce(message, ''), 'invalid timeout') then 'request_deadline'
    when code = 401 and decision is null then 'authentication'
    when decision = 'forbid' then 'authorization'
    when decision is null and code = 500 and why = 'internal error' then 'authorization'
    when decision is null and code = 403 and regexp_matches(coalesce(message, ''), 'cannot impersonate|impersonate:') then 'impersonation'
    -- before 1.11 there were no annotations: the message of an authorization refusal is all there is
    when decision is null and code = 403 and annotations is null and regexp_matches(coalesce(message, ''), 'is forbidden: User "|^forbidden: User "')
        then 'authorization'
    when decision is null and code = 403 and contains(coalesce(message, ''), 'impersonat') then 'impersonation'
    when decision is null and code = 429 then 'flow_control'
    when decision is null and contains(coalesce(message, ''), 'without impersonating a user') then 'impersonation'
    when starts_with(coalesce(message, ''), 'admission webhook') or contains(coalesce(message, ''), 'ValidatingAdmissionPolicy')
        or contains(coalesce(message, ''), 'failed calling webhook') then 'admission'
    when decision = 'allow' and subresource in ('proxy', 'exec', 'attach', 'portforward', 'log') and reason is null then 'backend'
    when code = 503 and starts_with(uri, '/apis/') and reason is null then 'aggregator'
    when code = 504 or reason in ('Timeout', 'ServerTimeout') then 'timeout'
    when code = 403 and decision = 'allow' then 'admission'
    when code = 403 then null -- neither annotations nor a message: old events do not tell
    when code = 422 then 'validation'
    when code in (409, 410, 412) then 'storage'
    when code = 404 and reason = 'NotFound' then 'storage'
    when reason = 'StorageReadError' or contains(coalesce(message, ''), 'etcdserver:') then 'storage'
    else 'handler' end;

create or replace temp macro api_maturity(v) as case
    when contains(v, 'alpha') then 'alpha' when contains(v, 'beta') then 'beta' when v is not null then 'GA' end;

-- The allow reason is the only trace of which authorizer spoke.
-- Source: plugin/pkg/auth/authorizer/{rbac,node}, pkg/auth/authorizer/abac, apiserver plugin/pkg/authorizer/webhook.
create or replace temp macro authorizer(decision, why, username, groups_) as case
    when starts_with(coalesce(why, ''), 'RBAC:') then 'rbac'
    when contains(coalesce(why, ''), 'no relationship found between node') or starts_with(coalesce(why, ''), 'node ') then 'node'
    when starts_with(coalesce(why, ''), 'No policy matched') or starts_with(coalesce(why, ''), 'ABAC') then 'abac'
    when decision = 'allow' and coalesce(why, '') = '' and list_contains(groups_, 'system:masters') then 'privileged_group'
    when decision = 'allow' and coalesce(why, '') = '' and list_contains(groups_, 'system:nodes') then 'node'
    when decision = 'allow' and coalesce(why, '') = '' then 'always_allow'
    when decision is not null and coalesce(why, '') <> '' then 'webhook' end;

-- RBAC: allowed by RoleBinding "alice-admin/shop" of ClusterRole "admin" to User "alice"; the binding's namespace comes last.
create or replace temp macro rbac_binding(why) as case
    when starts_with(why, 'RBAC: allowed by ClusterRoleBinding') then 'ClusterRoleBinding/' || split_part(why, '"', 2)
    when starts_with(why, 'RBAC: allowed by RoleBinding')
        then 'RoleBinding/' || split_part(split_part(why, '"', 2), '/', 2) || '/' || split_part(split_part(why, '"', 2), '/', 1) end;

create or replace temp macro rbac_role(why) as case when starts_with(why, 'RBAC: allowed by') then
    case when contains(split_part(why, '"', 3), 'ClusterRole') then 'ClusterRole/' else 'Role/' end || split_part(why, '"', 4) end;
