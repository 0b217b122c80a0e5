/*
title = "Records that could not be read: why, where they stand, and their text as far as redaction allows"
group = "lake"
show = ["reason", "evidence", "byte_offset", "text"]
needs = "nothing: it is asked of the lake's own accounts"
logged = []

[params]
cluster = ""
source = "file or stream; globs"
reason = "reason; globs"
limit = {default = 1000}
*/
select
    reason,
    text,
    source,
    line,
    item,
    byte_offset,
    cluster,
    import_id
from rejects
where same(cluster, $cluster)
    and fits(source, $source)
    and fits(reason, $reason)
order by source, line, item, byte_offset, import_id
limit $limit
