"""klog and glog text: an entry begins at its header, wherever on a line that stands, and ends before the next."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .line import Sample

__all__ = ["HEADER", "SAMPLES", "begins_entry", "headers", "is_structure", "split", "unquoted"]

# Lmmdd hh:mm:ss.uuuuuu pid file:line] (klog.go, formatHeader); the pid is padded, some forks log wider ones
HEADER = re.compile(rb"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [^:\]\s]+:\d+\]")

# other line loggers of the same processes: Go's log package, capnslog and zap of etcd, logrus, logfmt, pflag
_OTHER = re.compile(
    rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? "
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} [A-Z] \| "
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*\t(?:DEBUG|INFO|WARN|ERROR|DPANIC|PANIC|FATAL|debug|info|warn|error)\t"
    rb'|(?:time|ts|t)="?\d{4}-\d\d-\d\d[T ]\S+ "?(?:level|lvl)='
    rb"|level=\w+ (?:ts|time)="
    rb"|Flag --\S+ has been deprecated"
)

_QUOTE = re.compile(rb'(?<!\\)(?:\\\\)*+"')

# lines of a log file that are no entries: glog's file head and foot, journalctl's remarks, tail's heads, grep's separator
_STRUCTURE = re.compile(
    rb"(?:Log file created at: |Running on machine: |Binary: Built with |Previous log: |Log line format: \[IWEF\]"
    rb"|Next log: |CONTINUED IN NEXT FILE|==> .* <==\Z|--\Z|-- (?:Logs begin at|Journal begins at|No entries|Reboot|Boot [0-9a-f]{32}))"
)


def begins_entry(text: bytes) -> bool:
    """Whether a log entry begins with this line."""
    return HEADER.match(text) is not None or _OTHER.match(text) is not None


def is_structure(text: bytes) -> bool:
    """Whether the line belongs to the log file and not to its entries."""
    return _STRUCTURE.match(text) is not None


def headers(text: bytes) -> Iterator[int]:
    """Where behind the start of the line headers stand."""
    # most lines have no second "] ": that costs a tenth of the search
    if text.find(b"] ", text.find(b"] ") + 1 if HEADER.match(text) else 0) >= 0:
        yield from (match.start() for match in HEADER.finditer(text, 1))


def unquoted(before: bytes) -> bool:
    """Whether what stands behind this text is outside of Go's double quotes."""
    return len(_QUOTE.findall(before)) % 2 == 0


def split(text: bytes) -> list[bytes]:
    """The line cut before each header glued into its middle; headers inside quotes or blocks are quoted text.

    Seen where a message without a newline met the next entry:
    `Trace[14]: [927ms] Object stored in databaseI0803 19:59:20.402215       1 controller.go:537] quota …`
    """
    if text.startswith(b"\t"):
        return [text]
    pieces, start, counted, quotes = [], 0, 0, 0
    for at in headers(text):
        before = text[max(0, at - 2) : at]
        if before.endswith((b"'", b"`")) or before == b"\\n" or before == b"\\t":
            continue
        if before.endswith(b'"'):  # an opening one quotes the header, a closing one ends the entry before it
            quotes += len(_QUOTE.findall(text, counted, at))
            counted = at
            if quotes % 2:
                continue
        pieces.append(text[start:at])
        start = counted = at
        quotes = 0
    pieces.append(text[start:])
    return pieces


SAMPLES = (
    Sample(
        b"Log file created at: 2018/08/03 19:59:00\n"
        b'I0803 19:59:19.929262       1 trace.go:76] Trace[14]: "Create" (started: 2018-08-03):\n'
        b"Trace[14]: [927.401927ms] Object stored in databaseI0803 19:59:20.402215       1 controller.go:537] quota\n"
        b"\n"
        b"goroutine 4242 [running]:\n",
        (
            {"format": "klog", "line": 2, "text": "Object stored in database"},
            {"format": "klog", "line": 3, "text": "quota\n\ngoroutine"},
        ),
    ),
    Sample(
        b"2026/11/23 04:34:30 httputil: ReverseProxy read error during body copy: unexpected EOF\n"
        b"2018-08-03 19:59:19.123456 I | etcdserver: published\n",
        ({"format": "klog", "text": "ReverseProxy"}, {"format": "klog", "text": "published"}),
    ),
    Sample(
        b'I0101 00:00:01.000001       1 a.go:1] "Body" body="x\\nI0101 00:00:00.000001       1 b.go:2] quoted"\n',
        ({"format": "klog", "text": "quoted"},),
    ),
)
