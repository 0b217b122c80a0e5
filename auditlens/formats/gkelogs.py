"""GKE's control plane in Cloud Logging: klog entries taken apart (message, pid, place, severity) become lines of klog again.

https://cloud.google.com/kubernetes-engine/docs/how-to/view-logs: `jsonPayload.message` has no header; its place stands in
sourceLocation, its severity beside it.
"""

from __future__ import annotations

import re

from . import gke, klog, legacy
from .line import Fields, Line, Sample, lookup, members, string, value_of

__all__ = ["SAMPLES", "open"]

_SEVERITY = {"WARNING": "W", "ERROR": "E", "CRITICAL": "F", "ALERT": "F", "EMERGENCY": "F", "FATAL": "F"}
_COMPONENT = "k8s_control_plane_component"
_TIME = re.compile(r"\d{4}-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z")


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The entry as klog wrote it; None for other objects."""
    payload = members(fields.get("jsonPayload"))
    place = members(fields.get("sourceLocation"))
    if payload is None or (place is None and string(lookup(fields, "resource", "type")) != _COMPONENT):
        return None
    message = string(payload.get("message"))
    if not message:
        return [line.hollow("Cloud Logging entry of a component without a message")]
    text = message.encode("utf-8", "replace")
    if text[:1] != b"{" and not klog.begins_entry(text) and not legacy.LEGACY.match(text):
        time = _TIME.match(string(fields.get("timestamp")) or "")
        if time is None:
            return [line.hollow("Cloud Logging entry of a component without a time")]
        text = _header(fields, payload, place or {}, time).encode("utf-8", "replace") + text
    return [line.inner(text, **gke.around(fields))]


def _header(fields: Fields, payload: Fields, place: Fields, time: re.Match[str]) -> str:
    """klog's header (formatHeader in klog.go); a place that is not said is `-:0`."""
    severity = _SEVERITY.get((string(fields.get("severity")) or "").upper(), "I")
    micros = (time[4] or "").ljust(6, "0")[:6]
    file = re.sub(r"[:\]\s]", "", string(place.get("file")) or "") or "-"
    return f"{severity}{time[1]}{time[2]} {time[3]}.{micros} {_number(payload, 'pid'):>7} {file}:{_number(place, 'line')}] "


def _number(fields: Fields, name: str) -> str:
    text = str(value_of(fields.get(name)))
    return text if text.isdigit() and text.isascii() and len(text) < 19 else "0"


_ENTRY = (
    b'{"insertId":"i","jsonPayload":{"message":"%s","pid":"10"},"labels":{"compute.googleapis.com/resource_name":"kube-apiserver-1"},'
    b'"logName":"projects/p1/logs/container.googleapis.com%%2Fapiserver","resource":{"labels":{"cluster_name":"c1",'
    b'"component_name":"apiserver"},"type":"k8s_control_plane_component"},"severity":"%s","sourceLocation":{"file":"%s","line":"134"},'
    b'"timestamp":"2024-03-06T23:52:32.118243999Z"}\n'
)
_WANTED = {"format": "klog", "cluster": "c1", "instance": "kube-apiserver-1", "time": "2024-03-06T23:52:32.118243999Z"}

SAMPLES = (
    Sample(
        _ENTRY % (rb"\"HTTP\" verb=\"GET\" resp=200", b"INFO", b"httplog.go")
        + _ENTRY % (rb"Trace[1]: x:\nTrace[1]: END", b"ERROR", b"t.go"),
        (
            _WANTED | {"text": 'I0306 23:52:32.118243      10 httplog.go:134] "HTTP" verb="GET"'},
            _WANTED | {"text": "E0306 23:52:32.118243      10 t.go:134] Trace[1]: x:\nTrace[1]: END"},
        ),
    ),
    Sample(
        b'[{"jsonPayload":{"message":"I0306 23:52:32.118243      10 a.go:1] has its own"},"sourceLocation":{"file":"b.go"},'
        b'"timestamp":"2024-03-06T23:52:33Z"},{"jsonPayload":{"message":null},"sourceLocation":{}}]',
        ({"reject": "without a message", "item": 2}, {"text": "I0306 23:52:32.118243      10 a.go:1] has", "item": 1}),
    ),
)
