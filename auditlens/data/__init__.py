"""Facts published elsewhere, small and generated; each file names its source."""
