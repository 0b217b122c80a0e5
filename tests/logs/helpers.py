"""Log text to rows without a lake, by the fast path, the exact path, or in small chunks."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditlens.formats import bulk
from auditlens.formats.event import read_event
from auditlens.importing.batches import SourceReader
from auditlens.importing.klog import chunks as log_text
from auditlens.importing.klog.columns import schema
from auditlens.importing.klog.parser import LOG_TABLES
from auditlens.importing.transform import Source
from auditlens.records import Chunk, Counts, Event, Record, Reject
from auditlens.redact import NO_REDACTION, Redactor

LATEST = 1795417200.0  # 2026-11-23T07:00:00Z
KEY = b"a key of at least sixteen bytes"

Rows = dict[str, list[dict[str, Any]]]


class Read:
    """What became of some log text."""

    def __init__(self) -> None:
        self.rows: Rows = {name: [] for name in LOG_TABLES}
        self.rejects: list[Reject] = []
        self.events = 0
        self.audit_ids: list[str] = []  # of the events that can be read
        self.counts = Counts()

    def accounted(self) -> None:
        """Both identities of the import's promise hold."""
        c = self.counts
        assert c.lines == c.records - c.items + c.continuations + c.blanks, c
        assert c.records == len(self.rows["klog"]) + self.events + len(self.rejects), c


def content(path: Path) -> bytes:
    """The bytes of a file, decompressed."""
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def read(
    data: bytes,
    *,
    name: str = "kube-apiserver.log",
    latest: float = LATEST,
    chunk: int = 64 << 20,
    redact: bool = True,
    format: str = "auto",
) -> Read:
    """The rows of some text, sorted by where they stand."""
    out = Read()
    redactor = Redactor(KEY) if redact else NO_REDACTION
    reader = SourceReader(Source(name, "host", "import"), format=format, redactor=redactor, latest=latest)
    for piece in reader.pieces(_chunks(data, chunk)):
        out.rejects += piece.rejects
        out.events += piece.lines.num_rows
        texts = (read_event(Record(t.rstrip("\n").encode(), 1, 0)) for t in piece.lines["text"].to_pylist())
        out.audit_ids += [e.head.get("auditID", "") for e in texts if isinstance(e, Event)]
        for table, parts in (piece.logs.tables if piece.logs else {}).items():
            for part in parts:
                out.rows[table] += part.cast(schema(table)).to_pylist()
    for rows in out.rows.values():
        rows.sort(key=lambda r: (r["line"], r["item"] or 0, r.get("seq") or 0))
        for row in rows:
            for key, value in row.items():
                if isinstance(value, list):
                    row[key] = dict(value)
    out.counts = reader.counts
    return out


def _chunks(data: bytes, size: int) -> Iterator[Chunk]:
    pos, line = 0, 1
    while pos < len(data):
        end = data.rfind(b"\n", pos, pos + size) + 1 or data.find(b"\n", pos) + 1 or len(data)
        yield Chunk(data[pos:end], line, pos)
        line += data.count(b"\n", pos, end)
        pos = end


@contextmanager
def exact_path() -> Iterator[None]:
    """Nothing is read in bulk."""
    with pytest.MonkeyPatch.context() as patch:
        whole = bulk.read

        def none(data: bytes, starts: Any, ends: Any, odd: Any, heads: Any = None, several: Any = None) -> Any:
            return whole(data, starts, ends, np.ones(len(starts), dtype=bool), heads, several)

        patch.setattr(bulk, "read", none)
        patch.setattr(log_text, "worth_it", lambda data: False)
        yield


def without_year(rows: Rows) -> Rows:
    """The rows but for where their year is from, which may differ when less of the text is seen at once."""
    return {name: [{k: v for k, v in row.items() if k != "time_source"} for row in found] for name, found in rows.items()}
