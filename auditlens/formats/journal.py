"""`journalctl -o json`: MESSAGE is a string, or an array of bytes when it is no UTF-8; the host is the instance."""

from __future__ import annotations

from .line import Fields, Line, Sample, rfc3339_of_ms, string, value_of

__all__ = ["SAMPLES", "open"]


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The message inside; journald cuts at 48 KiB and says so in _LINE_BREAK."""
    if "MESSAGE" not in fields or not ("__REALTIME_TIMESTAMP" in fields or "_HOSTNAME" in fields or "__CURSOR" in fields):
        return None
    message = value_of(fields["MESSAGE"])
    if isinstance(message, str):
        text: bytes | None = message.encode("utf-8", "replace")
    elif isinstance(message, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in message):
        text = bytes(message)
    else:
        text = None
    if not text:
        return [line.hollow("journal entry without a message")]
    micros = string(fields.get("__REALTIME_TIMESTAMP"))
    host = string(fields.get("_HOSTNAME"))
    unit = string(fields.get("_SYSTEMD_UNIT")) or string(fields.get("SYSLOG_IDENTIFIER"))
    found = line.inner(
        text,
        time=rfc3339_of_ms(int(micros) / 1000) if micros and micros.isdigit() and len(micros) < 20 else None,
        instance=host,
        stream=f"{host} {unit}[{string(fields.get('_PID'))}]",
        partial=string(fields.get("_LINE_BREAK")) == "line-max",
        continues=True,
    )
    return [found]


SAMPLES = (
    Sample(
        b'{"__REALTIME_TIMESTAMP":"1714557600123456","_HOSTNAME":"master-0","_SYSTEMD_UNIT":"kubelet.service",'
        b'"MESSAGE":"I0501 10:00:00.123456       1 a.go:1] hello"}\n'
        b'{"_HOSTNAME":"master-1","MESSAGE":[73,48,53,48,49,32,49,48,58,48,48,58,48,48,46,49,50,51,52,53,54,32,49,32,'
        b"97,46,103,111,58,49,93,32,27,255]}\n",
        (
            {"format": "klog", "instance": "master-0", "time": "2024-05-01T10:00:00.123456Z", "text": "hello"},
            {"format": "klog", "instance": "master-1"},
        ),
    ),
)
