"""Chunks of klog text without wrappers, cut into what can be read in bulk and what the reader must see.

Only whole entries whose every line is beyond doubt are read in bulk: a header, then lines that no format begins with.
The reader gets the others with all their lines, so it finds the same entries it would have found alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from auditlens.formats import bulk, glue, klog
from auditlens.records import Chunk

__all__ = ["Region", "regions", "worth_it"]

SLICE = 16 << 20  # bytes read in bulk at once: the arrays about them take three times that
_SAMPLE = 64 << 10


@dataclass(slots=True)
class Region:
    """Neighbouring entries: either all for the bulk reader, or a chunk for the reader (then `chunk` is set)."""

    starts: Any = None
    ends: Any = None
    line: Any = None
    lines: Any = None  # of each entry
    chunk: Chunk | None = None

    def as_chunk(self, whole: Chunk) -> Chunk:
        """The same lines for the reader."""
        start, stop = int(self.starts[0]), int(self.ends[-1]) + 1
        return Chunk(whole.data[start:stop], int(self.line[0]), whole.offset + start)


def worth_it(data: bytes) -> bool:
    """Whether most of the text's lines are klog's own, and all of one file."""
    if data.find(b"\r", 0, _SAMPLE) >= 0 or data.startswith(b"==> ") or b"\n==> " in data:
        return False
    lines = data[:_SAMPLE].split(b"\n")[:-1]
    return sum(_plain(line) for line in lines) * 10 > len(lines) * 8


def _plain(line: bytes) -> bool:
    return klog.HEADER.match(line) is not None or line.startswith((b"\t", b" ", b"Trace[", b"[-]", b"[+]"))


def regions(data: bytes, first_line: int, offset: int) -> Iterator[Region]:
    """The regions of whole lines, in order; together they are all of `data`, which ends with a newline."""
    try:
        data.isascii() or data.decode()
    except UnicodeDecodeError:  # the reader replaces what cannot be read
        yield Region(chunk=Chunk(data, first_line, offset))
        return
    buffer = np.frombuffer(data + b"\0" * 128, dtype=np.uint8)
    ends = bulk.newlines(data)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    header, sure = _headers(data, buffer, starts, ends)
    begins = np.flatnonzero(header)
    odd = ~(header | _continuations(data, buffer, starts, ends))
    odd[_glued(data, buffer, starts, ends, header, sure)] = True
    for hint in glue.HINTS:
        if hint in data:
            odd[np.searchsorted(starts, np.array(bulk.word_positions(data, hint)), side="right") - 1] = True
    # entries: the first line and how many; what precedes the first header is the reader's
    count = np.diff(np.append(begins, len(starts)))
    bad = np.add.reduceat(odd, begins) > 0 if len(begins) else np.zeros(0, dtype=bool)
    bad[-1:] = True  # may go on behind the end of the data
    if len(begins) == 0 or begins[0] > 0:
        stop = int(begins[0]) if len(begins) else len(starts)
        yield Region(chunk=Chunk(data[: int(ends[stop - 1]) + 1], first_line, offset))
    edges = np.flatnonzero(bad[1:] != bad[:-1]) + 1
    for low, high in zip([0, *edges.tolist()], [*edges.tolist(), len(begins)], strict=True):
        if low == high:
            continue
        first, last = int(begins[low]), int(begins[high - 1] + count[high - 1] - 1)
        if bad[low]:
            piece = data[int(starts[first]) : int(ends[last]) + 1]
            yield Region(chunk=Chunk(piece, first_line + first, offset + int(starts[first])))
        else:
            own = begins[low:high]
            yield Region(starts[own], ends[own + count[low:high] - 1], first_line + own, count[low:high])


def _headers(data: bytes, buffer: Any, starts: Any, ends: Any) -> tuple[Any, Any]:
    """Mask of the lines that begin with a header; and where its bracket stands, 0 where that is not known."""
    found = np.isin(buffer[starts], np.frombuffer(b"IWEF", dtype=np.uint8))
    rows = np.flatnonzero(found)
    ok, bracket = bulk.headers(data, starts[rows])
    ok &= bracket < ends[rows]
    bracket[~ok] = 0
    for i in np.flatnonzero(~ok).tolist():  # other widths: rare, or no header at all
        start = int(starts[rows[i]])
        ok[i] = klog.HEADER.match(data, start, int(ends[rows[i]])) is not None
    mask, place = np.zeros(len(starts), dtype=bool), np.zeros(len(starts), dtype=np.int64)
    mask[rows], place[rows] = ok, bracket
    return mask, place


def _continuations(data: bytes, buffer: Any, starts: Any, ends: Any) -> Any:
    """Mask of the lines that can only go on with an entry: indented text, lines of traces, of health checks."""
    first, second = buffer[starts], buffer[starts + 1]
    white = (first == 9) | (first == 32)
    mask = white & (second > 32)
    for i in np.flatnonzero(white & (second <= 32)).tolist():
        mask[i] = bool(data[starts[i] : ends[i]].strip())  # a white-space line is a blank
    words = np.ndarray((len(buffer) - 8,), dtype="<u8", buffer=buffer, strides=(1,))[starts]
    mask |= (words & np.uint64(0xFFFFFFFFFFFF)) == np.uint64(int.from_bytes(b"Trace[", "little"))
    three = words & np.uint64(0xFFFFFF)
    return mask | (three == np.uint64(0x5D2D5B)) | (three == np.uint64(0x5D2B5B))  # [-] and [+]


def _glued(data: bytes, buffer: Any, starts: Any, ends: Any, header: Any, place: Any) -> list[int]:
    """Numbers of lines that hold a header in their middle."""
    near = np.flatnonzero((buffer[1:-1] == 0x5D) & (buffer[2:] == 0x20) & (buffer[:-2] >= 0x30) & (buffer[:-2] <= 0x39)) + 1
    # `:123] `: a colon before the digits
    colon, digits = np.zeros(len(near), dtype=bool), np.ones(len(near), dtype=bool)
    for back in range(2, 12):
        byte = buffer[np.maximum(near - back, 0)]
        colon |= digits & (byte == 0x3A)
        digits &= (byte >= 0x30) & (byte <= 0x39)
    near = near[colon | digits]
    rows = np.searchsorted(starts, near, side="right") - 1
    rows = rows[(near != place[rows]) & (buffer[starts[rows]] != 9)]
    return [i for i in np.unique(rows).tolist() if len(klog.split(data[starts[i] : ends[i]])) > 1]
