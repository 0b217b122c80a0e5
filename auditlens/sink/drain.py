"""Sealed segments go into the lake in the order of their numbers, and are deleted only once they are in it.

Runs as a process of its own, so that neither its memory, its CPU time nor a crash of it touches the acknowledgements.
Says what it does in JSON lines on stdout; ends when its stdin does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens import process
from auditlens.errors import AuditlensError
from auditlens.faults import hook, said
from auditlens.sink import cipher, wal

if TYPE_CHECKING:
    from auditlens.importing.webhook.segment import Sealed, SegmentImporter

_GROUP = 100  # small segments that share a commit: after an outage there are many
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
    parser.add_argument("--parent", type=int, default=os.getppid(), help="process to end with")
    parser.add_argument("--once", action="store_true", help="end when nothing is left")
    args = parser.parse_args(argv)
    hook()
    process.die_with(args.parent)  # so that the next server's drain is alone
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


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class _Drain:
    def __init__(self, args: argparse.Namespace, stop: threading.Event) -> None:
        from auditlens.redact import NO_REDACTION, Redactor

        self._args, self._stop = args, stop
        self._redactor = NO_REDACTION if args.no_redact else Redactor.from_config(args.redact_key)
        self._vault = cipher.vault(not args.no_redact, args.redact_key)
        self._memory = 1  # times the usual; doubled when it was not enough
        self._importer = self._new_importer()
        self._failed: dict[int, int] = {}

    def _new_importer(self) -> SegmentImporter:
        from auditlens.importing.webhook.segment import MEMORY_MB, SegmentImporter
        from auditlens.lake import Lake

        spill = self._args.wal / "spill"
        shutil.rmtree(spill, ignore_errors=True)
        spill.mkdir(mode=0o700)
        return SegmentImporter(
            Lake(self._args.lake), wal.identity(self._args.wal), self._redactor, spill, memory_mb=MEMORY_MB * self._memory
        )

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
            elif not self._import(self._group(waiting)):
                if self._args.once:
                    return
                self._stop.wait(_PAUSE)

    def _group(self, waiting: list[wal.Segment]) -> list[wal.Segment]:
        """The next segments, as many as make one of the usual size; one alone after a failure."""
        if waiting[0].number in self._failed or waiting[0].number == self._args.suspect or self._memory > 1:
            return waiting[:1]
        size, count = 0, 0
        for segment in waiting[:_GROUP]:
            size += segment.size
            if count and size > wal.SEGMENT:
                break
            count += 1
        return waiting[:count]

    def _import(self, group: list[wal.Segment]) -> bool:
        """Import segments and delete them. False when that must be tried again."""
        from auditlens.importing.webhook.segment import may_be_a_body

        started, number = time.monotonic(), group[0].number
        _say(segment=number)
        suspect = self._failed.get(number, 0) >= _TRIES or self._args.suspect == number
        try:
            sealed, received = zip(*map(self._opened, group), strict=True)
            reports = self._importer.run(sealed, suspect=suspect)
            for segment in group:
                segment.path.unlink()
        except Exception as e:  # whatever it is, what was acknowledged stays in the WAL and is tried again
            self._note(number, e, may_be_a_body(e))
            return False
        self._failed.pop(number, None)
        if self._memory > 1:
            self._memory = 1
            self._importer = self._new_importer()
        _say(
            done=group[-1].number, records=sum(r.records for r in reports), rows=sum(sum(r.rows.values()) for r in reports),
            duplicates=sum(r.duplicates for r in reports), rejects=sum(r.rejects for r in reports),
            seconds=round(time.monotonic() - started, 3), lag=round(time.time() - min(received), 3),
        )  # fmt: skip
        return True

    def _opened(self, segment: wal.Segment) -> tuple[Sealed, float]:
        """A segment as it is imported, and when its first body came; its bytes on disk are not held on to."""
        from auditlens.importing.webhook.segment import Sealed

        data = segment.read()
        found = list(segment.records(data, self._vault))
        first = next((e.header.received for e in found if isinstance(e, wal.WalRecord)), time.time())
        return Sealed(segment.number, list(bodies(data, found)), hashlib.sha256(data).hexdigest(), len(data)), first

    def _note(self, number: int, error: Exception, count: bool) -> None:
        """Say what failed, and try it differently the next time."""
        import duckdb

        if isinstance(error, (duckdb.OutOfMemoryException, MemoryError)):
            self._memory *= 2
        elif count:
            self._failed[number] = self._failed.get(number, 0) + 1
        _say(error=f"segment {number}: {type(error).__name__}: {said(error)}")
        self._importer = self._new_importer()  # whatever state the old one is in

    def _fold(self) -> None:
        from auditlens.lake import Lake
        from auditlens.lake.merge_small import Merger, lower_priority

        lower_priority()
        merger = Merger(Lake(self._args.lake))
        while not self._stop.wait(_FOLD):
            try:
                if folded := merger.run():
                    _say(folded=folded)
            except Exception as e:  # the next round tries again; the drain goes on meanwhile
                _say(error=f"fold: {type(e).__name__}: {said(e)}")


def bodies(data: bytes, records: Iterable[wal.WalRecord | wal.Damage]) -> Iterator[Any]:
    """The bodies of a segment's records; damaged stretches as bodies that say so."""
    from auditlens.importing.webhook.eventlist import Body

    view = memoryview(data)
    for record in records:
        if isinstance(record, wal.Damage):
            lost = view[record.offset : record.offset + record.size]
            yield Body(None, lost, record.offset, f"{record.size} bytes of the WAL's segment are torn or damaged")
        else:
            yield Body(record.header, record.body)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the fold's thread and DuckDB's are not waited for: nothing they do needs an end
