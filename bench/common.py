"""What the benchmarks share: a large input made from a real capture, and honest clocks."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAPTURES = ROOT.parent / "shared" / "captures"


def capture() -> bytes:
    """The lines of the load run among the captures, else of the sample logs."""
    files = sorted((CAPTURES / "bulk").glob("*.gz"))
    if files:
        return b"".join(gzip.decompress(f.read_bytes()) for f in files)
    logs = sorted((ROOT / "sample-logs" / "kubeadm").glob("audit*"))
    data = b"".join(gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes() for f in logs)
    events = b"".join(line for line in data.splitlines(keepends=True) if line.startswith(b'{"kind":"Event"'))
    if not events:
        sys.exit(f"{ROOT / 'sample-logs'}: no audit lines to make a large input of")
    return events


def vary(source: bytes, copy: int) -> bytes:
    """One copy of a capture as another stretch of the same cluster's life.

    Each copy has its own audit ids and object uids (three digits in front) and its own hour, 24 to a day; everything else,
    and so the mix of requests, is the capture's.
    """
    moved = source.replace(b'"auditID":"', b'"auditID":"%03d' % copy)
    moved = re.sub(rb'"uid":"([0-9a-f]{8}-)', b'"uid":"%03d\\1' % copy, moved)
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:", b"2026-%02d-%02dT%02d:" % (1 + copy // 672, 1 + copy // 24 % 28, copy % 24), moved)


def make_input(path: Path, size: int) -> int:
    """Write about `size` bytes of audit lines; returns the number of events."""
    source, events, copy = capture(), 0, 0
    with path.open("wb") as out:
        while out.tell() < size:
            out.write(vary(source, copy))
            events += source.count(b"\n")
            copy += 1
    return events


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process."""

    seconds: float
    peak_mib: float
    cpu: float  # seconds, user and system


def run(*command: str, env: dict[str, str] | None = None) -> Run:
    """Run a command to its end; wall and CPU seconds, and the peak memory of the largest process in it."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | (env or {}))
    assert process.stderr is not None
    message = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)[:200]} failed:\n{message}")
    return Run(time.monotonic() - started, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def workdir() -> tempfile.TemporaryDirectory[str]:
    """A place for large files; $TMPDIR chooses the disk."""
    return tempfile.TemporaryDirectory(prefix="auditlens-bench-")


def table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows as an aligned table, the first of them the heading."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        print(
            "  "
            + "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        )
