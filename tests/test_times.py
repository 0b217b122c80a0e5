"""Times as people write them."""

from __future__ import annotations

import datetime as dt

import pytest

from auditlens.errors import UsageError
from auditlens.times import parse_time

NOW = dt.datetime(2026, 11, 23, 12, 30, tzinfo=dt.UTC)
END = dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW), ("NOW", NOW), ("end", END), ("2h", NOW - dt.timedelta(hours=2)), ("7d", NOW - dt.timedelta(days=7)),
        ("1w2d", NOW - dt.timedelta(days=9)), ("90m", NOW - dt.timedelta(minutes=90)), ("30s", NOW - dt.timedelta(seconds=30)),
        ("2h ago", NOW - dt.timedelta(hours=2)), ("now-2h", NOW - dt.timedelta(hours=2)), ("end-2h", END - dt.timedelta(hours=2)),
        ("end - 1h30m", END - dt.timedelta(minutes=90)), ("2026-11-23", dt.datetime(2026, 11, 23, tzinfo=dt.UTC)),
        ("2026-11-23T14:05:00Z", dt.datetime(2026, 11, 23, 14, 5, tzinfo=dt.UTC)),
        ("2026-11-23T14:05:00.123456Z", dt.datetime(2026, 11, 23, 14, 5, 0, 123456, tzinfo=dt.UTC)),
        ("2026-11-23T14:05:00+02:00", dt.datetime(2026, 11, 23, 12, 5, tzinfo=dt.UTC)),
        ("2026-11-23 14:05", dt.datetime(2026, 11, 23, 14, 5, tzinfo=dt.UTC)), (" 2h ", NOW - dt.timedelta(hours=2)),
    ],
)  # fmt: skip
def test_a_time_is_a_moment_in_utc(text: str, expected: dt.datetime) -> None:
    found = parse_time(text, now=NOW, end=END)
    assert (found, found.utcoffset()) == (expected, dt.timedelta(0))


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2 fortnights", "-2h", "end+2h", "2026-13-01", "25:00", "h", "99999999999999d", "9999999999w", "end-99999999d"],
)
def test_what_is_no_time_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"time .*2h, 7d, end-2h"):
        parse_time(text, now=NOW, end=END)


def test_an_empty_log_has_no_end() -> None:
    for text in ("end", "end-2h"):
        with pytest.raises(UsageError, match="no events"):
            parse_time(text, now=NOW, end=None)
