/* The lives of the objects of some lanes, by uid as far as the log tells it, in the whole log: when each was made and deleted, by which
   requests, and who owned it. */
with own as (
    select {lane} as lane, coalesce(object_uid, uid) as told, verb, subresource, code, dry_run, owner_kind, owner_name, stage_time, audit_id, line
    from ended_in($cluster, null, null)
    where coalesce(name, object_name) in (select unnest($objects)) and code < 400 and dry_run is not true
),
-- what tells no uid is of the only one of its name, or of a life that nobody can tell
known as (
    select * exclude (told), coalesce(told, case when min(told) over w = max(told) over w then min(told) over w end) as uid
    from own
    where lane in (select unnest($names))
    window w as (partition by lane)
)
select
    lane, uid,
    min(stage_time) as first_time, max(stage_time) as last_time,
    min(stage_time) filter (where verb = 'create' and subresource is null) as created,
    max(stage_time) filter (where verb = 'delete' and subresource is null) as deleted,
    arg_min(audit_id, stage_time) as audit_id, arg_min(line, stage_time) as line,
    max(owner_kind) as owner_kind, max(owner_name) as owner_name
from known
group by all
order by first_time, lane, uid
