"""Go durations (`1m2.5s`, `638.762µs`) are milliseconds here."""

from __future__ import annotations

import re

__all__ = ["MS", "duration_ms"]

# time.Duration.String and ParseDuration; µ is U+00B5 in Go's output, U+03BC in what people type
MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"(-?)((?:{_PART.pattern})+|0)")


def duration_ms(text: str | None) -> float | None:
    """Milliseconds of a Go duration; None when it is none. `1m2.5s` is 62500.0, `0` is 0.0."""
    match = _WHOLE.fullmatch(text) if text else None
    if match is None:
        return None
    total = sum(float(number) * MS[unit] for number, unit in _PART.findall(match[2]))
    return -total if match[1] else total
