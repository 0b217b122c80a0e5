"""Files become committed rows: given, found in folders, or followed while they are written."""
