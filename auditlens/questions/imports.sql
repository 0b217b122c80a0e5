/*
title = "What was imported, and what became of each record: rows, duplicates, rejects"
group = "lake"
show = ["imported_at", "source", "cluster", "bytes", "records", "rows", "duplicates", "rejects", "first_time", "last_time", "error"]
needs = "nothing: it is asked of the lake's own accounts"
logged = []

[params]
cluster = ""
source = "file or stream; globs"
errors = "boolean: only what was not read to its end, or had records that could not be read"
limit = {default = 1000}
*/
select
    imported_at,
    source,
    cluster,
    instance,
    bytes,
    file_bytes,
    lines,
    continuations,
    blanks,
    records,
    cast(coalesce(list_sum(map_values(rows)), 0) as bigint) as rows,
    cast(coalesce(list_sum(map_values(derived)), 0) as bigint) as derived,
    duplicates,
    rejects,
    dropped,
    first_time,
    last_time,
    error,
    policy,
    version,
    redact_key_id is not null as redacted,
    import_id,
    sha256
from imports
where same(cluster, $cluster)
    and fits(source, $source)
    and (not coalesce($errors, false) or error is not null or rejects > 0)
order by imported_at desc, source, import_id
limit $limit
