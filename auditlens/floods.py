"""A flood of lines of one kind stays a few lines: whoever can make a log grow could fill a disk, or hide in it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from auditlens.faults import said

MOST = 10  # lines of a kind
WINDOW = 10.0  # seconds


class Floods:
    """Lines for the operator; of one kind at most ten in ten seconds, and then how many more there were."""

    def __init__(self, out: Callable[[str], None]) -> None:
        self._out = out
        self._seen: dict[str, tuple[float, int]] = {}  # kind -> when its window began, how many since; of kinds there are few
        self._lock = threading.Lock()

    def __call__(self, text: str, *, kind: str = "") -> None:
        """Say a line; one without a kind always."""
        self.sum_up()
        if kind:
            with self._lock:
                since, count = self._seen.get(kind, (time.monotonic(), 0))
                self._seen[kind] = since, count + 1
            if count >= MOST:
                return
        self._out(text)

    def sum_up(self) -> None:
        """Say what was left out in windows that are over; to be called now and then, for a flood may end."""
        with self._lock:
            over = {kind: count for kind, (since, count) in self._seen.items() if time.monotonic() - since > WINDOW}
            for kind in over:
                del self._seen[kind]
        for kind, count in over.items():
            if count > MOST:
                self._out(f"{count - MOST} more lines like: {kind}")


class Handler(logging.Handler):
    """What libraries log, as such lines; a kind is a logger's message before its arguments, which clients may choose."""

    def __init__(self, floods: Floods, names: Iterable[str]) -> None:
        super().__init__(logging.WARNING)
        self._floods = floods
        for name in names:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, without a traceback's lines."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage().splitlines() or [""]
        self._floods(
            f"{text[0][:300]}{f' ({type(error).__name__}: {said(error)})' if error else ''}",
            kind=f"{record.name}: {str(record.msg)[:100]}",
        )
