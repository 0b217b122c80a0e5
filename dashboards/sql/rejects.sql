/* Records that could not be read, with their text. */
select r.reason, r.source, r.line, r.item, r.byte_offset, r.text, r.cluster
from rejects as r
order by r.source, r.line
limit 5000
