"""The native core as Python sees it: found beside the package, asked for its version and tested, then called without the GIL.

Without it everything works, slower. `AUDITLENS_CORE=0` turns it off.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

VERSION = "0.1.0"  # of core/Cargo.toml; raise both when the columns or a signature change
LIBRARY = Path(__file__).resolve().parent.parent / "_core.so"  # made by hatch_build.py
_SOURCES = LIBRARY.parent.parent / "core"  # in a checkout

_EXPORT = 80 + 72  # sizes of ArrowArray and ArrowSchema on a 64-bit machine


class _Piece(ctypes.Structure):
    """Texts as the library takes them: `offsets` are `count + 1`."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("offsets", ctypes.c_void_p), ("count", ctypes.c_size_t),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContainerLines:
    """Records out of container log lines; `start` and `line` count from the chunk's beginning, `lines` is of all."""

    text: pa.LargeStringArray
    time: pa.StringArray
    start: np.ndarray[Any, Any]
    line: np.ndarray[Any, Any]
    lines: int


class Core:
    """What the library does, in Arrow's terms."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._lines = library.auditlens_core_lines
        self._lines.argtypes = (pointer, size, ctypes.c_char_p, size, pointer, size)
        self._lines.restype = ctypes.c_int64
        self._container = library.auditlens_core_container
        self._container.argtypes = (pointer, size, ctypes.c_char_p, size, pointer)
        self._audit = library.auditlens_core_audit
        self._audit.argtypes = (pointer, size, pointer, size, ctypes.c_char_p, size, pointer)
        self._pattern = library.auditlens_core_pattern
        self._pattern.argtypes, self._pattern.restype = (ctypes.c_char_p, size), pointer
        self._find = library.auditlens_core_find
        self._find.argtypes = (pointer, pointer, size, pointer, size)
        self._patterns: dict[str, int | None] = {}

    def lines(self, data: bytes | memoryview, prefix: bytes) -> np.ndarray[Any, Any] | None:
        """Offsets of the lines of a chunk; None unless all begin with the prefix, end as an event does, and are UTF-8."""
        buffer = pa.py_buffer(data)
        room = buffer.size // (len(prefix) + 2)  # pages of it that no line reaches are never touched
        offsets = np.empty(room + 1, dtype=np.int64)
        offsets[0] = 0
        count = self._lines(buffer.address, buffer.size, prefix, len(prefix), offsets.ctypes.data + 8, room)
        return offsets[: count + 1] if count >= 0 else None

    def container(self, data: bytes | memoryview, prefix: bytes) -> ContainerLines | None:
        """The records in a chunk of container log lines (CRI, docker); None unless each is whole, and as lines() wants lines."""
        buffer = pa.py_buffer(data)
        out = ctypes.create_string_buffer(2 * _EXPORT)
        if self._container(buffer.address, buffer.size, prefix, len(prefix), out) != 0:
            return None
        rows, whole = _tables(out, 2)
        ends = np.concatenate((np.zeros(1, dtype=np.int64), rows["end"].to_numpy()))
        text = pa.LargeStringArray.from_buffers(rows.num_rows, pa.py_buffer(ends), whole["text"].buffers()[2])
        return ContainerLines(text, rows["time"], rows["start"].to_numpy(), rows["line"].to_numpy(), whole["lines"][0].as_py())

    def find(self, text: pa.ChunkedArray, pattern: str) -> np.ndarray[Any, Any] | None:
        """A 1 for each text (large strings, none null) that an expression is in, a 0 for the others; None when RE2 is to be asked.

        What is known of an expression is kept: it takes 20 MB of texts until it is fast.
        """
        if pattern not in self._patterns:
            self._patterns[pattern] = self._pattern(pattern.encode(), len(pattern.encode()))
        handle, pieces = self._patterns[pattern], _pieces(text)
        found = np.zeros(len(text), dtype=np.uint8)
        if handle is None or self._find(handle, pieces, len(pieces), found.ctypes.data, len(found)) != 0:
            return None
        return found

    def audit(
        self, text: pa.ChunkedArray, wanted: np.ndarray[Any, Any], resources: Iterable[str]
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, pa.RecordBatch] | None:
        """The plain ones of the wanted events (large strings) as columns: rows (`row` is the number of the text), items of
        lists, owners; None when it cannot be told.

        Events with a body of one of the resources are left out.
        """
        pieces = _pieces(text)
        names = "\0".join(resources).encode()
        out = ctypes.create_string_buffer(3 * _EXPORT)
        of = np.ascontiguousarray(wanted, dtype=np.uint8)
        if self._audit(pieces, len(pieces), of.ctypes.data, len(of), names, len(names), out) != 0:
            return None
        rows, items, owners = _tables(out, 3)
        return rows, items, owners


def _pieces(text: pa.ChunkedArray) -> ctypes.Array[_Piece]:
    """The buffers of large strings, which must be kept as long as these are used."""
    chunks = [chunk for chunk in text.chunks if len(chunk)]
    pieces = (_Piece * len(chunks))()
    for piece, chunk in zip(pieces, chunks, strict=True):
        _, offsets, data = chunk.buffers()
        piece.data, piece.size = (data.address, data.size) if data is not None else (None, 0)
        piece.offsets, piece.count = offsets.address + 8 * chunk.offset, len(chunk)
    return pieces


def _tables(out: ctypes.Array[ctypes.c_char], count: int) -> list[pa.RecordBatch]:
    """What the library put into the room that it was given."""
    at = ctypes.addressof(out)
    return [pa.RecordBatch._import_from_c(at + i * _EXPORT, at + i * _EXPORT + 80) for i in range(count)]


@cache
def core() -> Core | None:
    """The core, None where it is missing, turned off, or not fit for use."""
    return _found()[0]


def why_not() -> str | None:
    """Why there is no core, in a few words; None when there is one."""
    return _found()[1]


def refused() -> str | None:
    """What is wrong with a core that is there and turned on."""
    return why_not() if LIBRARY.exists() and not _off() else None


def _off() -> bool:
    return os.environ.get("AUDITLENS_CORE") == "0"


@cache
def _found() -> tuple[Core | None, str | None]:
    if _off():
        return None, "turned off by AUDITLENS_CORE=0"
    if not LIBRARY.exists():
        return None, "not built, which takes cargo when auditlens is installed"
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.auditlens_core_version.restype = ctypes.c_char_p
        version, _, sources = library.auditlens_core_version().decode().partition("+")
        if version != VERSION:
            return None, f"{LIBRARY} is of version {version}, not {VERSION}"
        if sources != (wanted := _sources(sources)):
            return None, f"{LIBRARY} was built from other sources: {sources}, not {wanted}; install again"
        if library.auditlens_core_self_test() != 0:
            return None, f"{LIBRARY} fails its self-test"
        return Core(library), None
    except (OSError, AttributeError) as e:  # of another platform, or no core at all
        return None, f"{LIBRARY} cannot be used: {e}"


def _sources(built: str) -> str:
    """What core/build.rs says of the sources that stand beside the package; where there are none, what was built is right."""
    paths = [_SOURCES / "Cargo.toml", *sorted((_SOURCES / "src").glob("*.rs"))]
    if len(paths) == 1:
        return built
    crc = 0
    for path in paths:
        crc = zlib.crc32(path.read_bytes(), crc)
    return f"{crc:08x}"
