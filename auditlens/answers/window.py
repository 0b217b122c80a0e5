"""The time that is asked for: read once from a person's words, applied once to SQL; both ends belong to it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.quoting import instant
from auditlens.times import parse_time

Time = dt.datetime | str | None  # RFC 3339, a date, 2h, 7d, end-2h


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` to `until`; None is open."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def __bool__(self) -> bool:
        return self.since is not None or self.until is not None

    def where(self, column: str = "stage_time") -> tuple[str, dict[str, Any]]:
        """The condition on a column, and its parameters. A bound that is not given is left out: it would keep files open."""
        given = {k: v for k, v in (("since", self.since), ("until", self.until)) if v is not None}
        parts = [f"{column} {'>=' if k == 'since' else '<='} ${k}" for k in given]
        return " and ".join(parts) or "true", given

    def literal(self, column: str = "stage_time") -> str:
        """The same condition for a view, which takes no parameters."""
        where, given = self.where(column)
        for name, value in given.items():
            where = where.replace(f"${name}", instant(value))
        return where


def window(lake: Lake, since: Time = None, until: Time = None) -> Window:
    """The window two words mean.

    Raises:
        UsageError: a word is no time, or the window is backwards.
    """
    low, high = moment(lake, since), moment(lake, until)
    if low and high and low > high:
        raise UsageError(f"from {low:%Y-%m-%dT%H:%M:%SZ} to {high:%Y-%m-%dT%H:%M:%SZ} is backwards: exchange the two times")
    return Window(low, high)


def moment(lake: Lake, at: Time) -> dt.datetime | None:
    """The time a word means, in UTC; None for none. A time without a zone is UTC.

    Raises:
        UsageError: the word is no time.
    """
    if isinstance(at, str):
        return parse_time(at, now=dt.datetime.now(dt.UTC), end=last_time(lake) if "end" in at.lower() else None)
    return at.replace(tzinfo=dt.UTC) if at is not None and at.tzinfo is None else at


def last_time(lake: Lake) -> dt.datetime | None:
    """The last stage time of the whole lake, from its files' statistics."""
    times = [f.max_time for f in lake.snapshot().files("audit") if f.max_time]
    return max(times, default=None)
