"""What a policy would have written of a log, and which policy a log was written under."""
