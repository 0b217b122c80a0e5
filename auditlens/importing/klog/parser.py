"""Log entries become tables of `klog`, `httplog`, `trace` and `kubectl` rows: the common ones in bulk, the rest one by one."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auditlens.formats import bulk
from auditlens.formats.clock import DAY_US, SOURCES, UNKNOWN, Clock, Survey
from auditlens.formats.entry import moment_us, parse
from auditlens.importing.klog.columns import EXACT, filled, httplog, kinds, named, pairs, schema
from auditlens.importing.klog.rows import Origin, RowMaker
from auditlens.records import Record
from auditlens.redact import LOG_SUSPECT, Redactor

__all__ = ["LOG_TABLES", "Entries", "LogParser", "LogRows", "as_entries", "few"]

LOG_TABLES = ("klog", "httplog", "trace", "kubectl")

_SMALL = 20_000  # rows
_LOCAL = ("go", "capnslog")  # their times have no zone


@dataclass(slots=True)
class LogRows:
    """Rows of the log tables, with the columns `cluster` and `day` (since 1970, null without a time) they are placed by."""

    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    size: int = 0  # bytes of text they came from

    def add(self, name: str, table: pa.Table) -> None:
        """Take rows of one table."""
        if table.num_rows:
            self.tables.setdefault(name, []).append(table)


@dataclass(slots=True)
class Entries:
    """Entries of one buffer, in order: data[starts[i]:ends[i]] is an entry's text; the rest is what the reader knows of them."""

    data: bytes
    starts: Any
    ends: Any
    line: Any
    several: Any  # mask: the entry has more than one line
    item: Sequence[int | None] | None = None
    wrapper: Any = None  # microseconds since 1970, -1 where there was none
    instance: Sequence[str | None] | None = None
    cluster: Sequence[str | None] | None = None


def as_entries(records: Sequence[Record], clusters: Sequence[str | None]) -> Entries:
    """Records that came through the reader, and the cluster of each."""
    texts = [r.text for r in records]
    try:
        b"".join(texts).decode()
    except UnicodeDecodeError:
        texts = [t.decode("utf-8", "replace").encode() for t in texts]
    sizes = np.array([len(t) for t in texts], dtype=np.int64)
    ends = np.cumsum(sizes + 1) - 1
    wrapper = (None if r.time is None else moment_us(r.time) for r in records)
    return Entries(
        b"\n".join(texts) + b"\n", ends - sizes, ends, np.array([r.line for r in records], dtype=np.int64),
        np.array([b"\n" in t for t in texts], dtype=bool), [r.item for r in records],
        np.array([-1 if w is None else w for w in wrapper], dtype=np.int64),
        [r.instance for r in records], clusters,
    )  # fmt: skip


def few(tables: Sequence[pa.Table], name: str) -> list[pa.Table]:
    """The same rows in few tables: small ones are put together, large ones keep the dictionaries of their columns."""
    small = [t for t in tables if t.num_rows < _SMALL]
    large = [t for t in tables if t.num_rows >= _SMALL]
    return large + ([pa.concat_tables([t.cast(schema(name)) for t in small])] if small else [])


class LogParser:
    """The log entries of one source; calls must come in the order of its lines."""

    def __init__(
        self, *, source: str, import_id: str, instance: str, cluster: str, redactor: Redactor, clock: Clock | None,
        latest: float | None,
    ) -> None:  # fmt: skip
        self._shared = {"source": source, "import_id": import_id}
        self._instance, self._cluster = instance, cluster
        self._maker = RowMaker(redactor)
        self._latest = round((latest or time.time()) * 1e6)
        self._clock = clock or Survey().clock(source, self._latest)
        self._learns = clock is None

    @property
    def guessed(self) -> int:
        """Entries whose year nothing tells but when the source was written."""
        return self._clock.guessed

    def learn(self, data: bytes | memoryview) -> None:
        """Look for dates in the text before its entries are read: once, for a source has one clock."""
        if self._learns:
            survey = Survey()
            survey.look(bytes(data))
            self._clock = survey.clock(self._shared["source"], self._latest)
            self._learns = False

    def rows(self, *parts: Entries) -> LogRows:
        """Rows of the entries in these buffers, which may interleave by line; of trace blocks and exchanges those complete."""
        out = LogRows(size=sum(len(p.data) for p in parts))
        read, rest = [], []
        times = [np.zeros(sum(len(p.starts) for p in parts), np.int64) for _ in range(3)]  # day, clock, known
        day, clock, known = times
        known[:] = UNKNOWN
        first = 0
        for part in parts:
            self.learn(part.data)
            suspect = _suspects(part)
            found = bulk.read(part.data, part.starts, part.ends, suspect | _with_steps(part), EXACT, part.several)
            day[first + found.numbers], clock[first + found.numbers] = found.day, found.clock_us
            for n in found.rest.tolist():
                text = part.data[part.starts[n] : part.ends[n]]
                entry = parse(text)
                rest.append((first + n, part, n, entry, not suspect[n] and not _LETTERS.search(text)))
                day[first + n], clock[first + n] = entry.month * 100 + entry.day, entry.clock_us
                if entry.time_us is not None:
                    known[first + n] = entry.time_us - (self._clock.zone if entry.form in _LOCAL else 0)
            read.append((first, part, found))
            first += len(part.starts)
        lines = np.concatenate([p.line for p in parts])
        order = np.argsort(lines, kind="stable")
        wrapper = None
        if any(p.wrapper is not None for p in parts):
            wrapper = np.concatenate([np.full(len(p.starts), -1) if p.wrapper is None else p.wrapper for p in parts])[order]
        moments, sources = np.empty_like(known), np.empty(len(known), np.int8)
        moments[order], sources[order] = self._clock.moments(day[order], clock[order], wrapper, known[order])
        for first, part, found in read:
            stop = first + len(part.starts)
            self._bulk(found, part, moments[first:stop], sources[first:stop], out)
        rows: dict[str, list[dict[str, Any]]] = {}
        rest.sort(key=lambda r: int(lines[r[0]]))
        for at, part, n, entry, harmless in rest:
            origin = self._origin(part, n, int(moments[at]), int(sources[at]))
            for name, row in self._maker.rows(entry, int(part.ends[n] - part.starts[n]), origin, harmless=harmless):
                rows.setdefault(name, []).append(row)
        self._made(rows, out)
        return out

    def close(self) -> LogRows:
        """Rows of blocks and exchanges that were open at the end of the source."""
        out, rows = LogRows(), dict[str, list[dict[str, Any]]]()
        for name, row in self._maker.close():
            rows.setdefault(name, []).append(row)
        self._made(rows, out)
        return out

    def _bulk(self, read: bulk.Bulk, entries: Entries, moments: Any, sources: Any, out: LogRows) -> None:
        """Rows of `klog` and `httplog` of the entries that were read together."""
        n = read.numbers
        if not len(n):
            return
        fields, loggers, audit_ids = pairs(read)
        moment = pa.array(moments[n], pa.timestamp("us", tz="UTC"), mask=moments[n] == UNKNOWN)
        day = pa.array((moments[n] // DAY_US).astype(np.int32), mask=moments[n] == UNKNOWN)
        shared: dict[str, Any] = {
            "cluster": named(entries.cluster, n, self._cluster), "day": day, "time": moment,
            "instance": named(entries.instance, n, self._instance),
            "line": entries.line[n], "item": pa.array([entries.item[i] for i in n.tolist()], pa.int64()) if entries.item else None,
            **{name: named(None, n, value) for name, value in self._shared.items()},
        }  # fmt: skip
        columns = shared | {
            "time_source": pa.DictionaryArray.from_arrays(sources[n], list(SOURCES)),
            "severity": pa.DictionaryArray.from_arrays(np.searchsorted(_SEVERITIES, read.severity).astype(np.int8), ["E", "F", "I", "W"]),
            "pid": np.array([p[0] for p in read.places], dtype=np.int64)[read.place],
            "file": pa.DictionaryArray.from_arrays(read.place.astype(np.int32), [p[1] for p in read.places]),
            "file_line": np.array([p[2] for p in read.places], dtype=np.int64)[read.place],
            "logger": loggers, "message": read.message, "fields": fields, "audit_id": audit_ids,
            "kind": kinds(read, entries.data, fields), "bytes": entries.ends[n] - entries.starts[n],
        }  # fmt: skip
        out.add("klog", filled("klog", len(n), columns))
        rows = np.flatnonzero(read.http)
        if len(rows):
            index = pa.array(rows)
            own = {k: (v.take(index) if isinstance(v, pa.Array) else None if v is None else v[rows]) for k, v in shared.items()}
            out.add("httplog", filled("httplog", len(rows), own | httplog(read, rows)))

    def _made(self, rows: Mapping[str, list[dict[str, Any]]], out: LogRows) -> None:
        for name, found in rows.items():
            out.add(name, pa.Table.from_pylist(found, schema=schema(name)))

    def _origin(self, entries: Entries, n: int, known: int, source: int) -> Origin:
        moment = None if known == UNKNOWN else known
        shared = self._shared | {
            "cluster": (entries.cluster[n] if entries.cluster else None) or self._cluster,
            "day": None if moment is None else moment // DAY_US,
            "instance": (entries.instance[n] if entries.instance else None) or self._instance,
            "time": moment, "time_source": SOURCES[source] if moment is not None else None,
            "line": int(entries.line[n]), "item": entries.item[n] if entries.item else None,
        }  # fmt: skip
        return Origin(moment, self._clock.zone, shared)


# an escape that could stand for any letter; of the others LOG_SUSPECT knows that they may be white space or quotes
_LETTERS = re.compile(rb"\\[^nrt\"\\]")
_SEVERITIES = np.frombuffer(b"EFIW", dtype=np.uint8)


def _with_steps(entries: Entries) -> Any:
    """Mask of the entries of several lines that hold a trace or parts of one."""
    mask = entries.several.copy()
    rows = np.flatnonzero(mask)
    texts = bulk.slices(entries.data, entries.starts[rows], entries.ends[rows])
    mask[rows] = pc.match_substring(texts, "Trace[").to_numpy(zero_copy_only=False)
    return mask


def _suspects(entries: Entries) -> Any:
    """Mask of the entries that may hold a credential."""
    if not len(entries.starts):
        return np.zeros(0, dtype=bool)
    offsets = np.append(entries.starts, entries.ends[-1]).astype(np.int64)
    texts = pa.LargeStringArray.from_buffers(len(entries.starts), pa.py_buffer(offsets), pa.py_buffer(entries.data))
    # RE2 goes through them once: three times as fast as looking for eight words
    return pc.match_substring_regex(texts, LOG_SUSPECT).to_numpy(zero_copy_only=False)
