"""Paths become sources: directories, globs, rotated sets in time order, compressed or not, and standard input."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import glob
import gzip
import io
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO

from auditlens.errors import AuditlensError, LakeError, UsageError
from auditlens.faults import said
from auditlens.lake.files import sha256_of

# lumberjack's name for a rotated file: NAME-2006-01-02T15-04-05.000EXT, .gz behind it once compressed
_ROTATED = re.compile(r"^(?P<stem>.+)-(?P<stamp>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3})(?P<ext>\.[^.]*)?$")
_COMPRESSION = re.compile(r"\.(gz|zst|bz2|xz)$")

STDIN = "-"


class Unreadable(AuditlensError):
    """One source that cannot be read; the others can."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. `name` is the evidence's source: the path as the user gave it, or `-`; `error` why it cannot be read.

    Bytes of a path that are no UTF-8 are escaped in the name.
    """

    path: Path | None
    name: str
    error: str | None = None

    @property
    def size(self) -> int | None:
        """Bytes as stored; None for standard input and pipes."""
        if self.path is None or self.error:
            return None
        try:
            stat = self.path.stat()
        except OSError:
            return 0  # gone: reading it will say so
        return stat.st_size if S_ISREG(stat.st_mode) else None

    @property
    def mtime(self) -> float | None:
        """When it was last written, in seconds since 1970; None for standard input."""
        with self._readable():
            return self.path.stat().st_mtime if self.path is not None else None

    def sha256(self) -> tuple[str, int]:
        """Digest and number of the bytes as stored."""
        assert self.path is not None
        with self._readable():
            return sha256_of(self.path)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """What goes wrong with the file inside is Unreadable."""
        if self.error:
            raise Unreadable(self.error)
        try:
            yield
        except (OSError, LakeError) as e:  # that of the lake's own files says which file, which the report does
            cause = e.__cause__ if isinstance(e, LakeError) else e
            raise Unreadable(f"cannot be read: {getattr(cause, 'strerror', None) or said(e)}") from e

    @property
    def instance(self) -> str:
        """The file set it belongs to: the path without rotation stamp and compression."""
        plain = _COMPRESSION.sub("", self.name)
        rotated = _ROTATED.match(plain)
        return f"{rotated['stem']}{rotated['ext'] or ''}" if rotated else plain

    @property
    def directory(self) -> str | None:
        """What its name is relative to: where this process runs; None for a name that needs none."""
        return None if self.name == STDIN or Path(self.name).is_absolute() else str(Path.cwd())

    @property
    def compressed(self) -> bool:
        """Whether the content is stored as something else, such as compressed; told by its first bytes, not by the name."""
        if self.path is None:
            return False
        with self._readable(), self.path.open("rb") as f:
            return _codec(f.read(6)) is not None

    def pieces(self, limit: int | None = None) -> Iterator[bytes]:
        """The decompressed text in pieces of whole lines, for a look at it; damage ends it."""
        rest, buffer = b"", bytearray(1 << 20)
        with self.open(limit) as stream, contextlib.suppress(*decompression_errors()):
            while size := stream.readinto(memoryview(buffer)):
                end = buffer.rfind(b"\n", 0, size) + 1
                if end:
                    yield rest + buffer[:end]
                rest = (b"" if end else rest[-len(buffer) :]) + buffer[end:size]
        yield rest

    def open(self, limit: int | None = None) -> Stream:
        """The decompressed bytes; at most `limit` bytes as stored, so that a file that grows is read as it was hashed."""
        with self._readable():
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
    """UTF-16, which PowerShell makes of what is redirected to a file and Excel of a table, as UTF-8."""

    def __init__(self, file: io.BufferedReader, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
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
    if encoding := _utf16(magic):
        return lambda f: _Utf16(f, encoding)
    return None


def _utf16(magic: bytes) -> str | None:
    """The encoding of UTF-16, by its mark; without one by the zeros of three ASCII characters, which no other text begins with."""
    if magic[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if len(magic) == 6:
        for encoding, zeros, letters in (("utf-16-le", magic[1::2], magic[::2]), ("utf-16-be", magic[::2], magic[1::2])):
            if not any(zeros) and all(c == 9 or 32 <= c < 127 for c in letters):
                return encoding
    return None


def decompression_errors() -> tuple[type[Exception], ...]:
    """What a damaged or unfinished compressed file raises while it is read."""
    errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError, ValueError)
    if "zstandard" in sys.modules:
        errors += (sys.modules["zstandard"].ZstdError,)
    return errors


def given(paths: str | Path | Iterable[str | Path]) -> list[str]:
    """The paths that were asked for: one, or several."""
    return [str(paths)] if isinstance(paths, (str, Path)) else [str(path) for path in paths]


def find_sources(paths: str | Path | Iterable[str | Path]) -> list[SourceFile]:
    """The files behind paths, globs, directories and `-`, each once; a rotated set comes oldest first, the live file last.

    What turns up in a directory or by a glob and cannot be read is there with the reason. Raises UsageError for a path
    that names nothing.
    """
    found: dict[str, SourceFile] = {}
    for text in given(paths):
        if text == STDIN:
            found[text] = SourceFile(None, STDIN)
            continue
        for path, error in _expand(text):
            found.setdefault(os.path.realpath(path), SourceFile(path, _shown(path), error))
    return sorted(found.values(), key=_order)


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


_Found = tuple[Path, str | None]  # and why it cannot be read


def _expand(text: str) -> Iterator[_Found]:
    path = Path(text)
    if path.is_dir():
        found = sorted((p, error) for p, error in _walk(path) if not _beside(p, path))
        if not found:
            raise UsageError(f"{text}: the directory holds no log files")
        yield from _without_twins(found)
    elif path.exists():
        yield path, None
    else:
        matches = sorted(Path(m) for m in glob.glob(text, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not matches:
            raise UsageError(f"{text}: no such file or directory")
        for match in matches:
            if match.is_dir():
                yield from _expand(str(match))
            else:
                yield match, None


def _walk(root: Path) -> Iterator[_Found]:
    """The files of a directory and those below it; links to directories come last and are followed, but not round."""
    ways, links, seen = [root], list[Path](), set[tuple[int, int]]()
    while ways or links:
        folder = ways.pop() if ways else links.pop()
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in seen:  # a link to what was read already
                if os.path.realpath(folder.parent).startswith(os.path.realpath(folder)):
                    yield folder, "a link to a directory that it lies in"
                continue
            seen.add((stat.st_dev, stat.st_ino))
            inside = sorted(folder.iterdir(), reverse=True)
        except OSError as e:
            yield folder, f"the directory cannot be read: {e.strerror}"
            continue
        for path in inside:
            try:
                mode = path.stat().st_mode
            except OSError as e:  # a link that leads nowhere
                yield path, f"cannot be read: {e.strerror}"
                continue
            if S_ISDIR(mode):
                (links if path.is_symlink() else ways).append(path)
            elif S_ISREG(mode):
                yield path, None


def _beside(path: Path, root: Path) -> bool:
    """Hidden files and READMEs lie beside logs; named themselves they are read like any other."""
    return path.suffix.lower() == ".md" or any(part.startswith(".") for part in path.relative_to(root).parts)


def _without_twins(found: list[_Found]) -> list[_Found]:
    """While lumberjack compresses, X and X.gz both exist for a moment; X is the whole one."""
    names = {str(path) for path, _ in found}
    return [
        (path, error)
        for path, error in found
        if not (_ROTATED.match(_COMPRESSION.sub("", path.name)) and path.suffix == ".gz" and str(path.with_suffix("")) in names)
    ]


def _order(source: SourceFile) -> tuple[str, bool, str]:
    plain = _COMPRESSION.sub("", source.name)
    rotated = _ROTATED.match(plain)
    return source.instance, rotated is None, rotated["stamp"] if rotated else plain
