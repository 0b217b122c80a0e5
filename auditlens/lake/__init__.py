"""The lake: one Delta table per kind of row, in one directory; the only place that knows about files.

An import writes its Parquet files aside, commits them table by table, and is done when its row is in `imports`; until then
readers do not see any of it. Committed files are content-addressed: their name ends in their SHA-256.
"""

from auditlens.lake.files import NewFile, Staging
from auditlens.lake.lake import Lake
from auditlens.lake.snapshot import DataFile, Snapshot, file_list, hide, scan, unhidden

__all__ = ["DataFile", "Lake", "NewFile", "Snapshot", "Staging", "file_list", "hide", "scan", "unhidden"]
