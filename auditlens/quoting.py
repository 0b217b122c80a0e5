"""Text becomes a literal of SQL here and nowhere else. What users ask for goes in as parameters."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable


def quoted(value: object, numbered: str = "\0") -> str:
    """Any text as a string: quotes doubled; NUL, which ends a statement for the parser, by its number, and what else is to be.

    >>> quoted("it's")
    "'it''s'"
    >>> quoted("a\\tb", numbered="\\t")
    "('a' || chr(9) || 'b')"
    """
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    if not set(numbered) & set(text):
        return "'" + text.replace("'", "''") + "'"
    pieces = [p for p in re.split(f"([{re.escape(numbered)}])", text) if p]
    made = [f"chr({ord(p)})" if p in numbered else quoted(p, "") for p in pieces]
    return f"({' || '.join(made)})"


def instant(value: dt.datetime) -> str:
    """A time as a timestamptz.

    >>> instant(dt.datetime(2026, 11, 28, tzinfo=dt.UTC))
    "timestamptz '2026-11-28T00:00:00+00:00'"
    """
    return f"timestamptz {quoted(value.isoformat())}"


def listed(values: Iterable[object]) -> str:
    """Literals with commas between them, as `in (...)` and `[...]` take them; null, which nothing equals, for none."""
    return ", ".join(map(quoted, values)) or "null"
