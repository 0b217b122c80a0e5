"""A byte stream in pieces of whole lines: bounded memory whatever the size of the file or of a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

from auditlens.importing.sources import decompression_errors
from auditlens.records import Chunk

CHUNK = 64 << 20  # bytes; DuckDB peaks at about 600 MiB for one such chunk of audit events
MAX_LINE = 64 << 20
HEAD = 1 << 20  # what is kept of a longer line: enough for every field before the bodies


class Readable(Protocol):
    """What chunks are read from."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


class ChunkReader:
    """Iterates over the chunks of a stream; afterwards `sha256`, `bytes` and `error` tell about the whole.

    Args:
        stream: decompressed bytes.
        chunk: bytes to aim for per chunk.
        max_line: longest line in bytes that is passed on whole.
    """

    def __init__(self, stream: Readable, *, chunk: int = CHUNK, max_line: int = MAX_LINE) -> None:
        self._stream = stream
        self._chunk = chunk
        self._max_line = max_line
        self._digest = hashlib.sha256()
        self._line, self._offset = 1, 0
        self.bytes = 0
        self.error: str | None = None  # why reading ended early, if it did

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes read."""
        return self._digest.hexdigest()

    def _read(self) -> bytes:
        try:
            data = self._stream.read(self._chunk)
        except decompression_errors() as e:
            self.error = f"the compressed data ends early or is damaged: {e}"
            return b""
        self._digest.update(data)
        self.bytes += len(data)
        return data

    def __iter__(self) -> Iterator[Chunk]:
        rest = b""
        while data := self._read():
            end = data.rfind(b"\n") + 1
            if end:
                yield from self._within_limit(rest + data[:end])
                rest = data[end:]
            else:
                rest += data
                if len(rest) > self._max_line:
                    whole, rest = self._skip_line(rest)
                    yield whole
        if rest:
            yield from self._within_limit(rest)

    def _take(self, data: bytes, length: int | None = None) -> Chunk:
        """The chunk of the next bytes; with `length`, of one line of which `data` is the head."""
        chunk = Chunk(data, self._line, self._offset, length)
        self._line += 1 if length is not None else data.count(b"\n")
        self._offset += len(data) if length is None else length
        return chunk

    def _within_limit(self, data: bytes) -> Iterator[Chunk]:
        start = pos = 0
        while len(data) - pos > self._max_line:
            newline = data.rfind(b"\n", pos, pos + self._max_line + 1)
            if newline >= 0:
                pos = newline + 1
                continue
            if pos > start:
                yield self._take(data[start:pos])
            end = data.find(b"\n", pos) + 1 or len(data)
            yield self._take(data[pos : pos + min(HEAD, self._max_line)], end - pos)
            start = pos = end
        if start < len(data):
            yield self._take(data[start:])

    def _skip_line(self, begun: bytes) -> tuple[Chunk, bytes]:
        """Read on to the end of a line that is too long, keeping only its head; returns it and what follows it."""
        head, length = begun[: min(HEAD, self._max_line)], len(begun)
        while data := self._read():
            end = data.find(b"\n") + 1
            if end:
                return self._take(head, length + end), data[end:]
            length += len(data)
        return self._take(head, length), b""
