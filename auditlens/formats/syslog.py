"""syslog and journald lines: `Jan 31 20:45:19 host unit[1]: text`, ISO times, RFC 5424; the host is the instance."""

from __future__ import annotations

import re

from .line import RFC3339, Line, Sample

__all__ = ["SAMPLES", "bsd", "iso", "priority"]

_TAG = rb"(?P<tag>[A-Za-z_(/][\w./@()-]*)(?:\[(?P<pid>\d+)\])?:(?: |\Z)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_HOST = rb"(?!AUDIT:)(?P<host>[^\s\[\]{}\":]+)"
_BSD = re.compile(
    rb"(?:<\d{1,3}>)?(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [A-Z]{2,5}"
    rb"|\d{10}\.\d{6}|" + _MONTH + rb" [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?) " + _HOST + rb" " + _TAG
)
_ISO = re.compile(rb"(?P<time>" + RFC3339 + rb") " + _HOST + rb" " + _TAG)
_RFC5424 = re.compile(
    rb"<\d{1,3}>1 (?P<time>\S+) (?P<host>\S+) (?P<tag>\S+) (?P<pid>\S+) \S+ "
    rb'(?:-|(?:\[[^\s\]]+(?: [^\s=\]]+="(?:[^"\\\]]|\\.)*")*\])+)(?: (?:\xef\xbb\xbf)?|\Z)'
)


def bsd(line: Line) -> Line | None:
    """journalctl's short formats and RFC 3164; their times lack the year, so none is given."""
    return _inner(_BSD.match(line.text), line)


def iso(line: Line) -> Line | None:
    """journalctl -o short-iso and rsyslog's ISO file format."""
    return _inner(_ISO.match(line.text), line)


def priority(line: Line) -> Line | None:
    """Lines that begin with <PRI>: RFC 5424, else RFC 3164."""
    return _inner(_RFC5424.match(line.text), line) or bsd(line)


def _inner(match: re.Match[bytes] | None, line: Line) -> Line | None:
    if match is None:
        return None
    groups = match.groupdict()
    host = groups["host"].decode("utf-8", "replace")
    stream = b"%s %s[%s]" % (groups["host"], groups["tag"], groups["pid"] or b"")
    return line.inner(
        line.text[match.end() :],
        time=_time(groups.get("time")),
        instance=None if host == "-" else host,
        stream=stream.decode("utf-8", "replace"),
    )


def _time(text: bytes | None) -> str | None:
    if text is None or not re.fullmatch(RFC3339, text):
        return None
    time = text.decode().replace(" ", "T").replace(",", ".")
    return time if time.endswith("Z") or time[-3] == ":" else f"{time[:-2]}:{time[-2:]}"


SAMPLES = (
    Sample(
        b'Jan 31 20:45:19 host-1 kube-apiserver[2440]: I0131 20:45:19.504759    2440 rbac.go:116] RBAC DENY: user "x"\n'
        b"Jan 31 20:45:19 host-1 kube-apiserver[2440]: goroutine 7 [running]:\n"
        b'2024-05-01T10:00:00+0200 host-2 kube-apiserver[1]: {"level":"Metadata","auditID":"a1","stage":"Panic","verb":"get"}\n'
        b'<165>1 2024-05-01T10:00:00.003Z host-3 audit 77 - [x@1 a="b"] '
        b'{"level":"Metadata","auditID":"a2","stage":"Panic","verb":"get"}\n',
        (
            {"auditID": "a1", "instance": "host-2", "time": "2024-05-01T10:00:00+02:00"},
            {"auditID": "a2", "instance": "host-3", "time": "2024-05-01T10:00:00.003Z"},
            {"format": "klog", "instance": "host-1", "text": 'RBAC DENY: user "x"\ngoroutine 7', "line": 1},
        ),
    ),
)
