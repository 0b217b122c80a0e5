"""The words every floor shares for what is read: a chunk of lines, the records found in them, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole physical lines of one source, in order.

    `data` ends with a newline except at the end of the source. A line longer than the limit comes alone, with only its
    head in `data` and its true size in `cut_from`; the rest of it was skipped, never held in memory.
    """

    data: bytes | memoryview
    first_line: int  # 1-based number of the first line
    offset: int  # byte offset of `data` in the decompressed source
    cut_from: int | None = None  # bytes of the whole line, when `data` is only its head


@dataclass(slots=True)
class Record:
    """One entry found in a source: the JSON text of one audit event as it stood, or one log entry, and where it came from.

    The wrapper around it (CRI, journald, a cloud envelope) is gone from `text`; what the wrapper knew is in the fields.
    """

    text: bytes
    line: int  # 1-based physical line at which it starts
    offset: int  # byte offset of that line in the decompressed source
    item: int | None = None  # 1-based position inside a list document
    format: str = "audit"  # the table it is for: audit, klog, kubectl
    time: str | None = None  # the wrapper's RFC 3339 time
    instance: str | None = None  # the apiserver or host the wrapper names
    cluster: str | None = None  # the cluster the wrapper names
    level: str | None = None  # the real level, where a collector overwrote the event's own
    cut: bool = False  # the text breaks off (torn line, size limit)


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be read: where, why, and its bytes (redacted before they are stored)."""

    line: int
    offset: int
    reason: str
    text: bytes
    item: int | None = None


@dataclass(slots=True)
class Event:
    """One audit event in the words of audit.k8s.io/v1, whatever version or shape it came in.

    `head` holds the v1 wire fields except the bodies; bodies are the raw JSON text, numbers as they stood.
    """

    head: dict[str, Any]
    request_object: bytes | None = None
    response_object: bytes | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # fields audit.k8s.io/v1 does not have
    partial: bool = False  # cut: only the fields before the cut are known
    time_source: str | None = None  # wrapper, when the event's own times are missing


@dataclass(slots=True)
class Counts:
    """What was read of one source: lines = records + continuations + blanks; items are reported beside them."""

    lines: int = 0
    items: int = 0
    records: int = 0
    continuations: int = 0
    blanks: int = 0
