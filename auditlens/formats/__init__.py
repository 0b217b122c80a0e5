"""Sources of any known shape become records, and records become canonical audit events."""

from __future__ import annotations

from .event import read_event
from .reader import Reader

__all__ = ["Reader", "read_event"]
