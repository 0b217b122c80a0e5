"""The webhook sink: what it has acknowledged is on disk, and soon in the lake, once."""
