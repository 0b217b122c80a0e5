"""Log entries become tables of `klog`, `http`, `trace` and `kubectl` rows: the common ones in bulk, the rest one by one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auditlens.catalogue import UNHANDLED, kind_of, openings
from auditlens.formats import bulk
from auditlens.formats.clock import DAY_US, SOURCES, UNKNOWN, Clock, clues, named_time
from auditlens.formats.durations import duration_ms
from auditlens.formats.entry import moment_us, parse
from auditlens.importing.logrows import AUDIT_ID_KEYS, SUSPECT, Origin, RowMaker, client_of
from auditlens.records import Record
from auditlens.redact import Redactor
from auditlens.tables import TABLES

__all__ = ["LOG_TABLES", "Entries", "LogParser", "LogRows", "as_entries", "few"]

LOG_TABLES = ("klog", "http", "trace", "kubectl")

_TIMES = {"latency": "latency_ms", "apf_additionalLatency": "apf_additional_latency_ms", "apf_execution_time": "apf_execution_ms",
          "apf_init_latency": "apf_init_latency_ms", "watchlist_init_latency": "watchlist_init_latency_ms"}  # fmt: skip
_TEXTS = {"verb": "verb", "URI": "uri", "userAgent": "user_agent", "srcIP": "source_ip", "audit-ID": "audit_id",
          "contentType": "content_type", "apf_pl": "apf_pl", "apf_fs": "apf_fs", "addedInfo": "added_info",
          "statusStack": "status_stack"}  # fmt: skip
_COUNTS = {"resp": "code", "apf_iseats": "apf_iseats", "apf_fseats": "apf_fseats"}
_HTTP_KEYS = frozenset({*_TIMES, *_TEXTS, *_COUNTS, "hijacked"})
_SMALL = 20_000  # rows
_LOCAL = ("go", "capnslog")  # their times have no zone
_UNITS = ((b"ms", 1.0), ("µs".encode(), 1e-3), (b"ns", 1e-6), (b"s", 1e3))


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


def schema(name: str) -> pa.Schema:
    """The columns a table is stored with, and `cluster` and `day` in front."""
    table = TABLES[name]
    stored = table.arrow_schema()
    return pa.schema([("cluster", pa.string()), ("day", pa.int32()), *(stored.field(c.name) for c in table.stored())])


def few(tables: Sequence[pa.Table], name: str) -> list[pa.Table]:
    """The same rows in few tables: small ones are put together, large ones keep the dictionaries of their columns."""
    small = [t for t in tables if t.num_rows < _SMALL]
    large = [t for t in tables if t.num_rows >= _SMALL]
    return large + ([pa.concat_tables([t.cast(schema(name)) for t in small])] if small else [])


class LogParser:
    """The log entries of one source; calls must come in the order of its lines."""

    def __init__(
        self, *, source: str, import_id: str, instance: str, cluster: str, redactor: Redactor, latest: float | None
    ) -> None:
        self._shared = {"source": source, "import_id": import_id}
        self._instance, self._cluster = instance, cluster
        self._maker = RowMaker(redactor)
        now = round((latest or time.time()) * 1e6)
        named = named_time(source)
        self._clock = Clock(now, named, "name" if named is not None else "mtime")
        self._dated = False

    def learn(self, data: bytes | memoryview) -> None:
        """Look for dates in the text before its entries are read."""
        if not self._dated:
            anchor, source, zone = clues(bytes(data))
            if anchor is not None and source is not None:
                self._clock.learn(anchor, source, zone)
                self._dated = True

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
            found = bulk.read(part.data, part.starts, part.ends, part.several | suspect, _EXACT)
            day[first + found.numbers], clock[first + found.numbers] = found.day, found.clock_us
            for n in found.rest.tolist():
                text = part.data[part.starts[n] : part.ends[n]]
                entry = parse(text)
                # an escape could stand for any letter
                rest.append((first + n, part, n, entry, not suspect[n] and b"\\" not in text))
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
        """Rows of `klog` and `http` of the entries that were read together."""
        n = read.numbers
        if not len(n):
            return
        fields, loggers, audit_ids = _pairs(read)
        moment = pa.array(moments[n], pa.timestamp("us", tz="UTC"), mask=moments[n] == UNKNOWN)
        day = pa.array((moments[n] // DAY_US).astype(np.int32), mask=moments[n] == UNKNOWN)
        shared: dict[str, Any] = {
            "cluster": _named(entries.cluster, n, self._cluster), "day": day, "time": moment,
            "instance": _named(entries.instance, n, self._instance),
            "line": entries.line[n], "item": pa.array([entries.item[i] for i in n.tolist()], pa.int64()) if entries.item else None,
            **{name: _named(None, n, value) for name, value in self._shared.items()},
        }  # fmt: skip
        columns = shared | {
            "time_source": pa.DictionaryArray.from_arrays(sources[n], list(SOURCES)),
            "severity": pa.DictionaryArray.from_arrays(np.searchsorted(_SEVERITIES, read.severity).astype(np.int8), ["E", "F", "I", "W"]),
            "pid": np.array([p[0] for p in read.places], dtype=np.int64)[read.place],
            "file": pa.DictionaryArray.from_arrays(read.place.astype(np.int32), [p[1] for p in read.places]),
            "file_line": np.array([p[2] for p in read.places], dtype=np.int64)[read.place],
            "logger": loggers, "message": read.message, "fields": fields, "audit_id": audit_ids,
            "kind": _kinds(read, entries.data, fields), "bytes": entries.ends[n] - entries.starts[n],
        }  # fmt: skip
        out.add("klog", _table("klog", len(n), columns))
        rows = np.flatnonzero(read.http)
        if len(rows):
            index = pa.array(rows)
            own = {k: (v.take(index) if isinstance(v, pa.Array) else None if v is None else v[rows]) for k, v in shared.items()}
            out.add("http", _table("http", len(rows), own | _http(read, rows)))

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


_SEVERITIES = np.frombuffer(b"EFIW", dtype=np.uint8)


def _suspects(entries: Entries) -> Any:
    """Mask of the entries that may hold a credential."""
    if not len(entries.starts):
        return np.zeros(0, dtype=bool)
    offsets = np.append(entries.starts, entries.ends[-1]).astype(np.int64)
    texts = pa.LargeStringArray.from_buffers(len(entries.starts), pa.py_buffer(offsets), pa.py_buffer(entries.data))
    # RE2 goes through them once: three times as fast as looking for eight words
    return pc.match_substring_regex(texts, SUSPECT.pattern).to_numpy(zero_copy_only=False)


def _named(values: Sequence[str | None] | None, n: Any, default: str) -> pa.Array:
    """A column of few values."""
    if values is None:
        return pa.DictionaryArray.from_arrays(np.zeros(len(n), dtype=np.int32), pa.array([default], pa.string()))
    return pa.array([values[i] or default for i in n.tolist()], pa.string()).dictionary_encode()


def _table(name: str, rows: int, columns: Mapping[str, Any]) -> pa.Table:
    arrays, names = [], []
    for column in schema(name):
        value = columns.get(column.name)
        names.append(column.name)
        arrays.append(
            pa.nulls(rows, column.type)
            if value is None
            else value
            if isinstance(value, pa.Array)
            else pa.array(value, column.type)
        )
    return pa.Table.from_arrays(arrays, names=names)


def _pairs(read: bulk.Bulk) -> tuple[pa.Array | None, pa.Array | None, pa.Array | None]:
    """The columns fields, logger and audit_id of `klog`."""
    rows = len(read.numbers)
    if not len(read.pair_row):
        return None, None, None
    key = {k: i for i, k in enumerate(read.keys)}
    logger = _column(read, rows, key.get("logger"))
    audit_id = _column(read, rows, *(key.get(k) for k in reversed(AUDIT_ID_KEYS)))
    kept = ~read.http[read.pair_row]
    if "logger" in key:
        kept &= read.pair_key != key["logger"]
    count = np.bincount(read.pair_row[kept], minlength=rows)
    offsets = np.concatenate(([0], np.cumsum(count))).astype(np.int32)
    names = pa.DictionaryArray.from_arrays(read.pair_key[kept].astype(np.int32), pa.array(read.keys, pa.string())).cast(
        pa.string()
    )
    values = read.values.take(pa.array(read.pair_value[kept])).cast(pa.string())
    return pa.MapArray.from_arrays(pa.array(offsets), names, values, mask=pa.array(count == 0)), logger, audit_id


def _column(read: bulk.Bulk, rows: int, *keys: int | None) -> pa.Array | None:
    """The values of a key, of several the last that an entry has."""
    index = np.full(rows, -1)
    for key in keys:
        if key is not None:
            found = read.pair_key == key
            index[read.pair_row[found]] = read.pair_value[found]
    if (index < 0).all():
        return None
    text = read.values.take(pa.array(index, mask=index < 0))
    return pc.if_else(pc.equal(text, ""), None, text)


def _kinds(read: bulk.Bulk, data: bytes, fields: pa.Array | None) -> pa.Array:
    """The column kind: only entries that begin as a message of the catalogue does are looked at one by one."""
    at = read.start + read.quoted
    words = np.ndarray((len(data) + 1,), dtype="<u8", buffer=data + b"\0" * 8, strides=(1,))[at]
    maybe = (read.severity != 0x49) & ~read.http
    for size, heads in _HEADS.items():
        maybe |= np.isin(words & np.uint64((1 << 8 * size) - 1), heads)
    maybe &= ~read.http
    kinds = np.where(read.http, 1, 0).astype(np.int32)
    names: dict[str | None, int] = {None: 0, "http": 1}
    rows = np.flatnonzero(maybe)
    messages = read.message.take(pa.array(rows)).dictionary_encode()
    texts = messages.dictionary.to_pylist()
    of_text = np.array([names.setdefault(k, len(names)) for k in map(kind_of, texts)], dtype=np.int32)
    kinds[rows] = of_text[messages.indices.to_numpy()] if len(rows) else 0
    if UNHANDLED in texts and fields is not None:
        for row in rows[messages.indices.to_numpy() == texts.index(UNHANDLED)].tolist():
            kinds[row] = names.setdefault(kind_of(UNHANDLED, dict(fields[row].as_py() or ())), len(names))
    return pa.DictionaryArray.from_arrays(pa.array(kinds, mask=kinds == 0), pa.array([k or "" for k in names], pa.string()))


def _heads(texts: Iterable[str]) -> dict[int, Any]:
    """The first bytes, at most 8, of each text as a number, by how many they are."""
    by_size: dict[int, set[int]] = {}
    for text in texts:
        head = text.encode()[:8]
        by_size.setdefault(len(head), set()).add(int.from_bytes(head, "little"))
    return {size: np.array(sorted(heads), dtype=np.uint64) for size, heads in by_size.items()}


_HEADS = _heads(openings())
# What has a table of its own besides `http`, and old httplog lines, is left to the exact path.
_EXACT = _heads((
    "Trace[", 'Trace "', 'verb="', "Request ", "Response", "curl -", "HTTP Sta", "HTTP Tra", "    ", '"Request', '"Respons',
    '"HTTP Tr', *(f"{m} http" for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")),
))  # fmt: skip


def _http(read: bulk.Bulk, rows: Any) -> dict[str, Any]:
    """The columns of `http` from its lines' fields; `rows` are their rows."""
    key = {k: i for i, k in enumerate(read.keys)}
    place = np.full(len(read.numbers), -1)
    place[rows] = np.arange(len(rows))
    inside = read.http[read.pair_row]
    pair_row, pair_key, pair_value = place[read.pair_row[inside]], read.pair_key[inside], read.pair_value[inside]

    def texts(name: str) -> pa.Array | None:
        if name not in key:
            return None
        index = np.full(len(rows), -1)
        found = pair_key == key[name]
        index[pair_row[found]] = pair_value[found]
        return None if (index < 0).all() else read.values.take(pa.array(index, mask=index < 0))

    out: dict[str, Any] = {column: texts(name) for name, column in _TEXTS.items()}
    for name, column in _COUNTS.items():
        found = texts(name)
        out[column] = None if found is None else pc.cast(found, pa.int64(), safe=False)
    for name, column in _TIMES.items():
        found = texts(name)
        out[column] = None if found is None else _milliseconds(found)
    if out["audit_id"] is not None:
        out["audit_id"] = pc.if_else(pc.equal(out["audit_id"], ""), None, out["audit_id"])
    if out["source_ip"] is not None:
        bare = pc.utf8_trim(pc.replace_substring_regex(out["source_ip"], r":\d+$", ""), "[]")
        out["source_ip"] = pc.if_else(pc.equal(bare, ""), None, bare)
    if out["user_agent"] is not None:
        agents = out["user_agent"] = out["user_agent"].dictionary_encode()
        out["client"] = pa.array([client_of(a) for a in agents.dictionary.to_pylist()], pa.string()).take(agents.indices)
    hijacked = texts("hijacked")
    out["hijacked"] = pa.array(np.zeros(len(rows), bool)) if hijacked is None else pc.fill_null(pc.equal(hijacked, "true"), False)
    others = [k for k in key if k not in _HTTP_KEYS]
    if others and (found := np.isin(pair_key, [key[k] for k in others])).any():
        count = np.bincount(pair_row[found], minlength=len(rows))
        names = pa.array(read.keys, pa.string()).take(pa.array(pair_key[found]))
        values = read.values.take(pa.array(pair_value[found])).cast(pa.string())
        offsets = pa.array(np.concatenate(([0], np.cumsum(count))).astype(np.int32))
        out["more"] = pa.MapArray.from_arrays(offsets, names, values, mask=pa.array(count == 0))
    return out


def _milliseconds(texts: pa.Array) -> pa.Array:
    """Go durations as milliseconds; those of several units (`1m2.5s`) one by one."""
    number = pc.utf8_rtrim(texts, "nsuµmh")
    whole = pc.match_substring_regex(number, r"^\d+(\.\d+)?$")
    single = pc.and_(whole, pc.ends_with(texts, "s"))
    value = pc.cast(pc.if_else(single, number, None), pa.float64())
    unit = pc.case_when(pc.make_struct(*(pc.ends_with(texts, u.decode()) for u, _ in _UNITS)), *(pa.scalar(f) for _, f in _UNITS))
    found = pc.multiply(value, unit)
    if pc.any(pc.and_(pc.invert(single), pc.is_valid(texts))).as_py():
        odd = [duration_ms(t.as_py()) if t.is_valid and not s.as_py() else None for t, s in zip(texts, single, strict=True)]
        found = pc.coalesce(found, pa.array(odd, pa.float64()))
    return found
