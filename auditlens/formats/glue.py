"""Where on a line of text an audit event begins that no newline announced, and whether more follows a document.

stdout and stderr of an apiserver in one file, or a crash, glue them: `I0306 … 2 objects queued {"kind":"Event",…}`.
"""

from __future__ import annotations

import re
from itertools import islice

import msgspec

from .legacy import LEGACY
from .line import RFC3339

__all__ = ["HINTS", "event_in", "several_documents"]

HINTS = (b'"auditID"', b'"audit.k8s.io/', b" AUDIT: id=")  # one of these is on every line that holds an event

_START = re.compile(
    rb'\{\s*"(?:kind"\s*:\s*"Event(?:List)?"\s*,\s*"apiVersion"\s*:\s*"audit\.k8s\.io/|apiVersion"\s*:\s*"audit\.k8s\.io/'
    rb'|level"\s*:\s*"[A-Za-z]+"\s*,\s*(?:"timestamp"\s*:\s*"[^"]*"\s*,\s*)?"auditID"\s*:\s*")'
    rb"|(?<![\w:.-])" + LEGACY.pattern
)
_DATED = re.compile(RFC3339 + rb"[ \t]+(?:(?:stdout|stderr) [PF] )?\Z")  # a wrapper's time is the event's, not the text's
_LONGEST_DATE = 60

# to 1.17 a request's line holds what the client sent as it came: `GET /URI: (1ms) 200 [[AGENT] ADDRESS]`
_IN_URI = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) /\S*\Z")
_BEHIND_URI = re.compile(rb": \([^)\s]+\) (?:\d+|hijacked)")
_AGENT = re.compile(rb"(?:\) (?:\d+|hijacked)|\A) \[")
_ADDRESS = re.compile(rb" \S+:\d+\]")
_REQUEST = 64 << 10  # bytes of a request's line that are looked at
_TRIES = 16

# behind a closing bracket JSON goes on with another one, a comma, or the end of the string it stands in; strings may look
# like more
_MORE = re.compile(rb'\}[ \t]*[^\]},"\\\s:]')
_skip = msgspec.json.Decoder(msgspec.Raw).decode


def event_in(text: bytes) -> int:
    """Where behind the start of a line of log text an event begins, -1 when none does or a client wrote it there."""
    if not any(hint in text for hint in HINTS):
        return -1
    for match in islice(_START.finditer(text, 1), _TRIES):
        at = match.start()
        if not _sent(text[max(0, at - _REQUEST) : at], text[at : at + _REQUEST]):
            date = _DATED.search(text, max(0, at - _LONGEST_DATE), at)
            return date.start() if date and date.start() else at
    return -1


def _sent(before: bytes, behind: bytes) -> bool:
    """Whether what begins between these is part of a request that the line tells of."""
    if _IN_URI.search(before):
        return _BEHIND_URI.search(behind) is not None
    ended = max((match.end() for match in _ADDRESS.finditer(before)), default=0)
    return _AGENT.search(before, ended) is not None and _ADDRESS.search(behind) is not None


def several_documents(lines: bytes | memoryview) -> bool:
    """Whether one of the lines, of which each should be one JSON document, is none."""
    data, seen = b"", 0
    for match in _MORE.finditer(lines):
        if match.start() < seen:
            continue
        data = data or bytes(lines)
        start, seen = data.rfind(b"\n", 0, match.start()) + 1, data.find(b"\n", match.start())
        seen = seen if seen >= 0 else len(data)
        try:
            _skip(memoryview(data)[start:seen])
        except (msgspec.DecodeError, RecursionError):
            return True
    return False
