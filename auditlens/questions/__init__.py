"""One .sql file per question; see auditlens.question."""
