"""Prefixes that tools put before a line: a time, a host, a pod; believed when what follows begins a record.

`kubectl logs --timestamps` and CloudWatch's export to S3: `TIME text`; `aws logs tail`: `TIME STREAM text`;
`kubectl logs --prefix`: `[pod/NAME/CONTAINER] text`; `oc adm node-logs`: `HOST text`; Fluentd's out_file:
`TIME<tab>TAG<tab>{json}`.
"""

from __future__ import annotations

import re

from .cri import LINE as CRI
from .line import RFC3339, Line, Sample

__all__ = ["SAMPLES", "host", "pod", "timed"]

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
    Sample(
        b"[pod/kube-apiserver-a/kube-apiserver] 2024-05-01T10:00:00.1Z %s\n" % _EVENT,
        ({"auditID": "a1", "instance": "kube-apiserver-a", "time": "2024-05-01T10:00:00.1Z"},),
    ),
)
