"""Times as people write them: RFC 3339, dates, and relative ones such as `2h`, `7d` or `end-2h`."""

from __future__ import annotations

import datetime as dt
import re

from auditlens.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_RELATIVE = re.compile(r"(?:(?P<from>now|end)\s*-\s*)?(?P<parts>(?:\d+[smhdw])+)(?:\s+ago)?", re.IGNORECASE)


def parse_time(text: str, *, now: dt.datetime, end: dt.datetime | None) -> dt.datetime:
    """A moment in UTC.

    `2h` and `now-2h` count back from `now`, `end-2h` and `end` from the end of the log. A date is its midnight UTC; a time
    without zone is UTC.

    Raises:
        UsageError: the text is none of these, or the log has no end because it is empty.
    """
    word = text.strip()
    if word.lower() == "now":
        return now
    if word.lower() == "end":
        return _end(end, text)
    refused = UsageError(f"time {text!r}: use RFC 3339 (2026-11-23T14:05:00Z), a date (2026-11-23), or 2h, 7d, end-2h")
    if relative := _RELATIVE.fullmatch(word):
        start = _end(end, text) if (relative["from"] or "").lower() == "end" else now
        parts = re.findall(r"(\d+)([smhdw])", relative["parts"], re.IGNORECASE)
        try:
            return start - sum((dt.timedelta(**{_UNITS[u.lower()]: int(n)}) for n, u in parts), dt.timedelta())
        except OverflowError:  # longer than the calendar
            raise refused from None
    try:
        moment = dt.datetime.fromisoformat(word)
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise refused from None


def _end(end: dt.datetime | None, text: str) -> dt.datetime:
    if end is None:
        raise UsageError(f"time {text!r}: the lake holds no events, so its log has no end")
    return end
