"""Every physical line of a source ends up in a record, a reject, a continuation or a blank, and is counted once.

What is open is the streams' business, the counting the ledger's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditlens.records import Chunk, Counts, Record, Reject

from .ledger import Ledger
from .line import MAX_DEPTH, Line
from .native import AUDIT_START
from .splitter import State
from .stream import Stream

__all__ = ["Reader"]

_BLANK_LINE = re.compile(rb"\n[ \t\r\x0b\x0c]*(?=\n)")  # begins with a literal: ten times as fast as ^
_MAX_STREAMS = 1024  # interleaved streams that may have something open


_RECORD_SEPARATOR = 0x1E  # before each text of a JSON sequence (RFC 7464): journalctl -o json-seq


class Reader:
    """One source, chunk by chunk, as records and rejects; it never raises on any bytes.

    Shapes are recognised line by line and may be mixed. `format="kubectl"` says that log entries are a client's
    debug output (Record.format "kubectl" instead of "klog"); "auto", "audit" and "klog" mean the same. `instance` and
    `cluster` are for records whose wrapper names none.
    """

    def __init__(self, *, format: str = "auto", instance: str | None = None, cluster: str | None = None) -> None:
        self._ledger = Ledger("kubectl" if format == "kubectl" else "klog", instance, cluster)
        self._root = Stream(self._ledger, self._route)
        self._streams: dict[str, Stream] = {}

    @property
    def counts(self) -> Counts:
        """Of what was read so far."""
        return self._ledger.counts

    @property
    def disputed(self) -> tuple[str, str] | None:
        """Two names of a cluster that one line gave."""
        return self._ledger.disputed

    @property
    def idle(self) -> bool:
        """Whether no record is pending over the end of the last chunk."""
        return self._root.idle and all(stream.idle for stream in self._streams.values())

    @property
    def settled(self) -> int | None:
        """The offset up to which nothing can change: where the first open log entry begins; None if anything else is open."""
        streams = (self._root, *self._streams.values())
        if not all(stream.entry_only for stream in streams):
            return None
        return min((stream.entry.line.offset for stream in streams if stream.entry), default=None)

    def feed(self, chunk: Chunk) -> Iterator[Record | Reject]:
        """The records and rejects that are complete with this chunk."""
        data, end = bytes(chunk.data), len(chunk.data)
        number, pos = chunk.first_line, 0
        root, counts, out = self._root, self.counts, self._ledger.out
        mark = 3 if chunk.offset == 0 and data.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark
        if chunk.cut_from is not None:
            self._line(Line(data[mark:].rstrip(b"\r\n"), number, chunk.offset, cut=True))
            pos = end
        while pos < end:
            if root.json.splitter is not None:
                start, pos = pos, self._in_document(data, pos, number, chunk.offset)
                number += data.count(b"\n", start, pos)
            else:
                newline = data.find(b"\n", pos)
                stop = end if newline < 0 else newline
                mark = 1 if data[pos] == _RECORD_SEPARATOR else mark
                text = data[pos + mark : stop - 1 if stop > pos and data[stop - 1] == 0x0D else stop]
                mark = 0
                if not text or text.isspace():
                    counts.lines += 1
                    counts.blanks += 1
                    root.blank()
                else:
                    self._line(Line(text, number, chunk.offset + pos, last=newline < 0))
                pos = stop + 1
                number += 1
            if out:
                yield from out
                out.clear()
        if out:
            yield from out
            out.clear()

    def settle(self) -> list[Record | Reject] | None:
        """What is complete when the next line has a klog header and no wrapper; None when that line would not begin an entry.

        Whoever can tell such lines apart may then read them himself, and come back with the rest.
        """
        if not self._root.settle():
            return None
        found = self._ledger.out.copy()
        self._ledger.out.clear()
        return found

    def close(self) -> Iterator[Record | Reject]:
        """The source ends: what is open is complete or breaks off."""
        self._root.close()
        while self._streams:
            self._streams.pop(next(iter(self._streams))).close()
        yield from self._ledger.out
        self._ledger.out.clear()

    # -- physical lines

    def _line(self, line: Line) -> None:
        self._ledger.begin()
        self._root.push(line)

    def _in_document(self, data: bytes, pos: int, number: int, offset: int) -> int:
        """An open document takes lines as they stand in the chunk; where the rest of the chunk begins."""
        documents, end = self._root.json, len(data)
        state, at = documents.feed_chunk(data, pos, end, number, offset + pos)
        if state is State.OPEN:
            self._count(data, pos, end)
            return end
        start = max(data.rfind(b"\n", pos, at) + 1, pos)
        newline = data.find(b"\n", at)
        stop = end if newline < 0 else newline
        if state is State.BROKEN and not data[start:at].strip():
            broken_at = number + data.count(b"\n", pos, start)
            documents.broke(b"", f"line {broken_at}")
            self._count(data, pos, start)
            return start
        if state is State.BROKEN:
            again = data.find(AUDIT_START, at + 1, stop)
            documents.broke(data[at : stop if again < 0 else again], f"column {at - start + 1}")
            at = stop if again < 0 else again
        self._count(data, pos, min(stop + 1, end))
        rest = data[at:stop].lstrip(b", \t\r").rstrip(b"\r")
        if rest:
            self._root.push(Line(rest, number + data.count(b"\n", pos, start), offset + start, last=newline < 0))
        return min(stop + 1, end)

    def _count(self, data: bytes, start: int, stop: int) -> None:
        """Whole lines that a document took: nothing on them but the document."""
        lines = data.count(b"\n", start, stop)
        if stop > start and data[stop - 1] != 0x0A:
            lines += 1
        first, last = data.find(b"\n", start, stop), data.rfind(b"\n", start, stop) + 1
        blanks = sum(1 for _ in _BLANK_LINE.finditer(data, first, stop)) if first >= 0 else 0
        blanks += first >= 0 and not data[start:first].strip()
        tail = data[max(last, start) : stop]
        blanks += tail != b"" and not tail.strip()
        self.counts.lines += lines
        self.counts.blanks += blanks
        self.counts.continuations += lines - blanks

    # -- what came out of wrappers

    @property
    def inherits(self) -> bool:
        """Whether lines have an instance that they do not name."""
        return self._ledger.instance is not None

    def _route(self, line: Line) -> Stream | None:
        """A line that came out of a wrapper goes to its own stream, one line at a time unless it is JSON."""
        if line.reason is not None:
            self._ledger.reject(line, line.reason, line.text)
            return None
        if line.depth > MAX_DEPTH:
            self._ledger.reject(line, f"more than {MAX_DEPTH} wrappers around one another", line.text)
            return None
        stream = self._streams.get(line.stream)
        if stream is None:
            if len(self._streams) >= _MAX_STREAMS:
                self._streams.pop(next(iter(self._streams))).close()
            stream = self._streams[line.stream] = Stream(self._ledger, self._route)
        if line.partial:
            stream.take(line)
            return stream
        text = line.text = line.text.rstrip(b"\r\n")
        if b"\n" not in text or text[:1] in (b"{", b"["):
            stream.take(line)
            return stream
        for part in text.split(b"\n"):
            piece = line.inner(part.rstrip(b"\r"))
            piece.stream, piece.depth = line.stream, line.depth
            stream.take(piece)
        return stream
