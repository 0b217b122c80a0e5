/* Refusals by who decided and who was refused: sums of the question `denied`. */
select coalesce(decided_by, 'unknown') as decided_by, coalesce(username, 'nobody') as username, count(*) as refused
from ({denied})
group by all
order by refused desc, username, decided_by
