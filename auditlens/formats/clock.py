"""Year and zone for klog's `MMDD hh:mm:ss`, from what is known around the text; formats 5.1 of klog's header has neither.

Sources in order: the wrapper's time of the same line, a date that the log itself holds (trace heads, other loggers'
lines, the file's head), the file's name, and at last the file's mtime as the latest possible moment.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import Any

import numpy as np

from .entry import moment_us

__all__ = ["DAY_US", "SOURCES", "UNKNOWN", "Clock", "clues", "named_time"]

SOURCES = ("entry", "wrapper", "text", "created", "name", "mtime")
UNKNOWN = -(1 << 63)

DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_QUARTER_US = 900_000_000
_LEAP_DAY = 229
_SKEW_US = DAY_US  # a file's mtime or a server's clock may be off by that

# PROGRAM.HOST.USER.log.SEVERITY.yyyymmdd-hhmmss.PID (glog), NAME-2006-01-02T15-04-05.000EXT (lumberjack),
# 0.log.20240501-100000 (kubelet)
_NAMED = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[T-](\d\d)-?(\d\d)-?(\d\d)(?!\d)")
_DATE = rb"(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)"
_CLOCK = rb"(?P<clock>\d\d:\d\d:\d\d)"
# texts that date the log around them, the surest first; the word is what is looked for
_CLUES = tuple(
    (word, re.compile(pattern))
    for word, pattern in (
        (b"(started", rb"\(started:? " + _DATE + b" " + _CLOCK + rb"[.\d]* (?P<zone>[+-]\d{4}) "),
        (b"Log file created at: ", b"Log file created at: " + _DATE + b" " + _CLOCK),
        (b" (total time: ", rb"\((?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d{4}) " + _CLOCK + rb"[.\d]*\) \(total time: "),
        (b'{"level":"', rb'\{"level":"[a-z]+","ts":"' + _DATE + b"T" + _CLOCK),
        (b" AUDIT: id=", _DATE + b"T" + _CLOCK + rb"[.\d]*Z AUDIT: id="),
        (b" httputil: ", _DATE + b" " + _CLOCK + b" httputil: "),
        (b" http: ", _DATE + b" " + _CLOCK + b" http: "),
    )
)
_TRIES = 20  # of one word
_MONTHS = {m: i for i, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


def named_time(name: str) -> int | None:
    """Microseconds since 1970 of the stamp in a log file's name."""
    match = _NAMED.search(name.rpartition("/")[2])
    return moment_us("{}-{}-{}T{}:{}:{}".format(*match.groups())) if match else None


def clues(data: bytes) -> tuple[int | None, str | None, int | None]:
    """A moment that log text dates itself by (microseconds since 1970), where it is from, and the zone (microseconds east).

    The moment is good to a day: it tells the year. The zone is known only from old trace heads, which name it.
    """
    for word, pattern in _CLUES:
        at, tries = data.find(word), 0
        while at >= 0 and tries < _TRIES:
            start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            match = pattern.search(data, start, len(data) if end < 0 else end)
            if match and (moment := moment_us(_moment(match).decode())) is not None:
                zone = match["zone"] if "zone" in pattern.groupindex else None
                east = int(zone[:3]) * _HOUR_US + int(zone[:1] + zone[-2:]) * 60_000_000 if zone else None
                return moment, "created" if word == _CLUES[1][0] else "text", east
            at, tries = data.find(word, at + len(word)), tries + 1
    return None, None, None


def _moment(match: re.Match[bytes]) -> bytes:
    month = match["month"]
    month = b"%02d" % _MONTHS.get(month, 0) if month.isalpha() else month
    return b"%b-%b-%bT%b" % (match["year"], month, match["day"], match["clock"])


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

    def moments(self, day: Any, clock: Any, wrapper: Any, known: Any) -> tuple[Any, Any]:
        """Microseconds since 1970 of entries in order, UNKNOWN where there is no telling, and indices into SOURCES.

        Args:
            day: month * 100 + day of the header, 0 where there is none.
            clock: microseconds since midnight.
            wrapper: the wrapper's times, -1 for none; or None.
            known: moments that entries tell themselves, UNKNOWN for the others.
        """
        out, source = known.copy(), np.zeros(len(known), dtype=np.int8)
        left = out == UNKNOWN
        if wrapper is not None and (inside := left & (wrapper >= 0)).any():
            out[inside] = self._beside(wrapper[inside], day[inside], clock[inside])
            source[inside] = SOURCES.index("wrapper")
            left &= ~inside
        rows = np.flatnonzero(left & (day > 0))
        if len(rows):
            days = day[rows]
            first = np.flatnonzero(np.concatenate(([True], days[1:] != days[:-1])))
            if self._anchor is None and (days == _LEAP_DAY).any():  # which year that was, the days around it were too
                self._anchor = self.midnight(*divmod(_LEAP_DAY, 100))
            for start, stop in zip(first.tolist(), [*first[1:].tolist(), len(rows)], strict=True):
                midnight = self.midnight(*divmod(int(days[start]), 100))
                run = rows[start:stop]
                out[run] = UNKNOWN if midnight is None else midnight + clock[run] - self.zone
            source[rows] = SOURCES.index(self.source)
        return out, source

    def _beside(self, wrapper: Any, day: Any, clock: Any) -> Any:
        """The moments of stamps whose wrappers have times; the zone is what lies between in whole quarters of an hour."""
        years = wrapper.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
        keys, index = np.unique(years * 10_000 + day, return_inverse=True)
        local = np.full(len(keys), UNKNOWN)
        for i, key in enumerate(keys.tolist()):
            year, month, date = key // 10_000, key // 100 % 100, key % 100
            found = [d for y in (year - 1, year, year + 1) if (d := _day(y, month, date)) is not None]
            near = int(wrapper[np.argmax(index == i)])
            local[i] = min(found, key=lambda d: abs(d - near)) if found else UNKNOWN
        stamp = local[index] + clock
        zone = np.round((stamp - wrapper) / _QUARTER_US).astype(np.int64) * _QUARTER_US
        good = (local[index] != UNKNOWN) & (np.abs(zone) <= 14 * _HOUR_US)
        if good.any():
            self.zone = int(zone[good][-1])
        return np.where(good, stamp - zone, wrapper)


def _year_of(moment: int) -> int:
    return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=moment)).year


def _day(year: int, month: int, day: int) -> int | None:
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and 1 < year < 9999):
        return None
    return (dt.date(year, month, day) - dt.date(1970, 1, 1)).days * DAY_US
