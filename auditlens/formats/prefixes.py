"""Prefixes that tools put before a line: a time, a host, a pod; believed when what follows begins a record.

`kubectl logs --timestamps` and CloudWatch's export to S3: `TIME text`; `aws logs tail`: `TIME STREAM text`;
`kubectl logs --prefix`: `[pod/NAME/CONTAINER] text`; `oc adm node-logs`: `HOST text`; Fluentd's out_file:
`TIME<tab>TAG<tab>{json}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .cri import LINE as CRI
from .line import RFC3339, Line, Sample

__all__ = ["SAMPLES", "Learned", "host", "is_one", "pod", "timed"]

_TIMED = re.compile(
    rb"(" + RFC3339 + rb")[ \t]+"
    rb"(?:((?:kube-[\w-]+|authenticator|cloud-controller-manager)-[0-9a-f]{32}) |[^\s{]+\t(?=\{))?"
)
_POD = re.compile(rb"\[pod/([^/\]\s]+)/([^\]\s]+)\] ")
_HOST = re.compile(rb"([A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?):? (?=\S)")


def timed(line: Line) -> Line | None:
    """`TIME text`, and `TIME STREAM text` where the stream is one of an EKS control plane."""
    match = _TIMED.match(line.text)
    if match is None or CRI.match(line.text):
        return None
    stream = match[2].decode() if match[2] else ""
    return line.inner(
        line.text[match.end() :],
        time=match[1].decode().replace(" ", "T").replace(",", "."),
        instance=stream or None,
        stream=stream or "timed",
    )


def pod(line: Line) -> Line | None:
    """`[pod/NAME/CONTAINER] text`; the pod is the instance."""
    match = _POD.match(line.text)
    if match is None:
        return None
    name = match[1].decode("utf-8", "replace")
    container = match[2].decode("utf-8", "replace")
    return line.inner(line.text[match.end() :], instance=name, stream=f"{name}/{container}")


def host(line: Line) -> Line | None:
    """`HOST text`; the host is the instance."""
    match = _HOST.match(line.text)
    if match is None:
        return None
    name = match[1].decode()
    return line.inner(line.text[match.end() :], instance=name, stream=name)


_GREP = re.compile(rb"(.*?)(?:[:-]?\d+)?[:-]", re.DOTALL)  # `FILE:12:` before what was found, `FILE-13-` before what is around it
_TIME = re.compile(RFC3339 + rb"|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?")
_STERN = re.compile(rb"((?=[a-z]*[-.0-9])[a-z0-9][a-z0-9.-]*) [a-z0-9][a-z0-9-]* ")  # POD CONTAINER
_BRACKETS = re.compile(rb"\[[^\[\]\s]*\]|\([^()\s]*\)")
_MAX_LEARNED = 32


def is_one(text: bytes) -> bool:
    """Whether what stands before a record is a prefix rather than text that it was glued to."""
    return text[-1:].isspace() or re.fullmatch(rb"\S*[:-]", text) is not None


class Learned:
    """Prefixes that nobody declared, learnt from the lines on which a record stood behind one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[re.Pattern[bytes], str | None]] = {}

    def is_prefix(self, text: bytes) -> bool:
        """Whether what stands before a record looks like a tool's prefix, or stood before another one, rather than being text."""
        words = [word for word in _BRACKETS.sub(b" ", _TIME.sub(b" ", text)).split() if re.search(rb"\w", word)]
        if is_one(text) and (len(words) < 2 or _STERN.fullmatch(text) or _file(text)):
            return True
        return _pattern(text)[0].decode("utf-8", "backslashreplace") in self._known

    def learn(self, line: Line, at: int) -> Line:
        """The record that begins at a position of the line."""
        pattern, instance = _pattern(line.text[:at])
        key = pattern.decode("utf-8", "backslashreplace")
        name = instance.decode("utf-8", "replace") or None
        if len(self._known) < _MAX_LEARNED:
            self._known.setdefault(key, (re.compile(pattern), name))
        return line.inner(line.text[at:], instance=name, stream=f"prefixed {key}")

    def cut(self, line: Line) -> Line | None:
        """A line with a prefix that was learnt, without it: the text of an entry goes on behind the same one."""
        for key, (pattern, name) in self._known.items():
            if match := pattern.match(line.text):
                return line.inner(line.text[match.end() :], instance=name, stream=f"prefixed {key}")
        return None


def _file(text: bytes) -> re.Match[bytes] | None:
    """A file's name as grep puts it before a line."""
    grep = _GREP.fullmatch(text)
    return grep if grep and (b"/" in grep[1] or not re.search(rb"\s", grep[1])) else None


def _pattern(prefix: bytes) -> tuple[bytes, bytes]:
    """What matches this prefix on other lines, and the instance it names, if it does."""
    if grep := _file(prefix):
        return re.escape(grep[1]) + (rb"[:-]?\d+[:-]" if prefix[-2:-1].isdigit() else rb"[:-]"), grep[1]
    stern = _STERN.fullmatch(prefix)
    return b"".join(_times_open(prefix)), stern[1] if stern else b""


def _times_open(prefix: bytes) -> Iterator[bytes]:
    """The parts of a pattern for this prefix with any other times in it."""
    at = 0
    for match in _TIME.finditer(prefix):
        yield re.escape(prefix[at : match.start()])
        yield rb"(?:" + _TIME.pattern + rb")"
        at = match.end()
    yield re.escape(prefix[at:])


_EVENT = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a1","stage":"Panic","verb":"get"}'

SAMPLES = (
    Sample(
        b"2024-05-01T10:00:00.123Z %s\n" % _EVENT
        + b"2024-05-01T10:00:01.5+00:00 I0501 10:00:01.000000       1 a.go:1] panic\n"
        + b"2024-05-01T10:00:01.6+00:00 goroutine 1 [running]:\n",
        (
            {"auditID": "a1", "time": "2024-05-01T10:00:00.123Z", "line": 1},
            {"format": "klog", "text": "panic\ngoroutine", "line": 2},
        ),
    ),
    Sample(
        b"2024-05-01T10:00:00.123000+00:00 kube-apiserver-audit-0123456789abcdef0123456789abcdef %s\n" % _EVENT,
        ({"auditID": "a1", "instance": "kube-apiserver-audit-0123456789abcdef0123456789abcdef"},),
    ),
    Sample(
        b"ip-10-0-1-2.ec2.internal %s\nmaster-1 %s\nmaster-1 bare words\n" % (_EVENT, _EVENT),
        (
            {"auditID": "a1", "instance": "ip-10-0-1-2.ec2.internal"},
            {"auditID": "a1", "instance": "master-1"},
            {"reject": "text line of no known format"},
        ),
    ),
    Sample(  # stern, and grep -C
        b"kube-apiserver-cp-1 kube-apiserver %s\n" % _EVENT
        + b"kube-apiserver-cp-1 kube-apiserver I0306 23:52:33.125600      12 a.go:1] panic\n"
        + b"kube-apiserver-cp-2 kube-apiserver I0306 23:52:33.125600      12 a.go:1] other\n"
        + b"kube-apiserver-cp-1 kube-apiserver goroutine 1 [running]:\n--\n"
        + b"/var/log/x-1.log:12:I0306 23:52:33.125600      12 a.go:1] first\n/var/log/x-1.log-13-goroutine 2 [running]:\n",
        (
            {"auditID": "a1", "instance": "kube-apiserver-cp-1"},
            {"format": "klog", "text": "panic\ngoroutine 1", "instance": "kube-apiserver-cp-1"},
            {"format": "klog", "text": "other", "instance": "kube-apiserver-cp-2"},
            {"format": "klog", "text": "first\ngoroutine 2", "instance": "/var/log/x-1.log"},
        ),
    ),
    Sample(
        b"[pod/kube-apiserver-a/kube-apiserver] 2024-05-01T10:00:00.1Z %s\n" % _EVENT,
        ({"auditID": "a1", "instance": "kube-apiserver-a", "time": "2024-05-01T10:00:00.1Z"},),
    ),
)
