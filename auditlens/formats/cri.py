"""CRI container logs: `TIME stdout F text`; pieces tagged P go on in the stream's next line.

containerd and CRI-O cut at 16 KiB; times may have an offset instead of Z.
"""

from __future__ import annotations

import re

from .line import RFC3339, Line, Sample

__all__ = ["LINE", "SAMPLES", "unwrap"]

LINE = re.compile(rb"(" + RFC3339 + rb") (stdout|stderr) ([PF])(?::\S*)?(?: |\Z)")


def unwrap(line: Line) -> Line | None:
    """The text of a CRI line; the container's stream keeps its lines together."""
    match = LINE.match(line.text)
    if match is None:
        return None
    time, stream, tag = match.groups()
    return line.inner(
        line.text[match.end() :],
        time=time.decode(),
        stream=stream.decode(),
        partial=tag == b"P",
        continues=True,
    )


SAMPLES = (
    Sample(
        b"2016-10-06T00:17:09.669794202Z stderr F I1006 00:17:09.669700       1 server.go:1] hello\n"
        b'2016-10-06T00:17:10.000000001+02:00 stdout P {"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Meta\n'
        b"2016-10-06T00:17:10.000000001+02:00 stderr F \tmore of hello\n"
        b'2016-10-06T00:17:10.000000002+02:00 stdout F data","auditID":"p","stage":"ResponseComplete",'
        b'"requestURI":"/version","verb":"get","user":{}}\n',
        (
            {"auditID": "p", "level": "Metadata", "line": 2, "time": "2016-10-06T00:17:10.000000001+02:00"},
            {"format": "klog", "line": 1, "text": "hello\n\tmore of hello"},
        ),
    ),
)
