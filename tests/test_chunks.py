"""A stream comes in pieces of whole lines, each with its place, and no line of any length is held whole over the limit."""

from __future__ import annotations

import hashlib
import io

import pytest
from conftest import physical_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlens.importing.files.chunks import ChunkReader
from auditlens.records import Chunk

LINES = st.lists(st.one_of(st.just(b""), st.binary(max_size=40), st.binary(min_size=50, max_size=400)), max_size=20)


class Trickle(io.RawIOBase):
    """Hands out a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step, self._at = data, step, 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + min(self._step, len(buffer))]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def chunks(data: bytes, step: int = 1 << 20, **sizes: int) -> tuple[list[Chunk], ChunkReader]:
    reader = ChunkReader(Trickle(data, step), **sizes)
    return [Chunk(bytes(c.data), c.first_line, c.offset, c.cut_from) for c in reader], reader


@settings(max_examples=300, deadline=None)
@given(LINES, st.booleans(), st.integers(1, 300), st.integers(1, 90))
def test_chunks_are_the_stream_in_whole_lines_with_their_places(lines: list[bytes], ends: bool, chunk: int, step: int) -> None:
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    found, reader = chunks(data, step, chunk=chunk)
    assert b"".join(bytes(c.data) for c in found) == data
    assert (reader.bytes, reader.sha256, reader.error) == (len(data), hashlib.sha256(data).hexdigest(), None)
    for c in found:
        assert c.cut_from is None
        assert c.offset == 0 or data[c.offset - 1 : c.offset] == b"\n"
        assert data[c.offset :].startswith(bytes(c.data))
        assert c.first_line == 1 + data.count(b"\n", 0, c.offset)
        assert c.data
    assert all(bytes(c.data).endswith(b"\n") for c in found[:-1])


def test_a_buffer_is_filled_again_when_and_only_when_nobody_looks_into_it() -> None:
    data = b"".join(b"%099d\n" % n for n in range(80_000))
    held = list(ChunkReader(io.BytesIO(data), chunk=1 << 20))
    assert b"".join(bytes(c.data) for c in held) == data
    buffers = []
    for n, c in enumerate(ChunkReader(io.BytesIO(data), chunk=1 << 20)):
        assert bytes(c.data) == bytes(held[n].data)
        buffers.append(id(c.data.obj))  # type: ignore[union-attr]
        del c
    assert len(buffers) == 8 and len(set(buffers)) <= 3


@settings(max_examples=300, deadline=None)
@given(LINES, st.booleans(), st.integers(1, 300), st.integers(1, 90), st.integers(1, 120))
def test_a_line_over_the_limit_comes_alone_cut_and_the_others_as_they_are(
    lines: list[bytes], ends: bool, chunk: int, step: int, limit: int
) -> None:
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    found, reader = chunks(data, step, chunk=chunk, max_line=limit)
    assert (reader.bytes, reader.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    seen, at = 0, 0
    for c in found:
        assert (c.first_line, c.offset) == (seen + 1, at)
        whole = data[at : at + (c.cut_from or len(c.data))]
        assert whole.startswith(bytes(c.data))
        if c.cut_from is None:
            assert all(len(ln) <= limit for ln in whole.split(b"\n"))
            seen += physical_lines(whole)
        else:
            assert len(whole) > limit
            assert physical_lines(whole) == 1
            assert len(c.data) <= limit
            seen += 1
        at += len(whole)
    assert at == len(data)
    assert seen == physical_lines(data)


def test_what_is_known_is_not_hashed_again() -> None:
    reader = ChunkReader(io.BytesIO(b"a\n"), sha256="known")
    assert [bytes(c.data) for c in reader] == [b"a\n"]
    assert reader.sha256 == "known"


@pytest.mark.parametrize("good", [0, 3, 1000])
def test_a_stream_that_breaks_gives_what_it_gave_and_says_why(good: int) -> None:
    class Broken(Trickle):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            n = super().readinto(buffer)
            if not n:
                raise EOFError("no end of stream")
            return n

    reader = ChunkReader(Broken(b"x\n" * good, 7))
    assert b"".join(bytes(c.data) for c in reader) == b"x\n" * good
    assert reader.error is not None
    assert "no end of stream" in reader.error


@pytest.mark.parametrize("size", [1, 700, 3 << 20])
def test_what_is_kept_of_a_small_file_is_no_larger_than_it(size: int) -> None:
    """A thousand small files wait for their commit together: each in a buffer for a large one was a gigabyte."""
    data = (b"x" * 99 + b"\n") * (size // 100) + b"y" * (size % 100)
    held = [c.data.obj for c in ChunkReader(Trickle(data, 1 << 20)) if isinstance(c.data, memoryview)]
    assert sum(buffer.__alloc__() for buffer in {id(b): b for b in held}.values()) <= 2 * len(data) + 100
