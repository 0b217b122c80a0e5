"""One log entry, whichever logger wrote it, as time, severity, place, message and fields.

klog and glog text, component-base and zap JSON, and the other line loggers that share an apiserver's output: Go's log
package, capnslog, zap's console form, logrus. Every text gives an entry; what has no place or time has none here either.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from .values import structured, unquote

__all__ = ["Entry", "parse"]

_HEADER = re.compile(
    r"([IWEF])(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) +(\d+) ([^:\]\s]+):(\d+)\] ?"
)  # klog.go, formatHeader: I1123 04:36:33.557903   16168 httplog.go:134]
_GO_LOG = re.compile(r"(\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ")
_CAPNSLOG = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{6}) ([A-Z]) \| ")
_ZAP = re.compile(r"(\S+)\t([A-Za-z]+)\t(?:([\w.-]+)\t)?(?:([\w./@-]+):(\d+)\t)?(.*)", re.DOTALL)
_LOGFMT = re.compile(r'(?:time|ts|t)="?([^"\s]+(?: [^"\s]+)?)"? (?:level|lvl)=(\w+) ?|level=(\w+) (?:ts|time)=(\S+) ?')
_PAIR = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*))(?: +|\Z)')
_FLAG = re.compile(r"Flag --\S+ has been deprecated")

# 1.20 and earlier `GET "/x"`, to 1.30 `method=GET URI="/x" audit-ID="id"` (apiserver pkg/server/filters/wrap.go); since then
# the line is structured
_ABORTED = re.compile(
    r'[tT]imeout or abort while handling: (?:method=(?P<method>\S+) URI=(?P<uri>"(?:[^"\\]|\\.)*") audit-ID="(?P<id>[^"]*)"'
    r'|(?P<verb>[A-Z]+) (?P<path>"(?:[^"\\]|\\.)*"))'
)

_LEVELS = {
    "debug": "I", "trace": "I", "info": "I", "notice": "I", "warn": "W", "warning": "W", "error": "E",
    "dpanic": "F", "panic": "F", "fatal": "F", "critical": "F",
}  # fmt: skip
_CAPNS = {"T": "I", "D": "I", "N": "I", "I": "I", "W": "W", "E": "E", "C": "F"}

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_NUMBER = msgspec.json.Decoder(float)
_BAD = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Entry:
    """One entry. klog text has no year and no zone: `month`, `day` and `clock_us` are what its header says.

    `time_us` is the time of loggers that write all of it, in microseconds since 1970 UTC.
    """

    form: str  # klog, json, go, capnslog, zap, logfmt or text
    message: str
    severity: str | None = None  # I, W, E or F
    month: int = 0
    day: int = 0
    clock_us: int = 0  # since midnight
    time_us: int | None = None
    pid: int | None = None
    file: str | None = None
    file_line: int | None = None
    logger: str | None = None
    verbosity: int | None = None  # the -v it needs; only JSON logging says so
    fields: dict[str, str] = field(default_factory=dict)
    plain: bool = True  # the message was free text


def parse(text: bytes) -> Entry:
    """The entry in a record's text; never raises."""
    shown = text.decode("utf-8", "replace")
    if match := _HEADER.match(shown):
        return _klog(match, shown)
    if text[:1] == b"{" and (entry := _json(text)):
        return entry
    return _other(shown)


def _klog(match: re.Match[str], text: str) -> Entry:
    severity, month, day, hour, minute, second, micros, pid, file, line = match.groups()
    clock = ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000_000 + int(micros)
    entry = Entry(
        "klog", text[match.end() :], severity, int(month), int(day), clock,
        pid=_int(pid), file=file.rpartition("/")[2], file_line=_int(line),
    )  # fmt: skip
    _read_message(entry)
    return entry


def _read_message(entry: Entry) -> None:
    found = structured(entry.message) if entry.message[:1] == '"' else None
    if found is not None:
        entry.plain = False
        entry.message, entry.fields = found
        entry.logger = entry.fields.pop("logger", None)
    else:
        entry.message = entry.message.rstrip("\n")
        if match := _ABORTED.match(entry.message):
            uri = unquote((match["uri"] or match["path"])[1:-1])
            entry.fields = {"method": match["method"] or match["verb"], "URI": uri}
            if match["id"]:
                entry.fields["audit-ID"] = match["id"]


def _int(text: str) -> int | None:
    return int(text) if len(text) < 19 else None


def _json(text: bytes) -> Entry | None:
    try:
        fields: Mapping[str, msgspec.Raw] = _FIELDS.decode(text)
    except _BAD:
        return None
    values = {key: _text(raw) for key, raw in fields.items()}
    place, _, line = (values.pop("caller", None) or values.pop("source", None) or "").rpartition(":")
    stamp = values.pop("ts", None) or values.pop("time", None) or values.pop("@timestamp", None)
    level = values.pop("level", None)
    verbosity = values.pop("v", None)
    message = values.pop("msg", None)
    if message is None:
        message = values.pop("message", "")
    # component-base logs/json: no level; info has "v", errors have none
    severity = _LEVELS.get(level.lower()) if level is not None else "I" if verbosity is not None else "E"
    return Entry(
        "json", message.rstrip("\n"), severity, time_us=_stamp(stamp),
        file=place.rpartition("/")[2] or None, file_line=int(line) if line.isdigit() and len(line) < 10 else None,
        logger=values.pop("logger", None), verbosity=_small(verbosity), fields=values, plain=False,
    )  # fmt: skip


def _small(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text) else None


def _text(raw: msgspec.Raw) -> str:
    text = bytes(raw)
    if text[:1] == b'"':
        try:
            return _STRING.decode(text)
        except _BAD:
            pass
    return text.decode("utf-8", "replace")


def _stamp(text: str | None) -> int | None:
    """Microseconds since 1970 of a number of seconds or milliseconds (told by its size), or of RFC 3339."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return moment_us(text)
    if not math.isfinite(number) or not 0 < number < 1e17:
        return None
    return round(number * (1e6 if number < 1e11 else 1e3 if number < 1e14 else 1))


def moment_us(text: str) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time, UTC when it names no zone; digits behind the sixth are dropped."""
    text = re.sub(r"([.,]\d{6})\d+", r"\1", text.strip()).replace(",", ".")
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    try:
        return (moment - _EPOCH) // dt.timedelta(microseconds=1)
    except OverflowError:
        return None


def _pairs(text: str) -> dict[str, str]:
    """The fields of logfmt; nothing when it holds anything else."""
    pairs: dict[str, str] = {}
    at, text = 0, text.strip()
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            return {}
        pairs[match[1]] = unquote(match[2]) if match[2] is not None else match[3]
        at = match.end()
    return pairs


def _other(text: str) -> Entry:
    if match := _GO_LOG.match(text):  # 2026/11/23 04:34:30 httputil: …: local time, severity unknown
        moment = moment_us(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}")
        return Entry("go", text[match.end() :], None, time_us=moment)
    if match := _CAPNSLOG.match(text):  # 2018-08-03 19:59:19.123456 I | etcdserver: published …
        logger, colon, message = text[match.end() :].partition(": ")
        named = colon and " " not in logger
        return Entry(
            "capnslog", message if named else text[match.end() :], _CAPNS.get(match[3], "I"),
            time_us=moment_us(f"{match[1]}T{match[2]}"), logger=logger if named else None,
        )  # fmt: skip
    if match := _LOGFMT.match(text):
        level, stamp = match[2] or match[3], match[1] or match[4]
        fields = _pairs(text[match.end() :])
        if "msg" not in fields:
            return Entry("logfmt", text[match.end() :], _LEVELS.get(level.lower()), time_us=moment_us(stamp))
        return Entry(
            "logfmt", fields.pop("msg").rstrip("\n"), _LEVELS.get(level.lower()), time_us=moment_us(stamp),
            fields=fields, plain=False,
        )  # fmt: skip
    if (match := _ZAP.fullmatch(text)) and match[2].lower() in _LEVELS:
        return Entry(
            "zap", match[6], _LEVELS[match[2].lower()], time_us=moment_us(match[1]), logger=match[3],
            file=match[4].rpartition("/")[2] if match[4] else None, file_line=_int(match[5]) if match[5] else None,
        )  # fmt: skip
    return Entry("text", text, "W" if _FLAG.match(text) else None)
