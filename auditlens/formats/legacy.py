"""The legacy text audit lines (--audit-log-format=legacy, Kubernetes 1.6 and 1.7, plugin errors) become v1 events.

The line of an event: `TIME AUDIT: id="…" stage="…" ip="…" method="list" user="…" … uri="…" response="200"`
(apiserver/pkg/audit/format.go, EventString). Before advanced auditing there were two lines per request, without a
stage and with the HTTP method, of which the second has id and response only (1.6, endpoints/filters/audit.go).
"""

from __future__ import annotations

import re
from typing import Any

from .line import RFC3339, Sample

__all__ = ["LEGACY", "SAMPLES", "fields_of", "identity", "parse", "unquote"]

LEGACY = re.compile(rb"(?P<time>" + RFC3339 + rb') AUDIT: id="')

_PAIR = re.compile(r'([\w-]+)="((?:[^"\\]|\\.)*)"')
_ABSENT = {"", "<none>", "<self>", "<lookup>", "<unknown>", "<deferred>"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unquote(text: str) -> str:
    """The inside of a Go %q string without its escapes; \\x bytes make up UTF-8, what is none of it is U+FFFD."""
    if "\\" not in text:
        return text
    out = bytearray()
    last = 0
    for match in _ESCAPE.finditer(text):
        out += text[last : match.start()].encode("utf-8", "replace")
        last = match.end()
        code = match[1]
        if len(code) == 3 and code[0] == "x":
            out.append(int(code[1:], 16))
        elif len(code) == 3:
            out.append(int(code, 8) & 0xFF)
        elif len(code) > 3:
            point = int(code[1:], 16)
            char = chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"
            out += char.encode()
        else:
            out += _SIMPLE.get(code, code).encode("utf-8", "replace")
    out += text[last:].encode("utf-8", "replace")
    return out.decode("utf-8", "replace")


def fields_of(text: str) -> dict[str, str]:
    """The key="value" pairs of a legacy line, unquoted; placeholders such as <none> are absent."""
    pairs = ((key, unquote(value)) for key, value in _PAIR.findall(text))
    return {key: value for key, value in pairs if value not in _ABSENT}


def identity(text: bytes) -> tuple[bytes, bool, bool]:
    """(id, whether it is a request line of two-line auditing, whether it is the response line of one)."""
    at = text.find(b'id="') + 4
    audit_id = text[at : text.find(b'"', at)]
    staged = text.startswith(b' stage="', at + len(audit_id) + 1)
    response = text.startswith(b' response="', at + len(audit_id) + 1)
    return audit_id, not staged and not response, response


def parse(text: bytes) -> tuple[dict[str, Any], bool]:
    """A legacy line, or a request line and its response line joined by a newline, as (event in v1 words, partial).

    The level is Metadata: that is what such a line holds. A response line alone gives id and code, partial.
    """
    first, _, second = text.decode("utf-8", "replace").partition("\n")
    time, _, rest = first.partition(" AUDIT: ")
    time = _rfc3339(time)
    pairs = fields_of(rest)
    event: dict[str, Any] = {"level": "Metadata", "auditID": pairs.get("id", "")}
    alone = "response" in pairs and "uri" not in pairs and "method" not in pairs
    if alone:
        event |= {"stage": "ResponseComplete", "stageTimestamp": time}
        _set_code(event, pairs.get("response"))
        return event, True
    staged = "stage" in pairs
    event["stage"] = pairs.get("stage", "ResponseComplete" if second else "RequestReceived")
    _copy(event, pairs)
    event["requestReceivedTimestamp"] = time
    if not staged:
        event["verb"] = _verb(pairs.get("method", ""), pairs.get("uri", ""))
        if second:
            end, _, rest = second.partition(" AUDIT: ")
            event["stageTimestamp"] = _rfc3339(end)
            pairs |= fields_of(rest)
        else:
            event["stageTimestamp"] = time
    _set_code(event, pairs.get("response"))
    return event, "uri" not in pairs


def _rfc3339(time: str) -> str:
    return time.replace(" ", "T").replace(",", ".")


def _copy(event: dict[str, Any], pairs: dict[str, str]) -> None:
    event["requestURI"] = pairs.get("uri")
    event["verb"] = pairs.get("method")
    event["user"] = _user(pairs.get("user"), pairs.get("groups"))
    impersonated = _user(pairs.get("as"), pairs.get("asgroups"))
    event["impersonatedUser"] = impersonated or None
    event["sourceIPs"] = [pairs["ip"]] if "ip" in pairs else None
    event["userAgent"] = pairs.get("user-agent")
    for name in [name for name, value in event.items() if value is None]:
        del event[name]


def _user(name: str | None, groups: str | None) -> dict[str, Any]:
    user: dict[str, Any] = {}
    if name:
        user["username"] = name
    if groups:  # a comma list of %q strings, quoted once more
        user["groups"] = [unquote(group) for group in re.findall(r'"((?:[^"\\]|\\.)*)"', groups)] or groups.split(",")
    return user


def _set_code(event: dict[str, Any], response: str | None) -> None:
    if response is not None and response.isdigit():
        event["responseStatus"] = {"metadata": {}, "code": int(response)}


def _verb(method: str, uri: str) -> str:
    from auditlens.requestinfo import resolve

    return resolve(method, uri).verb


SAMPLES = (
    Sample(
        b'2017-06-01T10:00:00.1234Z AUDIT: id="4f-1" ip="192.0.2.1" method="GET" user="admin" '
        b'groups="\\"system:masters\\",\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" '
        b'namespace="default" uri="/api/v1/namespaces/default/pods?limit=5"\n'
        b'2017-06-01T10:00:00.1255Z AUDIT: id="4f-1" response="200"\n'
        b'2017-06-01T10:00:00.1255Z AUDIT: id="4f-9" response="404"\n',
        (
            {"auditID": "4f-1", "stage": "RequestReceived", "verb": "list", "responseStatus": None},
            {
                "auditID": "4f-1",
                "stage": "ResponseComplete",
                "verb": "list",
                "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
                "requestReceivedTimestamp": "2017-06-01T10:00:00.1234Z",
                "stageTimestamp": "2017-06-01T10:00:00.1255Z",
                "responseStatus": {"metadata": {}, "code": 200},
                "objectRef": {"resource": "pods", "namespace": "default", "apiVersion": "v1"},
            },
            {"auditID": "4f-9", "partial": True, "verb": None, "responseStatus": {"metadata": {}, "code": 404}},
        ),
    ),
    Sample(
        b'2022-01-02T12:00:00.5+01:00 AUDIT: id="3" stage="ResponseComplete" ip="<unknown>" method="get" user="<none>" '
        b'groups="<none>" as="d\\u00e9v\\n" asgroups="\\"system:authenticated\\"" user-agent="curl/7.68.0" '
        b'namespace="<none>" uri="/version" response="<deferred>"\n',
        (
            {
                "auditID": "3",
                "user": {},
                "impersonatedUser": {"username": "dév\n", "groups": ["system:authenticated"]},
                "sourceIPs": None,
                "userAgent": "curl/7.68.0",
                "requestReceivedTimestamp": "2022-01-02T12:00:00.5+01:00",
                "objectRef": None,
                "responseStatus": None,
            },
        ),
    ),
)
