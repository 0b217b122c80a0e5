"""The formats in one place: adding one is adding a module and its line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from . import (
    aks,
    bigquery,
    cloudwatch,
    cri,
    csvdoc,
    docker,
    generic,
    gke,
    gkelogs,
    glue,
    http,
    journal,
    jsonlog,
    klog,
    legacy,
    loganalytics,
    loki,
    native,
    otlp,
    prefixes,
    syslog,
    yamldoc,
)
from .line import Fields, Line, Sample

__all__ = ["SAMPLES", "Wrapper", "begins_record", "embedded", "is_json", "opened", "wrappers"]

Wrapper = Callable[[Line], Line | None]


class Shape(Protocol):
    """A module for JSON objects that hold records: `open` gives the lines inside, None when it is not its shape."""

    def open(self, fields: Fields, line: Line) -> list[Line] | None: ...


# A strong wrapper cannot be mistaken for text; a weak one is believed when what follows begins a record.
_STRONG, _WEAK = True, False
_BY_DIGIT = ((cri.unwrap, _STRONG), (syslog.iso, _WEAK), (syslog.bsd, _WEAK), (prefixes.timed, _WEAK), (prefixes.host, _WEAK))
_BY_LETTER = ((syslog.bsd, _STRONG), (prefixes.host, _WEAK))
_BY_BRACKET = ((prefixes.pod, _STRONG),)
_BY_ANGLE = ((syslog.priority, _STRONG),)

# JSON objects that hold records, tried in this order.
_SHAPES: tuple[Shape, ...] = (docker, journal, cloudwatch, bigquery, gkelogs, gke, aks, otlp, loki, loganalytics, native)
_LAST_RESORT: Shape = generic  # only for what is no log entry itself

_MODULES = (
    native, legacy, klog, jsonlog, yamldoc, http, cri, docker, prefixes, syslog, journal, cloudwatch, bigquery, gkelogs, gke, aks,
    otlp, loki, loganalytics, csvdoc, generic,
)  # fmt: skip
SAMPLES: dict[str, tuple[Sample, ...]] = {module.__name__.rpartition(".")[2]: module.SAMPLES for module in _MODULES}

_is_json = msgspec.json.Decoder(msgspec.Raw).decode


def wrappers(first: int) -> tuple[tuple[Wrapper, bool], ...]:
    """The line wrappers that can begin with this byte, and whether they are strong."""
    if 0x30 <= first <= 0x39:
        return _BY_DIGIT
    if first == 0x5B:
        return _BY_BRACKET
    if first == 0x3C:
        return _BY_ANGLE
    if 0x41 <= first <= 0x5A or 0x61 <= first <= 0x7A:
        return _BY_LETTER
    return ()


def begins_record(text: bytes) -> bool:
    """Whether a record, or a wrapper that cannot be mistaken, begins with this text."""
    return (
        text.startswith((b'{"', b'[{"'))
        or klog.begins_entry(text)
        or legacy.LEGACY.match(text) is not None
        or any(strong and wrapper(Line(text, 0, 0)) for wrapper, strong in wrappers(text[0] if text else 0))
    )


def opened(fields: Fields, line: Line) -> list[Line] | None:
    """What the object holds, None when no format knows it."""
    if jsonlog.is_plain_entry(fields):
        return None
    for shape in _SHAPES:
        inner = shape.open(fields, line)
        if inner is not None:
            return inner
    return _LAST_RESORT.open(fields, line)


def embedded(text: bytes) -> int:
    """Where the record behind a prefix of no known format begins, 0 when there is none."""
    header = klog.HEADER.search(text, 1)
    starts = (glue.event_in(text), header.start() if header else -1)
    return min((at for at in starts if at > 0), default=0)


def is_json(text: bytes) -> bool:
    """Whether the text is one whole JSON document."""
    try:
        _is_json(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
