/* Rejects by reason, with where the first of each stands: sums of the question `rejects`. */
select
    reason,
    count(*) as records,
    count(distinct source) as sources,
    min(struct_pack(source := source, line := line)).source as first_source,
    min(struct_pack(source := source, line := line)).line as first_line
from ({rejects})
group by all
order by records desc, reason
