"""Paths become sources: directories, globs, rotated sets in time order, compressed or not, and standard input."""

from __future__ import annotations

import bz2
import codecs
import glob
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from auditlens.errors import UsageError

# lumberjack's name for a rotated file: NAME-2006-01-02T15-04-05.000EXT, .gz behind it once compressed
_ROTATED = re.compile(r"^(?P<stem>.+)-(?P<stamp>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})(?P<ext>\.[^.]*)?$")
_COMPRESSION = re.compile(r"\.(gz|zst|bz2|xz)$")

STDIN = "-"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. `name` is the evidence's source: the path as the user gave it, or `-`."""

    path: Path | None
    name: str

    @property
    def size(self) -> int | None:
        """Bytes as stored; None for standard input and pipes."""
        if self.path is None or not self.path.is_file():
            return None
        return self.path.stat().st_size

    @property
    def instance(self) -> str:
        """The file set it belongs to: the path without rotation stamp and compression."""
        plain = _COMPRESSION.sub("", self.name)
        rotated = _ROTATED.match(plain)
        return f"{rotated['stem']}{rotated['ext'] or ''}" if rotated else plain

    @property
    def compressed(self) -> bool:
        """Whether the content is stored as something else, such as compressed; told by its first bytes, not by the name."""
        if self.path is None:
            return False
        with self.path.open("rb") as f:
            return _codec(f.read(6)) is not None

    def open(self, limit: int | None = None) -> Stream:
        """The decompressed bytes; at most `limit` bytes as stored, so that a file that grows is read as it was hashed."""
        return Stream(sys.stdin.buffer if self.path is None else self.path.open("rb", buffering=0), limit)


class _Stored(io.RawIOBase):
    """The bytes as stored: counted, and cut at a limit."""

    def __init__(self, raw: BinaryIO, limit: int | None) -> None:
        self._raw = raw
        self._limit = limit
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer) if self._limit is None else min(len(buffer), self._limit - self.count)
        read = self._raw.readinto(memoryview(buffer)[:wanted]) or 0  # type: ignore[attr-defined]
        self.count += read
        return read

    def close(self) -> None:
        if not self.closed and self._raw is not sys.stdin.buffer:
            self._raw.close()
        super().close()


class Stream:
    """What is inside a file: gz, zst, bz2, xz and UTF-16 by their first bytes, anything else as it stands. A context manager."""

    def __init__(self, raw: BinaryIO, limit: int | None = None) -> None:
        self._stored = _Stored(raw, limit)
        buffered: io.BufferedReader = io.BufferedReader(self._stored, 1 << 20)
        codec = _codec(buffered.peek(6)[:6])
        self._inside = codec(buffered) if codec else buffered

    def readinto(self, buffer: memoryview) -> int:
        """Read up to the size of the buffer; 0 at the end. Raises one of decompression_errors() on damage."""
        return self._inside.readinto1(buffer)  # not readinto: what it had read before it met the damage would be lost

    @property
    def stored_bytes(self) -> int:
        """Bytes as stored that were read so far."""
        return self._stored.count

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inside.close()
        self._stored.close()


class _Zstd(io.BufferedIOBase):
    """The content of zst frames, one behind another; unlike the library's reader it tells when the last one is not whole."""

    _INPUT = 2048  # bytes at once: what they can grow to is the memory it takes, 64 MiB at worst

    def __init__(self, file: io.BufferedReader) -> None:
        import zstandard

        self._file = file
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._out = memoryview(b"")

    def readinto1(self, buffer: Any) -> int:
        while not self._out:
            data = self._frame.unused_data if self._frame and self._frame.eof else b""
            data = data or self._file.read(self._INPUT)
            if not data and (self._frame is None or self._frame.eof):
                return 0
            if not data:
                raise EOFError("the last frame is not finished")
            if self._frame is None or self._frame.eof:
                self._frame = self._new()
            self._out = memoryview(self._frame.decompress(data))
        size = min(len(buffer), len(self._out))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size


class _Utf16(io.BufferedIOBase):
    """UTF-16 with its mark, which PowerShell makes of what is redirected to a file, as UTF-8."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._out = memoryview(b"")

    def readinto1(self, buffer: Any) -> int:
        while not self._out:
            data = self._file.read1(1 << 16)
            self._out = memoryview(self._decoder.decode(data, not data).encode("utf-8", "replace"))
            if not data:
                break
        size = min(len(buffer), len(self._out))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size


def _codec(magic: bytes) -> Callable[[io.BufferedReader], Any] | None:
    if magic[:2] == b"\x1f\x8b":
        return lambda f: gzip.GzipFile(fileobj=f, mode="rb")
    if magic[:4] == b"\x28\xb5\x2f\xfd":
        return _Zstd
    if magic[:3] == b"BZh":
        return bz2.BZ2File
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile
    if magic[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _Utf16
    return None


def decompression_errors() -> tuple[type[Exception], ...]:
    """What a damaged or unfinished compressed file raises while it is read."""
    errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError, ValueError)
    if "zstandard" in sys.modules:
        errors += (sys.modules["zstandard"].ZstdError,)
    return errors


def find_sources(paths: Iterable[str | Path]) -> list[SourceFile]:
    """The files behind paths, globs, directories and `-`, each once; a rotated set comes oldest first, the live file last.

    Raises UsageError for a path that names nothing.
    """
    found: dict[str, SourceFile] = {}
    for given in paths:
        text = str(given)
        if text == STDIN:
            found[text] = SourceFile(None, STDIN)
            continue
        for path in _expand(text):
            found.setdefault(str(path.resolve()), SourceFile(path, str(path)))
    return sorted(found.values(), key=_order)


def _expand(text: str) -> Iterator[Path]:
    path = Path(text)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not _beside(p, path))
        if not files:
            raise UsageError(f"{text}: the directory holds no log files")
        yield from _without_twins(files)
    elif path.exists():
        yield path
    else:
        matches = sorted(Path(m) for m in glob.glob(text, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not matches:
            raise UsageError(f"{text}: no such file or directory")
        for match in matches:
            if match.is_dir():
                yield from _expand(str(match))
            else:
                yield match


def _beside(path: Path, root: Path) -> bool:
    """Hidden files and READMEs lie beside logs; named themselves they are read like any other."""
    return path.suffix.lower() == ".md" or any(part.startswith(".") for part in path.relative_to(root).parts)


def _without_twins(files: list[Path]) -> list[Path]:
    """While lumberjack compresses, X and X.gz both exist for a moment; X is the whole one."""
    names = {str(f) for f in files}
    return [
        f
        for f in files
        if not (_ROTATED.match(_COMPRESSION.sub("", f.name)) and f.suffix == ".gz" and str(f.with_suffix("")) in names)
    ]


def _order(source: SourceFile) -> tuple[str, bool, str]:
    plain = _COMPRESSION.sub("", source.name)
    rotated = _ROTATED.match(plain)
    return source.instance, rotated is None, rotated["stamp"] if rotated else plain
