"""What was read in bulk, as the columns of `klog` and `httplog`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auditlens.catalogue import UNHANDLED, kind_of, openings, unopened
from auditlens.formats import bulk
from auditlens.formats.durations import duration_ms
from auditlens.importing.klog.rows import AUDIT_ID_KEYS, client_of
from auditlens.tables import TABLES

__all__ = ["EXACT", "filled", "httplog", "kinds", "named", "pairs", "schema"]

_TIMES = {"latency": "latency_ms", "apf_additionalLatency": "apf_additional_latency_ms", "apf_execution_time": "apf_execution_ms",
          "apf_init_latency": "apf_init_latency_ms", "watchlist_init_latency": "watchlist_init_latency_ms"}  # fmt: skip
_TEXTS = {"verb": "verb", "URI": "uri", "userAgent": "user_agent", "srcIP": "source_ip", "audit-ID": "audit_id",
          "contentType": "content_type", "apf_pl": "apf_pl", "apf_fs": "apf_fs", "addedInfo": "added_info",
          "statusStack": "status_stack"}  # fmt: skip
_COUNTS = {"resp": "code", "apf_iseats": "apf_iseats", "apf_fseats": "apf_fseats"}
_HTTP_KEYS = frozenset({*_TIMES, *_TEXTS, *_COUNTS, "hijacked"})
_UNITS = ((b"ms", 1.0), ("µs".encode(), 1e-3), (b"ns", 1e-6), (b"s", 1e3))


def schema(name: str) -> pa.Schema:
    """The columns a table is stored with, and `cluster` and `day` in front."""
    table = TABLES[name]
    stored = table.arrow_schema()
    return pa.schema([("cluster", pa.string()), ("day", pa.int32()), *(stored.field(c.name) for c in table.stored())])


def named(values: Sequence[str | None] | None, n: Any, default: str) -> pa.Array:
    """A column of few values."""
    if values is None:
        return pa.DictionaryArray.from_arrays(np.zeros(len(n), dtype=np.int32), pa.array([default], pa.string()))
    return pa.array([values[i] or default for i in n.tolist()], pa.string()).dictionary_encode()


def filled(name: str, rows: int, columns: Mapping[str, Any]) -> pa.Table:
    """Rows of a table from some of its columns; the others are null."""
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


def pairs(read: bulk.Bulk) -> tuple[pa.Array | None, pa.Array | None, pa.Array | None]:
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


def kinds(read: bulk.Bulk, data: bytes, fields: pa.Array | None) -> pa.Array:
    """The column kind: only entries that may be of the catalogue are looked at one by one."""
    at = read.start + read.quoted
    words = np.ndarray((len(data) + 1,), dtype="<u8", buffer=data + b"\0" * 8, strides=(1,))[at]
    maybe = (read.severity != 0x49) & ~read.http
    for size, heads in _HEADS.items():
        maybe |= np.isin(words & np.uint64((1 << 8 * size) - 1), heads)
    left = np.flatnonzero(~maybe & ~read.http)
    maybe[left] = pc.match_substring_regex(read.message.take(pa.array(left)), unopened()).to_numpy(zero_copy_only=False)
    maybe &= ~read.http
    found = np.where(read.http, 1, 0).astype(np.int32)
    names: dict[str | None, int] = {None: 0, "http": 1}
    rows = np.flatnonzero(maybe)
    messages = read.message.take(pa.array(rows)).dictionary_encode()
    texts = messages.dictionary.to_pylist()
    of_text = np.array([names.setdefault(k, len(names)) for k in map(kind_of, texts)], dtype=np.int32)
    found[rows] = of_text[messages.indices.to_numpy()] if len(rows) else 0
    if UNHANDLED in texts and fields is not None:
        for row in rows[messages.indices.to_numpy() == texts.index(UNHANDLED)].tolist():
            found[row] = names.setdefault(kind_of(UNHANDLED, dict(fields[row].as_py() or ())), len(names))
    return pa.DictionaryArray.from_arrays(pa.array(found, mask=found == 0), pa.array([k or "" for k in names], pa.string()))


def _heads(texts: Iterable[str]) -> dict[int, Any]:
    """The first bytes, at most 8, of each text as a number, by how many they are."""
    by_size: dict[int, set[int]] = {}
    for text in texts:
        head = text.encode()[:8]
        by_size.setdefault(len(head), set()).add(int.from_bytes(head, "little"))
    return {size: np.array(sorted(heads), dtype=np.uint64) for size, heads in by_size.items()}


_HEADS = _heads(openings())
# What has a table of its own besides `httplog`, and old httplog lines, is left to the exact path.
EXACT = _heads((
    "Trace[", 'Trace "', 'verb="', "Request ", "Response", "curl -", "HTTP Sta", "HTTP Tra", "    ", "timeout ", "Timeout ", '"Request', '"Respons',
    '"HTTP Tr', *(f"{m} http" for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")),
))  # fmt: skip


def httplog(read: bulk.Bulk, rows: Any) -> dict[str, Any]:
    """The columns of `httplog` from its lines' fields; `rows` are their rows."""
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
