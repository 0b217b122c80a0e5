"""Parquet files on their way into the lake: written aside, hashed, moved to their place, then committed by the Delta log."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from auditlens.errors import LakeError
from auditlens.quoting import quoted
from auditlens.tables import TABLES, Table

if TYPE_CHECKING:
    import datetime as dt

    import duckdb
    import pyarrow as pa

# One chunk of events is about 55,000 rows: in groups of this size both cores encode it (208 ms against 262 for 64 MB).
WRITE = "format parquet, compression zstd, row_group_size 20480, parquet_version v2"
STAGING = "_staging"
_NULL = "__HIVE_DEFAULT_PARTITION__"  # Hive's name for null


@dataclass(frozen=True, slots=True)
class NewFile:
    """A Parquet file in its final place, not committed yet. `path` is relative to its table's directory."""

    table: str
    path: str
    size: int
    rows: int
    partition: Mapping[str, str | None]
    min_time: dt.datetime | None = None
    max_time: dt.datetime | None = None

    def stats(self) -> str:
        """The file's statistics as Delta keeps them (protocol, "Per-file Statistics")."""
        stats: dict[str, Any] = {"numRecords": self.rows}
        column = TABLES[self.table].TIME
        if column and self.min_time and self.max_time:
            stats["minValues"] = {column: self.min_time.isoformat().replace("+00:00", "Z")}
            stats["maxValues"] = {column: self.max_time.isoformat().replace("+00:00", "Z")}
        return json.dumps(stats)


def make_private(root: Path) -> None:
    """Make a lake's directory, which only its owner can enter, whatever the umask; one that is there keeps its mode.

    That is the one lock: what is inside follows the umask, so `chmod g+rx` of the lake alone opens it to a group.
    """
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)


class Staging:
    """A directory of the lake for files nobody may see yet.

    At the end, whatever happens, it is removed, and so are placed files that no commit took. A kill leaves both behind:
    readers go by the Delta log and never see them, `lake verify` names them and `lake compact` removes them.
    """

    def __init__(self, root: Path, directory: Callable[[str], Path], committed: Callable[[str], set[str]]) -> None:
        self.directory = directory  # of a table
        self.attempt = uuid.uuid4().hex[:8]  # two attempts at one import never share a file name
        self.root, self.dir = root, root / STAGING / self.attempt
        self._committed = committed
        self._placed: list[NewFile] = []

    def __enter__(self) -> Staging:
        make_private(self.root)
        self.dir.mkdir(parents=True)
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.dir, ignore_errors=True)
        for table in {f.table for f in self._placed}:
            committed = self._committed(table)
            for f in self._placed:
                if f.table == table and f.path not in committed:
                    (self.directory(table) / f.path).unlink(missing_ok=True)

    def new(self) -> Path:
        """A path to write one Parquet file to."""
        return self.dir / uuid.uuid4().hex

    def copy(self, con: duckdb.DuckDBPyConnection, select: str, path: Path) -> int:
        """Write the rows of a select to a new file; returns how many."""
        return int(con.execute(f"copy ({select}) to {quoted(path)} ({WRITE})").fetchall()[0][0])

    def write(
        self,
        con: duckdb.DuckDBPyConnection,
        table: type[Table],
        select: str,
        *,
        prefix: str,
        partition: Mapping[str, str | None],
    ) -> NewFile | None:
        """Write the rows of a select as one file of a table; None when there are none."""
        path = self.new()
        self.copy(con, select, path)
        return self.place(path, table, prefix=prefix, partition=partition)

    def place(self, path: Path, table: type[Table], *, prefix: str, partition: Mapping[str, str | None]) -> NewFile | None:
        """Move a written file to its content-addressed name in the table; None (and no file) when it has no rows."""
        rows, low, high = _footer(path, table)
        if not rows:
            path.unlink(missing_ok=True)
            return None
        digest, size = sha256_of(path)
        relative = (
            "".join(f"{k}={_partition_value(v)}/" for k, v in partition.items())
            + f"{prefix}-{self.attempt}-{table.fingerprint()}-{digest}.parquet"
        )
        target = self.directory(table.NAME) / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as f:
            os.fsync(f.fileno())
        os.utime(path)  # an import of days wrote it long ago: compaction goes by this to tell what a killed one left
        path.replace(target)
        new = NewFile(table.NAME, relative, size, rows, dict(partition), low, high)
        self._placed.append(new)
        return new


def sha256_of(path: Path) -> tuple[str, int]:
    """Hex SHA-256 and size in bytes of a file."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as e:
        raise LakeError(f"{path}: {e.strerror}") from e
    return digest.hexdigest(), size


def _footer(path: Path, table: type[Table]) -> tuple[int, dt.datetime | None, dt.datetime | None]:
    """Rows of a file, and the least and greatest time in it, from its footer."""
    import pyarrow.parquet as pq

    meta = pq.ParquetFile(path).metadata
    if table.TIME is None:
        return meta.num_rows, None, None
    index = next(i for i in range(meta.num_columns) if meta.schema.column(i).path == table.TIME)
    stats = [meta.row_group(g).column(index).statistics for g in range(meta.num_row_groups)]
    known = [s for s in stats if s is not None and s.has_min_max]
    return meta.num_rows, min((s.min for s in known), default=None), max((s.max for s in known), default=None)


def _partition_value(value: str | None) -> str:
    """The value as a directory's name, from which DuckDB reads it back: names of clusters come from whoever ships logs."""
    if value is None:
        return _NULL
    escaped = quote(value, safe="").replace("~", "%7E").replace("*", "%2A")
    return escaped.replace("_", "%5F", 1) if value == _NULL else escaped if value.strip(".") else escaped.replace(".", "%2E")


# Numbers and times that grow, and long strings that hardly repeat; all other columns have a dictionary.
_DELTA = {
    "line": "DELTA_BINARY_PACKED", "stage_time": "DELTA_BINARY_PACKED", "received_time": "DELTA_BINARY_PACKED",
    "time": "DELTA_BINARY_PACKED", "audit_id": "DELTA_LENGTH_BYTE_ARRAY", "request_object": "DELTA_LENGTH_BYTE_ARRAY",
    "response_object": "DELTA_LENGTH_BYTE_ARRAY", "object_uid": "DELTA_LENGTH_BYTE_ARRAY",
    "object_resource_version": "DELTA_LENGTH_BYTE_ARRAY",
}  # fmt: skip
_ROW_GROUP = 32_768


def write_parquet(rows: pa.Table, path: Path) -> None:
    """Write rows as the import does: fast, in row groups small enough for their statistics to help a look-up."""
    import pyarrow.parquet as pq

    encodings = {name: kind for name, kind in _DELTA.items() if name in rows.column_names}
    pq.write_table(
        rows,
        path,
        row_group_size=_ROW_GROUP,
        compression="zstd",
        compression_level=1,
        store_schema=False,  # a dictionary here is none to a reader
        use_dictionary=[leaf for leaf in leaves(rows.schema) if leaf not in encodings and leaf != "latency_ms"],
        column_encoding=encodings,
    )


def leaves(schema: pa.Schema) -> list[str]:
    """Paths of the leaf columns as Parquet names them."""
    import pyarrow as pa

    out = []
    for field in schema:
        kind = field.type
        if pa.types.is_map(kind):
            out.append(f"{field.name}.key_value.key")
            value = f"{field.name}.key_value.value"
            out.append(f"{value}.list.element" if pa.types.is_list(kind.item_type) else value)
        elif pa.types.is_list(kind):
            out.append(f"{field.name}.list.element")
        else:
            out.append(field.name)
    return out
