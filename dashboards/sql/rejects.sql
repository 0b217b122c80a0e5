/* Records that could not be read, with their text. */
select reason, source, line, item, byte_offset, text, cluster, import_id
from rejects
where $cluster is null or cluster = $cluster
order by source, line
limit 5000
