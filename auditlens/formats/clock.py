"""Year and zone for klog's `MMDD hh:mm:ss`, from what is known around the text; formats 5.1 of klog's header has neither.

Sources in order: the wrapper's time of the same line, a date that the log itself holds (trace heads, other loggers'
lines, the file's head), the file's name, and at last the file's mtime as the latest possible moment.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re

from .entry import moment_us

__all__ = ["DAY_US", "Clock", "clues", "named_time"]

DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_QUARTER_US = 900_000_000
_SKEW_US = DAY_US  # a file's mtime or a server's clock may be off by that

# PROGRAM.HOST.USER.log.SEVERITY.yyyymmdd-hhmmss.PID (glog), NAME-2006-01-02T15-04-05.000EXT (lumberjack),
# 0.log.20240501-100000 (kubelet)
_NAMED = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[T-](\d\d)-?(\d\d)-?(\d\d)(?!\d)")
_CREATED = re.compile(rb"Log file created at: (\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d)")
_TRACE = re.compile(rb"^[IWEF]\d{4} \d[^\n]*\((\d\d)-([A-Z][a-z]{2})-(\d{4}) \d\d:\d\d:\d\d\.\d+\) \(total time", re.MULTILINE)
_TRACE_ZONED = re.compile(
    rb"^[IWEF]\d{4} \d[^\n]*\(started: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.\d]* ([+-]\d{4}) ", re.MULTILINE
)
_OTHER = re.compile(
    rb'^(?:(\d{4})/(\d\d)/(\d\d) \d\d:\d\d:\d\d |(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d:\d\d[.\d]*Z AUDIT: |'
    rb'\{"level":"[a-z]+","ts":"(\d{4})-(\d\d)-(\d\d)T)', re.MULTILINE)  # fmt: skip
_STAMP = re.compile(rb"^[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6})", re.MULTILINE)
_MONTHS = {m: i for i, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


def named_time(name: str) -> int | None:
    """Microseconds since 1970 of the stamp in a log file's name."""
    match = _NAMED.search(name.rpartition("/")[2])
    return moment_us("{}-{}-{}T{}:{}:{}".format(*match.groups())) if match else None


def clues(data: bytes) -> tuple[int | None, str | None, int | None]:
    """A moment that log text dates itself by (microseconds since 1970), where it is from, and the zone (microseconds east).

    The moment is good to a day: it tells the year. The zone is known only from old trace heads, which name it.
    """
    if match := _TRACE_ZONED.search(data):
        zone = int(match[2]) // 100 * _HOUR_US + int(match[2][:1] + match[2][-2:]) * 60_000_000
        return moment_us(match[1].decode()), "text", zone
    if match := _CREATED.search(data):
        return moment_us(b"%b-%b-%bT%b".__mod__(match.groups()).decode()), "created", None
    if match := _TRACE.search(data):
        return moment_us(f"{int(match[3])}-{_MONTHS.get(match[2], 1):02}-{int(match[1]):02}T12:00:00"), "text", None
    if match := _OTHER.search(data):
        year, month, day = (g.decode() for g in match.groups() if g)
        return moment_us(f"{year}-{month}-{day}T12:00:00"), "text", None
    return None, None, None


class Clock:
    """Dates for one stream of entries, in order. `latest` is a moment none of them is after (an mtime), `anchor` one near them.

    With an anchor a stamp takes the year that brings it nearest, and becomes the anchor itself: so a log may run over
    New Year, or several. With `latest` alone it takes the last year that is not after it. Both in microseconds since 1970.
    """

    def __init__(self, latest: int, anchor: int | None = None, source: str = "mtime", zone: int = 0) -> None:
        self._latest, self._anchor, self.source, self.zone = latest, anchor, source, zone

    def learn(self, anchor: int, source: str, zone: int | None = None) -> None:
        """Take a dated clue; an anchor from before stays, it has followed the entries."""
        if self._anchor is None:
            self._anchor, self.source = anchor, source
        self.zone = zone if zone is not None else self.zone

    def midnight(self, month: int, day: int) -> int | None:
        """Microseconds since 1970 of the start of that day, in the stamp's own zone taken for UTC; None for no such day."""
        reference = self._latest + _SKEW_US if self._anchor is None else self._anchor
        year = _year_of(reference)
        days = [d for y in range(year - 8, year + 2) if (d := _day(y, month, day)) is not None]
        if not days:
            return None
        if self._anchor is None:
            before = [d for d in days if d <= reference]
            return max(before, default=days[0])
        self._anchor = min(days, key=lambda d: abs(d - reference))
        return self._anchor

    def beside(self, wrapper_us: int, month: int, day: int, clock_us: int) -> int | None:
        """The moment of a stamp whose wrapper has the time; the zone is what lies between them in whole quarters of an hour."""
        year = _year_of(wrapper_us)
        stamps = [d + clock_us for y in (year - 1, year, year + 1) if (d := _day(y, month, day)) is not None]
        if not stamps:
            return None
        local = min(stamps, key=lambda s: abs(s - wrapper_us))
        zone = round((local - wrapper_us) / _QUARTER_US) * _QUARTER_US
        return local - zone if abs(zone) <= 14 * _HOUR_US else local


def _year_of(moment: int) -> int:
    return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=moment)).year


def _day(year: int, month: int, day: int) -> int | None:
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and 1 < year < 9999):
        return None
    return (dt.date(year, month, day) - dt.date(1970, 1, 1)).days * DAY_US
