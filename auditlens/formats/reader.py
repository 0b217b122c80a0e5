"""Every physical line of a source ends up in a record, a reject, a continuation or a blank, and is counted once.

After close(): lines == (records - items) + continuations + blanks. A record's own line is the one it starts on;
records that share a line, or came out of a list document, are items.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditlens.records import Chunk, Counts, Record, Reject

from . import yamldoc
from .legacy import identity
from .line import MAX_DEPTH, Line
from .native import AUDIT_START
from .splitter import State
from .stream import Stream

__all__ = ["Reader"]

_BLANK_LINE = re.compile(rb"\n[ \t\r\x0b\x0c]*(?=\n)")  # begins with a literal: ten times as fast as ^
_HEAD = re.compile(rb"==> (.+) <==\Z")  # of tail, before the lines of each of several files
_MAX_STREAMS = 1024  # interleaved streams that may have something open
_MAX_REQUESTS = 100_000  # two-line auditing: requests remembered for their response line


_RECORD_SEPARATOR = 0x1E  # before each text of a JSON sequence (RFC 7464): journalctl -o json-seq


class Reader:
    """One source, chunk by chunk, as records and rejects; it never raises on any bytes.

    Shapes are recognised line by line and may be mixed. `format="kubectl"` says that log entries are a client's
    debug output (Record.format "kubectl" instead of "klog"); "auto", "audit" and "klog" mean the same. `instance` and
    `cluster` are for records whose wrapper names none.
    """

    def __init__(self, *, format: str = "auto", instance: str | None = None, cluster: str | None = None) -> None:
        self.counts = Counts()
        self.log_format = "kubectl" if format == "kubectl" else "klog"
        self._instance, self._cluster = instance, cluster
        self.disputed: tuple[str, str] | None = None  # two names of a cluster that one line gave
        self._out: list[Record | Reject] = []
        self._root = Stream(self)
        self._streams: dict[str, Stream] = {}
        self._requests: dict[bytes, bytes] = {}

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
        root, counts, out = self._root, self.counts, self._out
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
        found = self._out.copy()
        self._out.clear()
        return found

    def close(self) -> Iterator[Record | Reject]:
        """The source ends: what is open is complete or breaks off."""
        self._root.close()
        while self._streams:
            self._streams.pop(next(iter(self._streams))).close()
        yield from self._out
        self._out.clear()

    # -- physical lines

    def _line(self, line: Line) -> None:
        self.counts.lines += 1
        self.counts.continuations += 1  # until a record claims it
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

    # -- what streams and formats hand back

    def headed(self, text: bytes) -> None:
        """`tail` names the file that the next lines are from: it is their instance, if no wrapper names one."""
        if match := _HEAD.match(text):
            self._instance = match[1].decode("utf-8", "replace")

    @property
    def inherits(self) -> bool:
        """Whether lines have an instance that they do not name."""
        return self._instance is not None

    def route(self, line: Line) -> Stream | None:
        """A line that came out of a wrapper goes to its own stream, one line at a time unless it is JSON."""
        if line.reason is not None:
            self.reject(line, line.reason, line.text)
            return None
        if line.depth > MAX_DEPTH:
            self.reject(line, f"more than {MAX_DEPTH} wrappers around one another", line.text)
            return None
        stream = self._streams.get(line.stream)
        if stream is None:
            if len(self._streams) >= _MAX_STREAMS:
                self._streams.pop(next(iter(self._streams))).close()
            stream = self._streams[line.stream] = Stream(self)
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

    def claim(self, line: Line) -> int | None:
        """Count a record that starts on this line: None when the line is its own, else its number as an item."""
        root, counts = line.root, self.counts
        root.items += 1
        counts.records += 1
        if root.free and not line.listed:
            root.free = False
            counts.continuations -= 1
            return None
        counts.items += 1
        return root.items

    def emit(self, line: Line, text: bytes, format: str = "audit", cut: bool = False) -> None:
        """A record that starts and ends here."""
        self.put(line, text, format, self.claim(line), cut)

    def put(self, line: Line, text: bytes, format: str, item: int | None, cut: bool = False) -> None:
        """A record whose line is claimed already."""
        self.disputed = self.disputed or line.disputed
        self._out.append(
            Record(
                text,
                line.number,
                line.offset,
                item,
                format,
                line.time,
                line.instance or self._instance,
                line.cluster or self._cluster,
                line.level,
                cut,
            )
        )

    def reject(self, line: Line, reason: str, text: bytes) -> None:
        """A record that cannot be read."""
        item = self.claim(line)
        self._out.append(Reject(line.number, line.offset, reason, text, item))

    def legacy(self, line: Line, text: bytes) -> None:
        """A legacy audit line; of two-line auditing, the response line is joined to its request line."""
        audit_id, is_request, is_response = identity(text)
        if is_request:
            if len(self._requests) >= _MAX_REQUESTS:
                del self._requests[next(iter(self._requests))]
            self._requests[audit_id] = text
        elif is_response:
            request = self._requests.pop(audit_id, None)
            if request is not None:
                text = request + b"\n" + text
        self.emit(line, text, cut=line.cut)

    def document(self, found: yamldoc.Found) -> None:
        """A YAML document or list item, or a row of CSV."""
        if found.reason is not None:
            self.reject(found.line, found.reason, found.text)
        else:
            self.route(found.line.inner(found.text))
