"""OTLP JSON: resourceLogs → scopeLogs → logRecords, whose body is a string or a list of keys and values."""

from __future__ import annotations

import msgspec

from . import names
from .line import Fields, Line, Sample, array, lookup, members, rfc3339_of_ms, string, text_of

__all__ = ["SAMPLES", "open"]

_INSTANCE = ("k8s.node.name", "kubernetes.host", "host.name", "k8s.pod.name")
_MAX_DEPTH = 200


def open(fields: Fields, line: Line) -> list[Line] | None:
    """The body of every log record; None for other objects."""
    resources = array(fields.get("resourceLogs"))
    if resources is None:
        return None
    found: list[Line] = []
    for raw in resources:
        resource = members(raw) or {}
        labels = _attributes(lookup(resource, "resource", "attributes"))
        cluster = names.of_labels(labels)
        instance = next((labels[name] for name in _INSTANCE if labels.get(name)), None)
        for scope in array(resource.get("scopeLogs")) or [raw]:
            records = array((members(scope) or {}).get("logRecords"))
            if not records:
                found.append(line.hollow("OTLP resource without log records", bytes(scope), listed=True))
            found += [_record(members(record) or {}, line, cluster, instance) for record in records or []]
    return found or [line.hollow("OTLP request without resources")]


def _record(record: Fields, line: Line, cluster: str | None, instance: str | None) -> Line:
    body = members(record.get("body")) or {}
    text = text_of(body.get("stringValue"))
    if text is None and body:
        try:
            text = _json(msgspec.Raw(msgspec.json.encode(body)), 0)
        except ValueError:
            text = None
    if not text:
        return line.hollow("OTLP log record without a body that can be read", msgspec.json.encode(record), listed=True)
    nanos = next((value for name in ("timeUnixNano", "observedTimeUnixNano") if (value := _digits(record.get(name)))), None)
    return line.inner(
        text,
        time=rfc3339_of_ms(nanos / 1e6) if nanos else None,
        instance=instance,
        cluster=cluster,
        stream=f"{cluster}/{instance}",
        listed=True,
    )


def _digits(raw: msgspec.Raw | None) -> int | None:
    text = string(raw) or (bytes(raw).decode() if raw is not None else "")
    return int(text) if text.isdigit() and len(text) < 20 else None


def _attributes(raw: msgspec.Raw | None) -> dict[str, str]:
    pairs = {}
    for pair in map(members, array(raw) or []):
        key, value = string((pair or {}).get("key")), string(lookup(pair or {}, "value", "stringValue"))
        if key is not None and value is not None:
            pairs[key] = value
    return pairs


def _json(raw: msgspec.Raw | None, depth: int) -> bytes:
    """An AnyValue (opentelemetry-proto, common.proto) as JSON; numbers as they stand. ValueError when it is none."""
    value = members(raw)
    if value is None or depth > _MAX_DEPTH:
        raise ValueError("no AnyValue")
    for name in ("boolValue", "doubleValue"):
        if name in value:
            return bytes(value[name])
    if "stringValue" in value:
        return bytes(value["stringValue"])
    if "intValue" in value:  # 64-bit integers are strings in proto3's JSON
        return bytes(value["intValue"]).strip(b'"')
    if "arrayValue" in value:
        elements = array((members(value["arrayValue"]) or {}).get("values")) or []
        return b"[" + b",".join(_json(element, depth + 1) for element in elements) + b"]"
    if "kvlistValue" in value:
        pairs = []
        for pair in map(members, array((members(value["kvlistValue"]) or {}).get("values")) or []):
            if pair is not None and "key" in pair:
                pairs.append(bytes(pair["key"]) + b":" + _json(pair.get("value"), depth + 1))
        return b"{" + b",".join(pairs) + b"}"
    return b"null"


SAMPLES = (
    Sample(
        b'{"resourceLogs":[{"resource":{"attributes":[{"key":"openshift.cluster.uid","value":{"stringValue":"c1"}},'
        b'{"key":"k8s.node.name","value":{"stringValue":"n1"}}]},"scopeLogs":[{"scope":{},"logRecords":['
        b'{"timeUnixNano":"1714557600000000000","body":{"stringValue":'
        b'"{\\"kind\\":\\"Event\\",\\"apiVersion\\":\\"audit.k8s.io/v1\\",\\"level\\":\\"Metadata\\",'
        b'\\"auditID\\":\\"a1\\",\\"stage\\":\\"Panic\\",\\"verb\\":\\"get\\"}"}},'
        b'{"body":{"kvlistValue":{"values":[{"key":"auditID","value":{"stringValue":"a2"}},{"key":"stage",'
        b'"value":{"stringValue":"Panic"}},{"key":"verb","value":{"stringValue":"get"}},{"key":"level","value":'
        b'{"stringValue":"Metadata"}},{"key":"responseStatus","value":{"kvlistValue":{"values":[{"key":"code",'
        b'"value":{"intValue":"200"}}]}}}]}}}]}]}]}\n',
        (
            {"auditID": "a1", "item": 1, "cluster": "c1", "instance": "n1", "time": "2024-05-01T10:00:00.000000Z"},
            {"auditID": "a2", "item": 2, "responseStatus": {"code": 200}},
        ),
    ),
)
