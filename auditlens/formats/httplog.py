"""The apiserver's line per request, in each of the forms it had since 1.6, as one row of `httplog`.

apiserver pkg/server/httplog/httplog.go; wrap.go and glog before 1.12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .durations import duration_ms
from .entry import Entry
from .values import unquote

__all__ = ["http_row", "is_http"]

# 1.6-1.17: `GET /x: (1.2ms) 200 [[agent] addr]`; a stack and the logged error body stand between code and agent, which
# is on a line of its own then and missing where only the lines with the code were kept
_OLD = re.compile(
    r"(?P<verb>[A-Z]+) (?P<uri>\S+): \((?P<latency>[^)\s]+)\) (?:(?P<code>\d+)|(?P<hijacked>hijacked))"
    r"(?:(?P<more>(?:[^\n]*\n)*)\s*\[(?P<agent>[^\n]*) (?P<addr>[^\s\]]+)\]\s*|(?P<rest>\s*\Z|\s*\n.*))",
    re.DOTALL,
)
# 1.18: `verb="GET" URI="/x" latency=1.2ms resp=200 UserAgent="…" srcIP="10.0.0.1:4567": ` and what went wrong behind it
_V118 = re.compile(
    r'verb="(?P<verb>[^"]*)" URI="(?P<uri>(?:[^"\\]|\\.)*)" latency=(?P<latency>\S+) (?:resp=(?P<code>\d+) )?'
    r'UserAgent="(?P<agent>(?:[^"\\]|\\.)*)" srcIP="(?P<addr>[^"]*)": ?(?P<hijacked>hijacked)?(?P<more>.*)',
    re.DOTALL,
)
_STACK = re.compile(r"goroutine \d+ \[.*?(?=\n\nlogging error output|\nlogging error output|\Z)", re.DOTALL)
_ADDED = re.compile(r"logging error output: .*", re.DOTALL)

_FLOW = {"apf_pl": "apf_pl", "apf_fs": "apf_fs", "contentType": "content_type"}
_COUNTS = {"apf_iseats": "apf_iseats", "apf_fseats": "apf_fseats"}
_TIMES = {
    "apf_additionalLatency": "apf_additional_latency_ms", "apf_execution_time": "apf_execution_ms",
    "apf_init_latency": "apf_init_latency_ms", "watchlist_init_latency": "watchlist_init_latency_ms",
}  # fmt: skip
_KNOWN = {*_FLOW, *_COUNTS, *_TIMES, "verb", "URI", "latency", "userAgent", "UserAgent", "audit-ID", "srcIP", "resp",
          "hijacked", "statusStack", "addedInfo"}  # fmt: skip


def is_http(entry: Entry) -> bool:
    """Whether it may be a request's line; cheap."""
    if not entry.plain:
        return entry.message == "HTTP" and "verb" in entry.fields
    return ": (" in entry.message or entry.message.startswith('verb="')


def http_row(entry: Entry) -> dict[str, Any] | None:
    """The columns of `httplog` that the line fills, None when it is no request's line.

    `code` is null for a hijacked connection and 0 when the handler wrote nothing.
    """
    if not entry.plain:
        return _fields(entry.fields) if entry.message == "HTTP" and "verb" in entry.fields else None
    match = _V118.match(entry.message) if entry.message.startswith('verb="') else _OLD.match(entry.message)
    if match is None:
        return None
    agent, more = match["agent"], match["more"]
    if match.re is _OLD:
        more = more if more is not None else match["rest"]
        if agent and agent[:1] == "[" and agent[-1:] == "]":  # to 1.11 a printed Go slice
            agent = agent[1:-1]
    stack, added = _STACK.search(more), _ADDED.search(more)
    return {
        "verb": match["verb"], "uri": unquote(match["uri"]) if match.re is _V118 else match["uri"],
        "latency_ms": duration_ms(match["latency"]), "code": int(match["code"]) if match["code"] else None,
        "hijacked": match["hijacked"] is not None, "user_agent": agent if match.re is _OLD else unquote(agent or ""),
        "source_ip": _address(match["addr"]), "status_stack": stack[0].strip() if stack else None,
        "added_info": added[0].strip() if added else None,
    }  # fmt: skip


def _fields(fields: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "verb": fields["verb"], "uri": fields.get("URI"), "latency_ms": duration_ms(fields.get("latency")),
        "user_agent": fields.get("userAgent"), "audit_id": fields.get("audit-ID") or None,
        "source_ip": _address(fields.get("srcIP")), "code": _int(fields.get("resp")),
        "hijacked": fields.get("hijacked") == "true", "status_stack": fields.get("statusStack"),
        "added_info": fields.get("addedInfo"),
    }  # fmt: skip
    row |= {column: fields[key] for key, column in _FLOW.items() if key in fields}
    row |= {column: _int(fields[key]) for key, column in _COUNTS.items() if key in fields}
    row |= {column: duration_ms(fields[key]) for key, column in _TIMES.items() if key in fields}
    more = {key: value for key, value in fields.items() if key not in _KNOWN}
    return row | {"more": more} if more else row


def _int(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d{1,18}", text) else None


def _address(text: str | None) -> str | None:
    """The peer's address without its port: `[::1]:443` is `::1`."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    return (host if port.isdigit() else text).strip("[]") or None
