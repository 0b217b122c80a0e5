/* Every import, newest first. */
select
    source, cluster, instance, imported_at, bytes, file_bytes, lines, records, coalesce(list_sum(map_values(rows)), 0)::bigint as rows,
    coalesce(list_sum(map_values(derived)), 0)::bigint as derived, duplicates, rejects, dropped, continuations, blanks, first_time, last_time,
    error, policy, version, redact_key_id is not null as redacted, import_id, sha256
from imports
order by imported_at desc, source
limit 5000
