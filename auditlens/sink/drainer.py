"""The drain's process as the server sees it: kept running, its reports counted, and never believed to be well when it is not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditlens.sink.metrics import Metrics

_CRASHES = 2  # of one segment, then its bodies are tried one by one
_PAUSE = 1.0  # seconds before a crashed drain is started again

# Two arenas and the system's allocator for Arrow: freed memory goes back instead of staying with each thread.
_ENV = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}


class Drainer:
    """Runs `auditlens.sink.drain` and starts it again when it ends."""

    def __init__(self, arguments: list[str], metrics: Metrics, say: Callable[[str], None]) -> None:
        self._arguments, self._metrics, self._say = arguments, metrics, say
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._current = -1  # segment in work
        self._crashes: dict[int, int] = {}
        self.progress = time.monotonic()  # when it last finished a segment
        self._thread = threading.Thread(target=self._run, name="drainer", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process else None

    def stop(self, timeout: float) -> None:
        """Let it finish the segment in work, for `timeout` seconds at most."""
        self._stopping.set()
        process = self._process
        if process is not None:
            if process.stdin:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            command = [sys.executable, "-m", "auditlens.sink.drain", *self._arguments, "--parent", str(os.getpid())]
            if self._crashes.get(self._current, 0) >= _CRASHES:
                command += ["--suspect", str(self._current)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | _ENV) as process:
                self._process = process
                assert process.stdout is not None
                for line in process.stdout:
                    with contextlib.suppress(ValueError):
                        self._report(json.loads(line))
                status = process.wait()
            self._process = None
            if self._stopping.is_set():
                return
            self._crashes[self._current] = self._crashes.get(self._current, 0) + 1
            self._metrics.drain_failures.inc()
            self._say(f"the drain ended with status {status} at segment {self._current}; starting it again")
            self._stopping.wait(_PAUSE)

    def _report(self, report: dict[str, Any]) -> None:
        m = self._metrics
        if "segment" in report:
            self._current = report["segment"]
        elif "done" in report:
            self.progress = time.monotonic()
            self._crashes.pop(report["done"], None)
            m.stored.inc(report["rows"])
            m.duplicate.inc(report["duplicates"])
            m.rejected.inc(report["rejects"])
            m.last_commit.set_to_current_time()
            m.drain_lag.set(report["lag"])
        elif "folded" in report:
            m.folded.inc(report["folded"])
        elif "error" in report:
            m.drain_failures.inc()
            self._say(f"drain: {report['error']}")


def arguments(wal: Path, lake: Path, *, redact: bool, redact_key: Path | None) -> list[str]:
    """The command line of the drain's process."""
    found = ["--wal", str(wal), "--lake", str(lake)]
    if redact_key:
        found += ["--redact-key", str(redact_key)]
    return found if redact else [*found, "--no-redact"]
