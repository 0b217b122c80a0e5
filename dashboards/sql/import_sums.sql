/* The accounting of all imports. */
select
    count(*) as sources,
    coalesce(sum(bytes), 0)::bigint as bytes,
    coalesce(sum(lines), 0)::bigint as lines,
    coalesce(sum(records), 0)::bigint as records,
    coalesce(sum(list_sum(map_values(rows))), 0)::bigint as rows,
    coalesce(sum(duplicates), 0)::bigint as duplicates,
    coalesce(sum(rejects), 0)::bigint as rejects,
    coalesce(sum(dropped), 0)::bigint as dropped,
    count(error) as errors
from imports
