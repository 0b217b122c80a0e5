"""What append() has returned for is on disk: it survives a kill, a crash and a power cut, whole and in order.

The log is a plain directory: `sink.json` (its name and the next free segment number), `lock`, the segment that is being
written (`NNN.open`) and those that wait for the drain (`NNN.seg`). A segment is a row of records, each framed as

    magic (4 bytes) | length of all that follows the frame | CRC-32 of it | length of the header   (little-endian, 4 bytes each)
    header (JSON: cluster, received, client) | body

so that a torn tail, a damaged record and zeros after a crash are all seen for what they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec

from auditlens.errors import AuditlensError

SEGMENT = 32 << 20  # bytes; one import of such a segment fits the memory promised
_MAGIC = b"\xa7AWL"
_FRAME = struct.Struct("<4sIII")
_NAME = re.compile(r"(\d{12})\.(open|seg)")
_RESERVED = 64  # segment numbers set aside at once: a crash skips them, an fsync for each would stall appends
_IOV = 1000  # parts per writev, below the kernel's 1,024


class WalError(AuditlensError):
    """The log cannot be used: it is held by another process, unreadable, or not writable."""


class Post(msgspec.Struct, frozen=True):
    """The header of one record: where a body came from. `received` is in seconds since the epoch."""

    cluster: str | None
    received: float
    client: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One whole record of a segment."""

    post: Post
    body: memoryview


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no whole record."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed segment, on its way into the lake."""

    path: Path
    number: int
    size: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Post).decode


def read(data: bytes) -> Iterator[Entry | Damage]:
    """The records of a segment in order; what is damaged is passed over to the next whole record, and said."""
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        found = _record(view, at)
        if found:
            entry, at = found
            yield entry
            continue
        start = at
        while True:
            at = data.find(_MAGIC, at + 1)
            if at < 0 or _record(view, at):
                break
        at = end if at < 0 else at
        yield Damage(start, at - start)


def _record(view: memoryview, at: int) -> tuple[Entry, int] | None:
    if len(view) - at < _FRAME.size:
        return None
    magic, length, crc, head = _FRAME.unpack_from(view, at)
    start = at + _FRAME.size
    if magic != _MAGIC or head > length or length > len(view) - start:
        return None
    content = view[start : start + length]
    if zlib.crc32(content) != crc:
        return None
    return Entry(_decode(content[:head]), content[head:]), start + length


def _frame(parts: Sequence[bytes]) -> bytes:
    """What stands before a record of these parts, the first of them its header."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return _FRAME.pack(_MAGIC, sum(map(len, parts)), crc, len(parts[0]))


def segments(directory: Path) -> list[Segment]:
    """The sealed segments of a log, oldest first."""
    out = []
    with os.scandir(directory) as found:
        for entry in found:
            name = _NAME.fullmatch(entry.name)
            if name and name[2] == "seg":
                with contextlib.suppress(FileNotFoundError):  # drained meanwhile
                    out.append(Segment(Path(entry.path), int(name[1]), entry.stat().st_size))
    return sorted(out, key=lambda s: s.number)


def identity(directory: Path) -> str:
    """The name of the log, part of every row's source; raises WalError where there is none."""
    try:
        return str(json.loads((directory / "sink.json").read_text())["sink"])
    except (OSError, ValueError, KeyError) as e:
        raise WalError(f"{directory / 'sink.json'}: cannot be read ({e}); restore it, its name is in the rows' source") from e


class Wal:
    """The one writer of a log. Appends of any number of callers share one fdatasync.

    Args:
        directory: made when missing, for its owner only.
        name: what a new log is called; a random part is added, so that no two logs ever share a name.
        segment_bytes: a segment is sealed before it grows beyond this (one larger record has a segment of its own).
        seal_after: seconds after its first record at which a segment is sealed, if `hurry` says that the drain waits.
        say: called with a line of text about what was found or went wrong.

    Raises:
        WalError: another process has it, or it cannot be read or written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "sink",
        segment_bytes: int = SEGMENT,
        seal_after: float = 1.0,
        hurry: Callable[[], bool] = lambda: True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.directory = directory
        self._segment_bytes, self._seal_after, self._hurry, self._say = segment_bytes, seal_after, hurry, say
        self._fd: int | None = None
        self._path = directory
        self._size = 0  # bytes of whole, synced records in the open segment
        self._first = 0.0  # monotonic time of its first record
        self._queue: list[tuple[tuple[bytes, ...], Future[None]]] = []
        self._wake = threading.Condition()
        self._closing = False
        self._lock = -1
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WalError(f"{directory}: another sink is using this WAL; give each its own --wal directory") from None
            self.sink, self._next, self._limit = self._identify(name)
            self._recover()
        except OSError as e:
            self.unlock()
            raise WalError(f"{e.filename or directory}: {e.strerror}") from e
        except WalError:
            self.unlock()
            raise
        self._thread = threading.Thread(target=self._run, name="wal", daemon=True)
        self._thread.start()

    # -- for callers

    def append(self, post: Post, body: Sequence[bytes]) -> Future[None]:
        """Add one record; the future is done when it is on disk, and holds WalError when it could not be put there."""
        future: Future[None] = Future()
        with self._wake:
            if self._closing:
                raise WalError(f"{self.directory}: closed")
            self._queue.append(((_encode(post), *body), future))
            self._wake.notify()
        return future

    def close(self, *, unlock: bool = True) -> None:
        """Write what waits, seal the open segment, give up the lock."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        if unlock:
            self.unlock()

    # -- start

    def unlock(self) -> None:
        """Let another process have the log."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _identify(self, name: str) -> tuple[str, int, int]:
        """The log's name, the next segment number, and the number up to which numbers are reserved."""
        path = self.directory / "sink.json"
        if not path.exists():
            if any(_NAME.fullmatch(p.name) for p in self.directory.iterdir()):
                raise WalError(f"{path}: missing, but there are segments; restore it, its name is in the rows' source")
            self.sink = f"{name}-{secrets.token_hex(4)}"
            return self.sink, 1, 1
        self.sink = identity(self.directory)
        number = int(json.loads(path.read_text())["next"])
        return self.sink, number, number

    def _reserve(self) -> None:
        """Make the next numbers this process's own, durably."""
        self._limit = self._next + _RESERVED
        draft = self.directory / "sink.json.new"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps({"sink": self.sink, "next": self._limit}).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(draft, self.directory / "sink.json")
        self._sync_directory()

    def _sync_directory(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _recover(self) -> None:
        """Seal what an earlier process left open, cut at its last whole record."""
        for path in sorted(self.directory.glob("*.open")):
            if not _NAME.fullmatch(path.name):
                continue
            data = path.read_bytes()
            last = next((d for d in reversed(list(read(data))) if isinstance(d, Damage)), None)
            if last and last.offset + last.size == len(data):
                self._say(f"{path}: torn tail, {last.size} bytes after byte {last.offset} were never acknowledged; cut")
                with path.open("r+b") as f:
                    f.truncate(last.offset)
                    os.fsync(f.fileno())
                data = data[: last.offset]
            if data:
                os.rename(path, path.with_suffix(".seg"))
            else:
                path.unlink()

    # -- the thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    if self._fd is None:
                        self._wake.wait()
                        continue
                    wait = self._first + self._seal_after - time.monotonic()
                    if wait <= 0:
                        if self._hurry():
                            break
                        wait = 0.05
                    self._wake.wait(wait)
                queue, self._queue = self._queue, []
                done = self._closing and not queue
            if queue:
                self._write(queue)
            aged = self._fd is not None and time.monotonic() - self._first >= self._seal_after
            if done or (aged and self._hurry()):
                self._seal()
            if done:
                return

    def _write(self, queue: list[tuple[tuple[bytes, ...], Future[None]]]) -> None:
        """Write and sync what waits, as much at once as one segment takes."""
        while queue:
            taken, size = 0, 0
            for parts, _ in queue:
                size += _FRAME.size + sum(map(len, parts))
                if self._size + size > self._segment_bytes and (self._size or taken):
                    break
                taken += 1
            if not taken:
                self._seal()
                continue
            now, queue = queue[:taken], queue[taken:]
            try:
                self._put([part for parts, _ in now for part in (_frame(parts), *parts)])
            except (OSError, WalError) as e:
                self._abandon(e)
                for _, future in now:
                    future.set_exception(WalError(f"{self.directory}: {e}"))
                continue
            for _, future in now:
                future.set_result(None)

    def _put(self, parts: list[bytes | memoryview]) -> None:
        if self._fd is None:
            self._open()
        assert self._fd is not None
        written = 0
        for start in range(0, len(parts), _IOV):
            some = parts[start : start + _IOV]
            while some:
                n = os.writev(self._fd, some)
                written += n
                while some and n >= len(some[0]):
                    n -= len(some.pop(0))
                if n:
                    some[0] = memoryview(some[0])[n:]
        os.fdatasync(self._fd)
        self._size += written

    def _open(self) -> None:
        if self._next >= self._limit:
            self._reserve()
        path = self.directory / f"{self._next:012d}.open"
        self._next += 1
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._sync_directory()
        except OSError:
            os.close(fd)
            raise
        self._fd, self._path, self._size, self._first = fd, path, 0, time.monotonic()

    def _seal(self) -> None:
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        try:
            if self._size:
                os.rename(self._path, self._path.with_suffix(".seg"))
            else:
                self._path.unlink(missing_ok=True)
        except OSError as e:  # the next start finds it
            self._say(f"{self._path}: cannot be sealed: {e.strerror}")
        self._size = 0

    def _abandon(self, error: Exception) -> None:
        """After a failed write or sync nothing behind the last good sync is believed: cut there, go on in a new segment."""
        self._say(f"{self._path}: {error}")
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
        self._seal()
