"""No process that a test started outlives the tests, however they end: killed, interrupted, crashed.

Children inherit a marker in their environment. A watchdog, in a session of its own, waits until the process that runs the tests
is gone and kills whatever still carries it: children of any kind, their children, browsers. One place instead of each call.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

MARKER = "AUDITLENS_TEST_RUN"


def start() -> subprocess.Popen[bytes]:
    """Mark this process's children from now on and watch over them; close the watchdog's stdin when the tests are over."""
    without = {k: v for k, v in os.environ.items() if k != MARKER}
    os.environ[MARKER] = uuid.uuid4().hex
    command = [sys.executable, "-S", __file__, str(os.getpid()), os.environ[MARKER]]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=without, start_new_session=True)


def marked(marker: str) -> list[int]:
    """The processes that began with this marker."""
    wanted, found = f"{MARKER}={marker}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def main(parent: int, marker: str) -> None:
    """The watchdog."""
    while os.getppid() == parent and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    for _ in range(100):  # they may be starting others
        there = marked(marker)
        for pid in there:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        if not there:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
