"""What append() has returned for is on disk: it survives a kill, a crash and a power cut, whole and in order.

The log is a plain directory: `sink.json` (its name and the next free segment number), `lock`, the segment that is being
written (`NNN.KEY.ID.open`) and those that wait for the drain (`NNN.KEY.ID.seg`); records.py says what is in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from auditlens.sink.cipher import SegmentCipher, Vault
from auditlens.sink.records import (
    FRAME,
    KEY,
    NAME,
    Damage,
    RecordHeader,
    Segment,
    State,
    WalError,
    WalRecord,
    check,
    encode,
    identity,
    read,
    segments,
    state,
    written,
)

__all__ = ["SEGMENT", "Damage", "RecordHeader", "Segment", "Wal", "WalError", "WalRecord", "identity", "read", "segments"]

SEGMENT = 32 << 20  # bytes; one import of such a segment fits the memory promised
_RESERVED = 64  # segment numbers set aside at once: a crash skips them, an fsync for each would stall appends
_IOV = 1000  # parts per writev, below the kernel's 1,024


class Wal:
    """The one writer of a log. Appends of any number of callers share one fdatasync.

    Args:
        directory: made when missing, for its owner only.
        name: what a new log is called; a random part is added, so that no two logs ever share a name.
        segment_bytes: a segment is sealed before it grows beyond this (one larger record has a segment of its own).
        seal_after: seconds after its first record at which a segment is sealed, if `hurry` says that the drain waits.
        say: called with a line of text about what was found or went wrong.
        vault: what encrypts; None writes in clear.

    Raises:
        WalError: another process has it, it cannot be read or written, or waits for another key.
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
        vault: Vault | None = None,
    ) -> None:
        self.directory, self._vault = directory, vault
        self._segment_bytes, self._seal_after, self._hurry, self._say = segment_bytes, seal_after, hurry, say
        self._fd: int | None = None
        self._path, self._key = directory, b""  # of the open segment
        self._cipher: SegmentCipher | None = None
        self._count = 0  # records written to it
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
            if not (directory / "sink.json").exists():
                self._reserve()  # the drain, another process, looks for the log's name at once
        except OSError as e:
            self.unlock()
            raise WalError(f"{e.filename or directory}: {e.strerror}") from e
        except WalError:
            self.unlock()
            raise
        self._thread = threading.Thread(target=self._run, name="wal", daemon=True)
        self._thread.start()

    # -- for callers

    def append(self, header: RecordHeader, body: Sequence[bytes]) -> Future[None]:
        """Add one record; the future is done when it is on disk, and holds WalError when it could not be put there."""
        future: Future[None] = Future()
        with self._wake:
            if self._closing:
                raise WalError(f"{self.directory}: closed")
            self._queue.append(((encode(header), *body), future))
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
            if any(NAME.fullmatch(p.name) for p in self.directory.iterdir()):
                raise WalError(f"{path}: missing, but there are segments; restore it, its name is in the rows' source")
            self.sink = f"{name}-{secrets.token_hex(4)}"
            return self.sink, 1, 1
        known = state(self.directory)
        self.sink = known.sink
        there = [int(found[1]) for p in self.directory.iterdir() if (found := NAME.fullmatch(p.name))]
        number = max([known.next, *(n + 1 for n in there)])  # sink.json may come from a backup
        return self.sink, number, number

    def _reserve(self) -> None:
        """Make the next numbers this process's own, durably."""
        self._limit = self._next + _RESERVED
        draft = self.directory / "sink.json.new"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, encode(State(self.sink, self._limit)))
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.replace(self.directory / "sink.json")
        self._sync_directory()

    def _sync_directory(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _recover(self) -> None:
        """Seal what an earlier process left open, and say what in it is no whole record; the drain makes that a reject."""
        left = [Segment.of(p) for p in sorted(self.directory.glob("*.open")) if NAME.fullmatch(p.name)]
        check([*segments(self.directory), *left], self._vault)
        for segment in left:
            path = segment.path
            for hole in (d for d in segment.records(segment.read(), self._vault) if isinstance(d, Damage)):
                at_end = hole.offset + hole.size == segment.size
                why = "torn before they were acknowledged, or damaged since" if at_end else "damaged"
                self._say(
                    f"{path}: {hole.size} bytes at byte {hole.offset} are no whole record: {why}; they are kept as a reject"
                )
            if segment.size:
                path.rename(path.with_suffix(".seg"))
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
                size += FRAME + sum(map(len, parts))
                if self._size + size > self._segment_bytes and (self._size or taken):
                    break
                taken += 1
            if not taken:
                self._seal()
                continue
            now, queue = queue[:taken], queue[taken:]
            try:
                self._put([parts for parts, _ in now])
            except (OSError, WalError) as e:
                self._abandon(e)
                for _, future in now:
                    future.set_exception(WalError(f"{self.directory}: {e}"))
                continue
            for _, future in now:
                future.set_result(None)

    def _put(self, records: list[tuple[bytes, ...]]) -> None:
        if self._fd is None:
            self._open()
        assert self._fd is not None
        parts: list[bytes | memoryview] = []
        for record in records:
            parts += written(record, self._key, self._cipher, self._count)
            self._count += 1
        size = 0
        for start in range(0, len(parts), _IOV):
            some = parts[start : start + _IOV]
            while some:
                n = os.writev(self._fd, some)
                size += n
                while some and n >= len(some[0]):
                    n -= len(some.pop(0))
                if n:
                    some[0] = memoryview(some[0])[n:]
        os.fdatasync(self._fd)
        self._size += size

    def _open(self) -> None:
        if self._next >= self._limit:
            self._reserve()
        key = secrets.token_bytes(KEY)
        name = f"{key.hex()}.{self._vault.id}" if self._vault else key.hex()
        path = self.directory / f"{self._next:012d}.{name}.open"
        self._next += 1
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._sync_directory()
        except OSError:
            os.close(fd)
            raise
        self._fd, self._path, self._key, self._size, self._first = fd, path, key, 0, time.monotonic()
        self._cipher, self._count = self._vault.cipher(key) if self._vault else None, 0

    def _seal(self) -> None:
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        try:
            if self._size:
                self._path.rename(self._path.with_suffix(".seg"))
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
