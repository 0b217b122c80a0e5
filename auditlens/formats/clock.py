"""Year and zone for klog's `MMDD hh:mm:ss`, from what is known around the text; formats 5.1 of klog's header has neither.

Sources in order: the wrapper's time of the same line, the file's name, a date that the log itself holds (trace heads, the
file's head, audit events, wrappers of other lines, other loggers), and at last the file's mtime as the latest possible
moment. Which of them decides is found out for the whole file before its first entry is dated.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from itertools import islice
from typing import Any

import numpy as np

from .entry import moment_us
from .line import RFC3339

__all__ = ["DAY_US", "SOURCES", "UNKNOWN", "Clock", "Survey", "named_time"]

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
        # of an event's line the last one: its bodies may hold others
        (b'"stageTimestamp":"', rb'[^\n]*"stageTimestamp":"' + _DATE + b"T" + _CLOCK),
        (b" (total time: ", rb"\((?P<day>\d\d)-(?P<month>[A-Z][a-z]{2})-(?P<year>\d{4}) " + _CLOCK + rb"[.\d]*\) \(total time: "),
        (b'{"level":"', rb'\{"level":"[a-z]+","ts":"' + _DATE + b"T" + _CLOCK),
        (b" AUDIT: id=", _DATE + b"T" + _CLOCK + rb"[.\d]*Z AUDIT: id="),
        (b" httputil: ", _DATE + b" " + _CLOCK + b" httputil: "),
        (b" http: ", _DATE + b" " + _CLOCK + b" http: "),
    )
)
_TRIES = 20  # of one word
_BELIEVED = 1_388_534_400_000_000  # 2014: what claims to be older than Kubernetes is no date of its log
_STAMP = re.compile(rb"^[IWEF](\d\d)(\d\d) \d\d:\d\d:\d\d\.\d{6} ", re.MULTILINE)
# a line with a wrapper's time before its stamp: `2024-01-29T01:40:52.8+01:00 E0129 00:40:52.834559 …`
_WRAPPED = re.compile(rb"^(" + RFC3339 + rb")[ \t][^\n]{0,200}?[IWEF](\d\d)(\d\d) \d\d:\d\d:\d\d\.\d{6} ", re.MULTILINE)
_OUT_OF_ORDER = 30  # days that neighbouring lines may be; more is the turn of a year
_MONTHS = {m: i for i, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


def named_time(name: str) -> int | None:
    """Microseconds since 1970 of the stamp in a log file's name."""
    match = _NAMED.search(name.rpartition("/")[2])
    return moment_us("{}-{}-{}T{}:{}:{}".format(*match.groups())) if match else None


def _clues(data: bytes) -> tuple[int | None, str | None, int | None]:
    """A moment that log text dates itself by (microseconds since 1970), where it is from, and the zone (microseconds east).

    The moment is good to a day: it tells the year. The zone is known only from old trace heads, which name it.
    """
    for word, pattern in _CLUES:
        at, tries = data.find(word), 0
        while at >= 0 and tries < _TRIES:
            start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            match = pattern.search(data, start, len(data) if end < 0 else end)
            moment = moment_us(_moment(match).decode()) if match else None
            if match and moment is not None and moment > _BELIEVED:
                zone = match["zone"] if "zone" in pattern.groupindex else None
                east = int(zone[:3]) * _HOUR_US + int(zone[:1] + zone[-2:]) * 60_000_000 if zone else None
                return moment, "created" if word == _CLUES[1][0] else "text", east
            at, tries = data.find(word, at + len(word)), tries + 1
    for found in islice(_WRAPPED.finditer(data), _TRIES):
        moment = moment_us(found[1].decode().replace(" ", "T"))
        if moment is not None and moment > _BELIEVED and _near(moment, int(found[2]), int(found[3])):
            return moment, "wrapper", None
    return None, None, None


def _near(moment: int, month: int, day: int) -> bool:
    """Whether that day is the moment's, or one beside it as zones have it."""
    return any(
        d is not None and abs(d - moment) < 2 * DAY_US for d in (_day(_year_of(moment) + n, month, day) for n in (-1, 0, 1))
    )


class Survey:
    """What a source says about its own dates; `look` takes its text piece by piece, whole lines each."""

    def __init__(self) -> None:
        self.moment: int | None = None
        self.source: str | None = None
        self.zone: int | None = None
        self._first: tuple[int, int] | None = None  # month and day of the first stamp, and of the last one
        self._last: tuple[int, int] | None = None
        self._leap = False

    def look(self, data: bytes) -> bool:
        """Whether it is dated now: then the rest need not be looked at."""
        self.moment, self.source, self.zone = _clues(data)
        if self.moment is None:
            first = _STAMP.search(data)
            if first:
                self._first = self._first or (int(first[1]), int(first[2]))
                *_, last = _STAMP.finditer(data, max(first.start(), len(data) - 65_536)) or [first]
                self._last = (int(last[1]), int(last[2]))
                self._leap = self._leap or re.search(rb"^[IWEF]0229 ", data, re.MULTILINE) is not None
        return self.moment is not None

    def clock(self, name: str, latest: int) -> Clock:
        """The clock for the source's entries, of which none is after `latest`."""
        named = named_time(name)
        if named is not None:
            return Clock(latest, named, "name", self.zone or 0)
        if self.moment is not None and self.source is not None:
            return Clock(latest, self.moment, self.source, self.zone or 0)
        return Clock(latest, None if self._leap else self._begin(latest))

    def _begin(self, latest: int) -> int | None:
        """The first day, if the last one is the latest possible: between them a year may turn, but never back."""
        if self._first is None or self._last is None:
            return None
        year = _year_of(latest + _SKEW_US)
        ends = [d for y in range(year - 8, year + 1) if (d := _day(y, *self._last)) is not None and d <= latest + _SKEW_US]
        begins = [d for y in range(year - 9, year + 1) if (d := _day(y, *self._first)) is not None]
        return max((d for d in begins if ends and d <= ends[-1] + _OUT_OF_ORDER * DAY_US), default=None)


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
        self.guessed = 0  # entries that nothing but `latest` dates

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
            if self.source == "mtime" and not self.guessed:  # what stands beside dated lines is of their year
                self._anchor, self.source = int(wrapper[inside][0]), "wrapper"
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
            self.guessed += len(rows) if self.source == "mtime" else 0
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
