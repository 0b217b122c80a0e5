"""Parts of a body, whatever stands where they should be: platforms put words in place of what was too large, and clients send anything."""

from __future__ import annotations

from typing import Any


def part(body: Any, *names: str) -> dict[str, Any]:
    """The object below some names, such as a spec; {} where anything else stands."""
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else {}


def items(body: Any, *names: str) -> list[dict[str, Any]]:
    """The objects of the list below some names; others in it are left out."""
    *above, last = names
    found = part(body, *above).get(last)
    return [x for x in found if isinstance(x, dict)] if isinstance(found, list) else []


def text(body: Any, *names: str) -> str | None:
    """The text below some names; None where anything else stands."""
    *above, last = names
    found = part(body, *above).get(last)
    return found if isinstance(found, str) else None
