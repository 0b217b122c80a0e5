"""Processes of auditlens' own: they end with the one that started them, and take no more than they are given."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


def die_with(parent: int) -> None:
    """End when the process that started this one does, however it ends (prctl(2), PR_SET_PDEATHSIG; only on Linux)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it was killed before this could be asked for


def limit(*, more_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Limits of the system on this process: memory beyond what it has now, CPU time of all threads, size of a file.

    Memory is RLIMIT_DATA: what can be written to and is not shared. RLIMIT_AS would count address space that allocators
    reserve and never touch.
    """
    import resource

    with contextlib.suppress(OSError):
        now = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        used = next(int(line.split()[1]) << 10 for line in now.splitlines() if line.startswith("VmData:"))
        _lower(resource.RLIMIT_DATA, used + more_bytes)
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, value: int) -> None:
    import resource

    soft, hard = resource.getrlimit(kind)
    known = [n for n in (soft, hard, value) if n != resource.RLIM_INFINITY]
    with contextlib.suppress(ValueError, OSError):  # a system that does not know this limit
        resource.setrlimit(kind, (min(known), hard))


def environment() -> dict[str, str]:
    """What a process of our own needs of this one's environment: where the modules, temporary files and words are; no secrets."""
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {k: os.environ[k] for k in kept if k in os.environ} | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
