"""What every answer shares: question files, object addresses, time windows, limits, and the one type that all return."""
