"""Sealed segments go into the lake in the order of their numbers, and are deleted only once they are in it.

Runs as a process of its own, so that neither its memory, its CPU time nor a crash of it touches the acknowledgements.
Says what it does in JSON lines on stdout; ends when its stdin does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditlens.errors import AuditlensError
from auditlens.sink import wal

_POLL = 0.05  # seconds between looks for a sealed segment
_FOLD = 10.0  # seconds between folds
_PAUSE = 2.0  # seconds after a failure
_NICE = 4  # half the weight: acknowledging comes first: a burst is written down now and drained after
_TRIES = 3  # failures of a segment before its bodies are tried one by one


def main(argv: list[str] | None = None) -> int:
    """The process: `python -m auditlens.sink.drain --wal DIR --lake DIR`."""
    parser = argparse.ArgumentParser(prog="auditlens.sink.drain")
    parser.add_argument("--wal", type=Path, required=True)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--redact-key", type=Path)
    parser.add_argument("--no-redact", action="store_true")
    parser.add_argument("--suspect", type=int, default=-1, help="segment whose import crashed the process before")
    parser.add_argument("--once", action="store_true", help="end when nothing is left")
    args = parser.parse_args(argv)
    _die_with_parent()
    os.nice(_NICE)
    stop = threading.Event()
    if not args.once:
        threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the parent decides
    try:
        _Drain(args, stop).run()
    except AuditlensError as e:
        _say(error=str(e))
        return 1
    return 0


def _watch_stdin(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _die_with_parent() -> None:
    """A killed server takes its drain along, so that the next server's drain is alone (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class _Drain:
    def __init__(self, args: argparse.Namespace, stop: threading.Event) -> None:
        from auditlens.importing.segment import SegmentImporter
        from auditlens.lake import Lake
        from auditlens.redact import NO_REDACTION, Redactor

        self._args, self._stop = args, stop
        self._redactor = NO_REDACTION if args.no_redact else Redactor.from_config(args.redact_key)
        self._lake = Lake(args.lake)
        self._importer = SegmentImporter(self._lake, wal.identity(args.wal), self._redactor)
        self._failed: dict[int, int] = {}

    def run(self) -> None:
        if not self._args.once:
            threading.Thread(target=self._fold, daemon=True).start()
        _say(ready=True)
        while not self._stop.is_set():
            waiting = wal.segments(self._args.wal)
            if not waiting:
                if self._args.once:
                    return
                self._stop.wait(_POLL)
            elif not self._one(waiting[0]):
                if self._args.once:
                    return
                self._stop.wait(_PAUSE)

    def _one(self, segment: wal.Segment) -> bool:
        """Import one segment and delete it. False when that must be tried again."""
        import duckdb

        started = time.monotonic()
        _say(segment=segment.number)
        tries = self._failed.get(segment.number, 0)
        suspect = tries >= _TRIES or self._args.suspect == segment.number
        try:
            data = segment.path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            report = self._importer.run(segment.number, bodies(data), sha256, len(data), suspect=suspect)
            segment.path.unlink()
            first = next((e.post.received for e in wal.read(data) if isinstance(e, wal.Entry)), time.time())
        except (AuditlensError, OSError, duckdb.Error, ValueError, AssertionError, RuntimeError, MemoryError) as e:
            self._failed[segment.number] = tries + 1
            _say(error=f"segment {segment.number}: {type(e).__name__}: {str(e)[:500]}")
            return False
        self._failed.pop(segment.number, None)
        _say(
            done=segment.number, size=segment.size, records=report.records, rows=sum(report.rows.values()),
            duplicates=report.duplicates, rejects=report.rejects, seconds=round(time.monotonic() - started, 3),
            lag=round(time.time() - first, 3),
        )  # fmt: skip
        return True

    def _fold(self) -> None:
        from auditlens.lake import Lake
        from auditlens.lake.fold import Folder, lower_priority

        lower_priority()
        folder = Folder(Lake(self._args.lake))
        while not self._stop.wait(_FOLD):
            try:
                if folded := folder.run():
                    _say(folded=folded)
            except Exception as e:  # the next round tries again; the drain goes on meanwhile
                _say(error=f"fold: {type(e).__name__}: {str(e)[:500]}")


def bodies(data: bytes) -> Iterator[Any]:
    """The bodies of a segment; damaged stretches as bodies that say so."""
    from auditlens.importing.segment import Body

    view = memoryview(data)
    for found in wal.read(data):
        if isinstance(found, wal.Damage):
            lost = view[found.offset : found.offset + found.size]
            yield Body(None, lost, found.offset, f"{found.size} bytes of the WAL's segment are damaged")
        else:
            yield Body(found.post, found.body)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the fold's thread and DuckDB's are not waited for: nothing they do needs an end
