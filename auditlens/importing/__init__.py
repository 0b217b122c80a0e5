"""Files become committed rows of the lake: sources, batches, the SQL of a batch, and the commit."""
