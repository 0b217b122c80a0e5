"""What a sink took in becomes committed rows: posted bodies split into their items, a segment of the log at a time."""
