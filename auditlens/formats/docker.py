"""docker's json-file logs: `{"log":"text\\n","stream":"stderr","time":"…"}`; text without its newline goes on."""

from __future__ import annotations

from .line import Fields, Line, Sample, string

__all__ = ["SAMPLES", "open"]


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The line of container output inside."""
    if "log" not in fields or "stream" not in fields:
        return None
    text = string(fields["log"])
    if not text:  # docker writes at least the line's newline
        return None if text is None else [line.hollow("container log line whose log is empty")]
    found = line.inner(
        text.encode("utf-8", "replace"),
        time=string(fields.get("time")),
        stream=string(fields["stream"]) or "",
        partial="time" in fields and len(fields) <= 4 and not text.endswith("\n"),
    )
    return [found]


SAMPLES = (
    Sample(
        b'{"log":"I1006 00:17:11.000000       1 server.go:2] docker line\\n","stream":"stderr",'
        b'"time":"2016-10-06T00:17:11.000000123Z"}\n'
        b'{"log":"{\\"level\\":\\"Metadata\\",\\"auditID\\":\\"a1\\",\\"stage\\":","stream":"stdout","time":"2016-10-06T00:17:12Z"}\n'
        b'{"log":"\\"Panic\\",\\"verb\\":\\"get\\"}\\n","stream":"stdout","time":"2016-10-06T00:17:12Z"}\n',
        (
            {"auditID": "a1", "stage": "Panic", "line": 2, "time": "2016-10-06T00:17:12Z"},
            {"format": "klog", "time": "2016-10-06T00:17:11.000000123Z"},
        ),
    ),
)
