"""A byte stream in pieces of whole lines: bounded memory whatever the size of the file or of a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

from auditlens.faults import said
from auditlens.importing.sources import decompression_errors
from auditlens.records import Chunk

CHUNK = 64 << 20  # bytes; DuckDB peaks at about 600 MiB for one such chunk of audit events
MAX_LINE = 64 << 20
_FIRST = 1 << 20  # a buffer of CHUNK bytes takes 20 ms to make: most of the time that a small file needs
_KEPT = 4  # buffers: one is filled, one waits, one becomes rows, and one holds the beginning of the next line
HEAD = 1 << 20  # what is kept of a longer line: enough for every field before the bodies
FINGERPRINT = 4096  # bytes of the first line


class Readable(Protocol):
    """What chunks are read from."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


def fingerprint(head: bytes | memoryview) -> str | None:
    """What a file is known by: a hash of its first line, of which FINGERPRINT bytes are enough; None while it is not whole."""
    head = bytes(head[:FINGERPRINT])
    end = head.find(b"\n") + 1
    if not end and len(head) < FINGERPRINT:
        return None
    return hashlib.sha256(head[: end or FINGERPRINT]).hexdigest()[:32]


class _Buffers:
    """Buffers that are filled again once nobody looks into them: to make one, page by page, costs as much as to fill it."""

    def __init__(self) -> None:
        self._made: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """One of at least this size."""
        for buffer in self._made:
            if len(buffer) >= size and _free(buffer):
                return buffer
        buffer = bytearray(size + size // 64)  # what is carried over from the last one has not always the same length
        if size >= _FIRST:
            self._made = [*self._made[1 - _KEPT :], buffer]
        return buffer


def _free(buffer: bytearray) -> bool:
    """Whether nobody looks into a buffer: Python refuses to resize one that somebody does."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True


class ChunkReader:
    """Iterates over the chunks of a stream; afterwards `sha256`, `bytes`, `fingerprint` and `error` tell about the whole.

    A chunk is a view of the buffer it was read into: nothing is copied but the line that a buffer ends in. When no view is left
    the buffer is filled again.

    Args:
        stream: decompressed bytes.
        chunk: bytes to aim for per chunk.
        max_line: longest line in bytes that is passed on whole.
        sha256: digest of all bytes, if the caller knows it already.
    """

    def __init__(self, stream: Readable, *, chunk: int = CHUNK, max_line: int = MAX_LINE, sha256: str | None = None) -> None:
        self._stream = stream
        self._known = sha256
        self._chunk = chunk
        self._next = min(_FIRST, chunk)
        self._ended = False
        self._buffers = _Buffers()
        self._max_line = max_line
        self._digest = hashlib.sha256()
        self._line, self._offset = 1, 0
        self.bytes = 0
        self.fingerprint: str | None = None
        self.error: str | None = None  # why reading ended early, if it did

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes read."""
        return self._known or self._digest.hexdigest()

    def _read(self, begun: bytes | memoryview) -> tuple[bytearray, int]:
        """A buffer that starts with what is `begun`, and how much of it is filled; no more than that at the end."""
        size = len(begun) + (0 if self._ended else self._next)
        self._next = self._chunk
        buffer, filled = self._buffers.take(size), len(begun)
        with memoryview(buffer) as view:
            view[:filled] = begun
            while filled < size:
                try:
                    read = self._stream.readinto(view[filled:size])
                except decompression_errors() as e:
                    self.error, read = f"the compressed data ends early or is damaged: {said(e)}", 0
                if not read:
                    self._ended = True
                    break
                filled += read
            if not self.bytes:
                self.fingerprint = fingerprint(view[:filled])
            if self._known is None:
                self._digest.update(view[len(begun) : filled])
        self.bytes += filled - len(begun)
        if filled < size:  # the end
            del buffer[filled:]  # who keeps a small file's lines keeps their buffer
        return buffer, filled

    def __iter__(self) -> Iterator[Chunk]:
        rest: bytes | memoryview = b""
        while True:
            buffer, filled = self._read(rest)
            if filled == len(rest):
                break
            end = buffer.rfind(b"\n", 0, filled) + 1
            view = memoryview(buffer)
            if end:
                yield from self._within_limit(buffer, end)
            rest = view[end:filled]
            if len(rest) > self._max_line:
                skipped, rest = self._skip_line(rest)
                yield skipped
        if len(rest):
            yield from self._within_limit(bytearray(rest), len(rest))

    def _take(self, data: memoryview, lines: int, length: int | None = None) -> Chunk:
        """The chunk of the next bytes; with `length`, of one line of which `data` is the head."""
        chunk = Chunk(data, self._line, self._offset, length)
        self._line += lines
        self._offset += len(data) if length is None else length
        return chunk

    def _within_limit(self, buffer: bytearray, end: int) -> Iterator[Chunk]:
        """The whole lines of a buffer; a line over the limit comes alone, cut."""
        view = memoryview(buffer)
        start = pos = 0
        while end - pos > self._max_line:
            newline = buffer.rfind(b"\n", pos, pos + self._max_line + 1)
            if newline >= 0:
                pos = newline + 1
                continue
            if pos > start:
                yield self._take(view[start:pos], buffer.count(b"\n", start, pos))
            after = buffer.find(b"\n", pos, end) + 1 or end
            yield self._take(view[pos : pos + min(HEAD, self._max_line)], 1, after - pos)
            start = pos = after
        if start < end:
            yield self._take(view[start:end], buffer.count(b"\n", start, end))

    def _skip_line(self, begun: memoryview) -> tuple[Chunk, memoryview]:
        """Read on to the end of a line that is too long, keeping only its head; returns it and what follows it."""
        head, length = begun[: min(HEAD, self._max_line)], len(begun)
        while True:
            buffer, filled = self._read(b"")
            if not filled:
                return self._take(head, 1, length), memoryview(b"")
            end = buffer.find(b"\n", 0, filled) + 1
            if end:
                return self._take(head, 1, length + end), memoryview(buffer)[end:filled]
            length += filled
