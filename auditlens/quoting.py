"""Text becomes a literal of SQL here and nowhere else. What users ask for goes in as parameters."""

from __future__ import annotations

from collections.abc import Iterable


def quoted(value: object) -> str:
    """Any text as a string: quotes doubled; NUL, which ends a statement for the parser, by chr(0).

    >>> quoted("it's")
    "'it''s'"
    """
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else f"({' || chr(0) || '.join(parts)})"


def listed(values: Iterable[object]) -> str:
    """Literals with commas between them, as `in (...)` and `[...]` take them; null, which nothing equals, for none."""
    return ", ".join(map(quoted, values)) or "null"
