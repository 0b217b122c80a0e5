"""Many klog entries at once: the common shapes of their text as Arrow arrays, without a Python object per entry.

Common is a header in klog's own widths and a message that is free text, of one line or several, or of one line
`"message" key="text" key=1`. Of all others only their numbers are returned; `entry.parse` reads those. What is read here
reads the same there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .values import unquote

__all__ = ["Bulk", "headers", "newlines", "read", "slices", "word_positions"]

Ints = Any  # numpy integer arrays; numpy's own generics say less than this name

_PREFIX = 30  # `I1123 04:36:33.557903   16168 ` is that long: severity, day, time, thread padded to 7
_BLOCK = 1 << 20
_PLACE = 72  # bytes behind it in which `file:line]` ends

_QUOTE, _BACKSLASH, _SPACE, _SLASH = 34, 92, 32, 47
_KEY_OF_PLACE = re.compile(r" *(\d+) ([^:\]\s]+):(\d+)")
# what stands between quoted values: whole `key=1` pairs, then the key of the next one
_PIECE = re.compile(r'((?: [^\s="]+=[^\s="<\[{(][^\s="]*)*)(?: ([^\s="]+)=)?')
_PAIR = re.compile(r" ([^=]+)=(\S+)")
_HTTP = int.from_bytes(b"HTTP", "little")


@dataclass(slots=True)
class Bulk:
    """Columns of the entries `numbers`; `rest` are the numbers of the others. All arrays are as long as `numbers`.

    `pairs` are keys and values of structured fields: `row` and `key` index numbers and `keys`.
    """

    numbers: Ints
    rest: Ints
    severity: Ints  # ASCII codes
    day: Ints  # month * 100 + day
    clock_us: Ints
    place: Ints  # index into places
    places: list[tuple[int, str, int]] = field(default_factory=list)  # pid, file, line
    message: pa.Array = None
    start: Ints = None  # of the message, in the buffer
    quoted: Ints = None  # the message is structured
    http: Ints = None  # the message is "HTTP"
    pair_row: Ints = None
    pair_key: Ints = None
    keys: list[str] = field(default_factory=list)
    pair_value: Ints = None  # index into values
    values: pa.Array = None


def _words(data: bytes, size: int) -> Any:
    """The buffer as overlapping little-endian words: words[i] is the bytes from i."""
    kind = {4: "<u4", 8: "<u8"}[size]
    return np.ndarray((len(data) - size + 1,), dtype=kind, buffer=data, strides=(1,))


def _digits(words: Any, shift: int) -> Any:
    return ((words >> np.uint64(8 * shift)) & np.uint64(0xFF)) - np.uint64(48)


def word_positions(data: bytes, word: bytes) -> list[int]:
    """Where a word stands; for rare ones faster than comparing arrays."""
    found: list[int] = []
    at = data.find(word)
    while at >= 0:
        found.append(at)
        at = data.find(word, at + 1)
    return found


def read(
    data: bytes, starts: Ints, ends: Ints, odd: Ints, heads: Mapping[int, Ints] | None = None, several: Ints | None = None
) -> Bulk:
    """Read the entries data[starts[i]:ends[i]], in order and not overlapping, all UTF-8; those of mask `several` have more lines.

    Those of mask `odd` are left to `rest`, and those whose message begins with one of `heads`: first bytes as numbers, by
    how many they are.
    """
    padded = data + b"\0" * (_PREFIX + _PLACE + 16)
    buffer = np.frombuffer(padded, dtype=np.uint8)
    ok, severity, day, clock = _headers(padded, buffer, starts, ~odd)
    close = _place_ends(padded, starts)
    ok &= (close > 0) & (close + 1 < ends) & (buffer[close + 1] == _SPACE)
    start = close + 2
    quoted = buffer[start] == _QUOTE
    if several is not None:
        ok &= ~(several & quoted)
    words = _words(padded, 8)[np.where(ok, start, 0)]
    for size, found in (heads or {}).items():
        ok &= ~np.isin(words & np.uint64((1 << 8 * size) - 1), found)
    for at in range(3, 9):  # `GET /x: (1.2ms) 200`: httplog to 1.17
        ok &= quoted | (buffer[start + at] != _SPACE) | (buffer[start + at + 1] != _SLASH)
    text = np.flatnonzero(ok & quoted)
    fields = _Fields(padded, buffer, start[text], ends[text]) if len(text) else None
    if fields is not None:
        ok[text[~fields.good]] = False
    numbers = np.flatnonzero(ok)
    places, codes = _places(padded, starts[numbers] + 21, close[numbers])
    bad = np.array([p is None for p in places], dtype=bool)
    if bad.any():
        ok[numbers[bad[codes]]] = False
        kept = ~bad[codes]
        numbers, codes = numbers[kept], codes[kept]
    out = Bulk(numbers, np.flatnonzero(~ok), severity[numbers], day[numbers], clock[numbers], codes)
    out.places = [p or (0, "", 0) for p in places]
    out.start, out.quoted = start[numbers], quoted[numbers]
    begins, stops = out.start.copy(), ends[numbers].copy()
    out.http = np.zeros(len(numbers), dtype=bool)
    if fields is not None:
        where = np.full(len(starts), -1)
        where[numbers] = np.arange(len(numbers))
        row_of = where[text]  # of each structured entry, -1 when it was given up
        live = row_of >= 0
        begins[row_of[live]], stops[row_of[live]] = fields.begin[live], fields.stop[live]
        out.http[row_of[live]] = fields.http[live]
        kept = live[fields.pair_row]
        out.pair_row = row_of[fields.pair_row[kept]]
        out.pair_key, out.pair_value = fields.pair_key[kept], fields.pair_value[kept]
        out.keys, out.values = fields.keys, fields.values
    else:
        out.pair_row = out.pair_key = out.pair_value = np.zeros(0, dtype=np.int64)
        out.values = pa.array([], pa.large_string())
    out.message = slices(padded, begins, stops)
    return out


def newlines(data: bytes) -> Ints:
    """Where the newlines stand."""
    octets = np.frombuffer(data, dtype=np.uint8)
    # in blocks that stay in the cache: three times as fast as one comparison of 64 MB
    found = [np.flatnonzero(octets[i : i + _BLOCK] == 10) + i for i in range(0, len(octets), _BLOCK)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def headers(data: bytes, starts: Ints) -> tuple[Ints, Ints]:
    """Whether a header of the usual widths begins at each of these places, and where its `]` stands (0: too far away)."""
    padded = data + b"\0" * (_PREFIX + _PLACE + 16)
    ok, *_ = _headers(padded, np.frombuffer(padded, dtype=np.uint8), starts, np.ones(len(starts), dtype=bool))
    close = _place_ends(padded, starts)
    return ok & (close > 0), close


def slices(data: bytes, begins: Ints, stops: Ints) -> pa.Array:
    """The pieces data[begins[i]:stops[i]] as strings; they must be in order and not overlap."""
    offsets = np.empty(2 * len(begins) + 1, dtype=np.int64)
    offsets[0:-1:2], offsets[1::2] = begins, stops
    offsets[-1] = stops[-1] if len(stops) else 0
    if len(begins) == 0:
        return pa.array([], pa.large_string())
    every = pa.LargeStringArray.from_buffers(2 * len(begins), pa.py_buffer(offsets), pa.py_buffer(data))
    return every.take(pa.array(np.arange(0, 2 * len(begins), 2)))


def _headers(padded: bytes, buffer: Any, starts: Ints, ok: Any) -> tuple[Any, Any, Any, Any]:
    """Severity, day and time of each header, and whether it is one: `I1123 04:36:33.557903 `."""
    words = _words(padded, 8)
    head, hour, micro = words[starts], words[starts + 6], words[starts + 14]
    severity = buffer[starts]
    ok = ok & np.isin(severity, np.frombuffer(b"IWEF", dtype=np.uint8))
    for at, byte in ((5, _SPACE), (8, 58), (11, 58), (14, 46), (21, _SPACE), (29, _SPACE)):
        ok = ok & (buffer[starts + at] == byte)
    values: list[Any] = []
    for word, shifts in ((head, (1, 2, 3, 4)), (hour, (0, 1, 3, 4, 6, 7)), (micro, (1, 2, 3, 4, 5, 6))):
        for shift in shifts:
            digit = _digits(word, shift)
            ok = ok & (digit < 10)
            values.append(digit.astype(np.int64))
    m1, m0, d1, d0, h1, h0, i1, i0, s1, s0 = values[:10]
    day = (m1 * 10 + m0) * 100 + d1 * 10 + d0
    seconds = ((h1 * 10 + h0) * 60 + i1 * 10 + i0) * 60 + s1 * 10 + s0
    clock = seconds
    for digit in values[10:]:
        clock = clock * 10 + digit
    return ok, severity, day, clock


def _place_ends(padded: bytes, starts: Ints) -> Ints:
    """Where the `]` of each header stands, 0 when it is too far away."""
    words = _words(padded, 8)
    found = np.zeros(len(starts), dtype=np.int64)
    left = np.arange(len(starts))
    at = starts + _PREFIX
    ones, highs, brackets = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080), np.uint64(0x5D5D5D5D5D5D5D5D)
    for step in range(0, _PLACE, 8):
        word = words[at[left] + step] ^ brackets
        hit = (word - ones) & ~word & highs  # the lowest set bit marks the first zero byte
        has = hit != 0
        low = hit[has] & (~hit[has] + np.uint64(1))
        found[left[has]] = at[left[has]] + step + (np.log2(low.astype(np.float64)).astype(np.int64) >> 3)
        left = left[~has]
        if not len(left):
            break
    return found


def _places(padded: bytes, begins: Ints, stops: Ints) -> tuple[list[tuple[int, str, int] | None], Ints]:
    """The different `pid file:line` texts, read, and which one each entry has."""
    encoded = slices(padded, begins, stops).dictionary_encode()
    found: list[tuple[int, str, int] | None] = []
    for text in encoded.dictionary.to_pylist():
        match = _KEY_OF_PLACE.fullmatch(text)
        whole = match is not None and len(match[1]) < 19 and len(match[3]) < 19
        found.append((int(match[1]), match[2].rpartition("/")[2], int(match[3])) if whole and match else None)
    return found, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


class _Fields:
    """Structured text, read by its quotes: they come in pairs, and what stands between two pairs is one of few pieces."""

    def __init__(self, padded: bytes, buffer: Any, starts: Ints, ends: Ints) -> None:
        quotes = np.flatnonzero(buffer == _QUOTE)
        slashes = np.flatnonzero(buffer == _BACKSLASH) if b"\\" in padded else np.zeros(0, dtype=np.int64)
        if len(slashes):
            quotes = quotes[~_escaped(buffer, quotes, slashes)]
        low: Ints = np.searchsorted(quotes, starts)
        high: Ints = np.searchsorted(quotes, ends)
        count: Ints = high - low
        self.good = (count % 2 == 0) & (count > 0)
        rows = np.flatnonzero(self.good)
        count = count[rows]
        total = int(count.sum())
        # the quotes of the rows that are left, one row after the other
        first: Ints = np.cumsum(count) - count
        marks = quotes[np.repeat(low[rows] - first, count) + np.arange(total)]
        opened, closed = marks[0::2], marks[1::2]
        n = len(opened)
        row = np.repeat(np.arange(len(rows)), count // 2)
        last = np.zeros(n, dtype=bool)
        last[np.cumsum(count // 2) - 1] = True
        until = np.empty(n, dtype=np.int64)
        until[:-1] = opened[1:]
        until[last] = ends[rows]
        self.begin, self.stop = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
        self.begin[rows], self.stop[rows] = opened[first // 2] + 1, closed[first // 2]
        if len(slashes):  # a message with escapes: rare
            self.good[rows] &= np.searchsorted(slashes, self.begin[rows]) == np.searchsorted(slashes, self.stop[rows])
        heads = _words(padded, 4)[self.begin]
        self.http = (heads == _HTTP) & (self.stop - self.begin == 4)

        pieces = slices(padded, closed + 1, until).dictionary_encode()
        piece = pieces.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        known = _Pieces(pieces.dictionary.to_pylist())
        bad = known.bad[piece] | (known.opens[piece] == last)
        good = np.ones(len(rows), dtype=bool)
        good[row[bad]] = False
        self.good[rows[~good]] = False

        many = known.count[piece]
        pairs = int(many.sum())
        of_piece = np.repeat(np.arange(n), many)
        index = np.repeat(known.first[piece] - (np.cumsum(many) - many), many) + np.arange(pairs)
        own = known.value[index]
        self.pair_key = known.key[index]
        self.pair_value = np.where(own < 0, of_piece + 1, own + n)
        self.pair_row = rows[row[of_piece]]
        kept = self.good[self.pair_row]
        self.pair_row, self.pair_key, self.pair_value = self.pair_row[kept], self.pair_key[kept], self.pair_value[kept]
        self.keys = known.keys
        self._without_twice()
        self._texts(padded, opened, closed, slashes, known.values)

    def _texts(self, padded: bytes, opened: Ints, closed: Ints, slashes: Ints, bare: list[str]) -> None:
        """The values: what stands between quotes, escapes undone, then the bare ones."""
        texts = slices(padded, opened + 1, closed)
        if len(slashes):
            inside = np.searchsorted(slashes, opened) != np.searchsorted(slashes, closed)
            plain = [unquote(texts[i].as_py()) for i in np.flatnonzero(inside).tolist()]
            texts = pc.replace_with_mask(texts, pa.array(inside), pa.array(plain, pa.large_string()))
        self.values = pa.concat_arrays([texts, pa.array(bare, pa.large_string())])

    def _without_twice(self) -> None:
        """Give up entries in which a key comes twice; of a request's line the last value counts anyway."""
        own = ~self.http[self.pair_row]
        seen = self.pair_row[own] * len(self.keys) + self.pair_key[own]
        different, count = np.unique(seen, return_counts=True)
        if len(different) < len(seen):
            self.good[different[count > 1] // len(self.keys)] = False
            kept = self.good[self.pair_row]
            self.pair_row, self.pair_key, self.pair_value = self.pair_row[kept], self.pair_key[kept], self.pair_value[kept]


def _escaped(buffer: Any, quotes: Ints, slashes: Ints) -> Any:
    """Mask of the quotes behind an odd number of backslashes."""
    runs = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)  # where each run of them starts
    length = np.diff(np.append(runs, len(slashes)))
    odd = slashes[runs + length - 1][length % 2 == 1] + 1
    at = np.searchsorted(quotes, odd)
    at = at[at < len(quotes)]
    mask = np.zeros(len(quotes), dtype=bool)
    mask[at] = np.isin(quotes[at], odd)
    return mask


class _Pieces:
    """The different texts between quoted values, as lists of keys and values laid end to end."""

    def __init__(self, texts: list[str]) -> None:
        keys: dict[str, int] = {}
        values: dict[str, int] = {}
        key: list[int] = []
        value: list[int] = []  # index into values, -1 for the quoted text that follows
        count, bad, opens = [], [], []
        for text in texts:
            match = _PIECE.fullmatch(text)
            found = _PAIR.findall(match[1]) if match else []
            key += [keys.setdefault(k, len(keys)) for k, _ in found]
            value += [values.setdefault(v, len(values)) for _, v in found]
            if match and match[2] is not None:
                key.append(keys.setdefault(match[2], len(keys)))
                value.append(-1)
            bad.append(match is None)
            opens.append(match is not None and match[2] is not None)
            count.append(len(found) + opens[-1])
        self.keys, self.values = list(keys), list(values)
        self.key, self.value = np.array(key, dtype=np.int64), np.array(value, dtype=np.int64)
        self.count = np.array(count, dtype=np.int64)
        self.first = np.cumsum(self.count) - self.count
        self.bad, self.opens = np.array(bad, dtype=bool), np.array(opens, dtype=bool)
