"""One log entry at a time becomes rows, redacted: the exact path behind the fast one, for whatever is out of the ordinary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from auditlens.catalogue import kind_of
from auditlens.formats.entry import Entry
from auditlens.formats.httplog import http_row, is_http
from auditlens.formats.kubectl import Exchange, Exchanges, hex_dump, is_debug
from auditlens.formats.trace import Block, Traces
from auditlens.redact import NO_REDACTION, Redactor

__all__ = ["AUDIT_ID_KEYS", "Origin", "RowMaker"]

AUDIT_ID_KEYS = ("audit-ID", "auditID", "audit-id")
_AUDIT_ID = re.compile(r"audit-id:([^,\s]+)|audit-ID=\"([^\"]+)\"")

_SECRETS_URL = re.compile(r"/secrets(?:[/?]|$)|/serviceaccounts/[^/]+/token")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry stands, when it was logged, and what all of its rows share (partition, instance, address)."""

    time: int | None  # microseconds since 1970
    zone: int  # microseconds east of UTC of local times within the text
    shared: Row = field(hash=False)

    @property
    def date(self) -> int | None:
        """Days since 1970."""
        return None if self.time is None else self.time // 86_400_000_000


class RowMaker:
    """Entries of one source, in order, as rows of `klog`, `httplog`, `trace` and `kubectl`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._traces: dict[str, Traces] = {}  # by instance: blocks may be scattered over entries
        self._doubtful: set[str] = set()  # instances with an open block of which a line may hold a credential
        self._clients: dict[tuple[str, int | None], Exchanges] = {}

    def rows(self, entry: Entry, size: int, origin: Origin, *, harmless: bool = False) -> Iterator[tuple[str, Row]]:
        """Rows as (table, columns); the one of `klog` comes first. `harmless`: redact.LOG_SUSPECT is not in the entry's text."""
        http = http_row(entry) if is_http(entry) else None
        kind, message, kept = _told(entry, http is not None)
        yield "klog", origin.shared | {
            "severity": entry.severity, "pid": entry.pid, "file": entry.file, "file_line": entry.file_line,
            "logger": entry.logger, "verbosity": entry.verbosity, "message": message if harmless else self._redactor.line(message),
            "fields": (list(kept.items()) if harmless else self._map(kept)) if kept else None, "kind": kind,
            "audit_id": _audit_id(entry, kind), "bytes": size,
        }  # fmt: skip
        if http is not None:
            yield "httplog", origin.shared | self._http(http)
        elif kind == "trace":
            yield from self._traced(entry, origin, harmless)
        elif kind == "kubectl":
            yield from self._exchanged(entry, origin)

    def _traced(self, entry: Entry, origin: Origin, harmless: bool) -> Iterator[tuple[str, Row]]:
        """Rows of the blocks that an entry ends."""
        instance = origin.shared["instance"]
        traces = self._traces.setdefault(instance, Traces())
        if not harmless:
            self._doubtful.add(instance)
        for block, first in traces.feed(entry.message, origin):
            assert isinstance(first, Origin)
            yield from self._trace(block, first, instance not in self._doubtful)
        if traces.idle:
            self._doubtful.discard(instance)

    def _exchanged(self, entry: Entry, origin: Origin) -> Iterator[tuple[str, Row]]:
        """Rows of the exchanges that an entry ends."""
        client = self._clients.setdefault((origin.shared["instance"], entry.pid), Exchanges())
        for exchange in client.feed(entry, origin):
            yield from self._exchange(exchange, entry.pid)

    def close(self) -> Iterator[tuple[str, Row]]:
        """Rows of what was still open at the end of the source."""
        for instance, traces in self._traces.items():
            for block, first in traces.close():
                assert isinstance(first, Origin)
                yield from self._trace(block, first, instance not in self._doubtful)
        for (_, pid), client in self._clients.items():
            for exchange in client.close():
                yield from self._exchange(exchange, pid)

    def _map(self, fields: dict[str, str]) -> list[tuple[str, str]]:
        return [(k, self._redactor.field(k, v)) for k, v in fields.items()]

    def _http(self, row: Row) -> Row:
        for name in ("user_agent", "added_info", "status_stack"):
            if row.get(name):
                row[name] = self._redactor.line(row[name])
        if row.get("uri"):
            row["uri"] = self._redactor.uri(row["uri"])
        if "more" in row:
            row["more"] = self._map(row["more"])
        return row | {"client": client_of(row.get("user_agent"))}

    def _trace(self, block: Block, origin: Origin, harmless: bool) -> Iterator[tuple[str, Row]]:
        if not harmless:
            block.fields = dict(self._map(block.fields))
            block.name = block.name and self._redactor.line(block.name)
            for step in block.steps:
                step.fields, step.name = dict(self._map(step.fields)), self._redactor.line(step.name)
        fields = block.fields
        audit_id = fields.get("audit-id") or next((s.fields["audit-id"] for s in block.steps if "audit-id" in s.fields), None)
        start = None if block.start is None else round(block.start.timestamp() * 1_000_000)
        if start is not None and not block.zoned:
            start -= origin.zone
        shared = origin.shared | {
            "trace_id": block.id or None, "name": block.name, "audit_id": audit_id, "total_ms": block.total_ms,
            "ended": block.ended, "verb": fields.get("verb"), "url": fields.get("url"), "user_agent": fields.get("user-agent"),
        }  # fmt: skip
        yield "trace", shared | {
            "seq": 0, "depth": 0, "span": True, "step_ms": block.total_ms, "at_ms": 0.0 if block.name else None, "step_time": start,
            "fields": list(fields.items()) or None,
        }  # fmt: skip
        for seq, step in enumerate(block.steps, 1):
            yield "trace", shared | {
                "seq": seq, "step": step.name, "span": step.span, "depth": step.depth, "step_ms": step.ms, "at_ms": step.at_ms,
                "step_time": _step_time(start, step.clock_us, step.at_ms, block.total_ms, origin.zone if not block.zoned else 0),
                "fields": list(step.fields.items()) or None,
            }  # fmt: skip

    def _exchange(self, exchange: Exchange, pid: int | None) -> Iterator[tuple[str, Row]]:
        first, last = exchange.origins[0], exchange.origins[-1]
        assert isinstance(first, Origin) and isinstance(last, Origin)
        url = exchange.url or ""
        yield "kubectl", first.shared | {
            "end_time": last.time, "pid": pid, "method": exchange.method, "url": self._redactor.uri(url) or None,
            "status": exchange.status, "code": exchange.code, "milliseconds": exchange.milliseconds,
            "request_headers": self._headers(exchange.request_headers), "request_body": self._body(exchange.request_body, url),
            "response_headers": self._headers(exchange.response_headers),
            "response_body": self._body(exchange.response_body, url), "body_truncated": exchange.truncated,
            "curl": self._redactor.line(exchange.curl) if exchange.curl else None,
            "audit_id": next((v for k, v in exchange.response_headers.items() if k.lower() == "audit-id"), None),
            "timings": list(exchange.timings.items()) or None, "lines": len(exchange.origins),
        }  # fmt: skip

    def _headers(self, headers: dict[str, str]) -> list[tuple[str, str]] | None:
        return [(key, self._redactor.field(key, value)) for key, value in headers.items()] or None

    def _body(self, body: str | None, url: str) -> str | None:
        """A body as it may be kept: JSON redacted inside; binary ones, and what may hide a value in the rest, replaced."""
        if not body or self._redactor is NO_REDACTION:
            return body or None
        raw = hex_dump(body)
        if raw is not None:
            return self._redactor.whole(raw)
        raw = body.strip().encode("utf-8", "surrogateescape")
        secret = _SECRETS_URL.search(unquote(url)) is not None
        try:
            read = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._redactor.text(raw) if secret else self._redactor.line(body)
        # a patch of which nobody knows what it changes may be one of a Secret
        unknown = not url and not (isinstance(read, dict) and "kind" in read)
        return self._redactor.body(raw, "secrets" if secret or unknown else "").decode("utf-8", "replace")


def client_of(agent: str | None) -> str | None:
    """The program named first in a user agent."""
    return (agent or "").partition(" ")[0].partition("/")[0] or None


def _told(entry: Entry, http: bool) -> tuple[str | None, str, dict[str, str] | None]:
    """Kind, message and fields that `klog` keeps of an entry; requests and exchanges have tables of their own for the rest."""
    message = entry.message
    if http:
        return "http", message.partition("\n")[0] if entry.plain else "HTTP", None
    if is_debug(entry):
        return "kubectl", message.split(":")[0] if "Body:" in message[:16] else message, None
    if message.startswith(("Trace[", 'Trace "')) or "\nTrace[" in message:
        return "trace", message, entry.fields
    return kind_of(message, entry.fields), message, entry.fields


def _audit_id(entry: Entry, kind: str | None) -> str | None:
    named = next((entry.fields[k] for k in AUDIT_ID_KEYS if entry.fields.get(k)), None)
    if named is None and kind == "trace" and (match := _AUDIT_ID.search(entry.message)):
        return match[1]
    return named


def _step_time(start: int | None, clock: int | None, at_ms: float | None, total_ms: float | None, zone: int) -> int | None:
    """The moment of a step; a clock that lies outside the block is not believed (1.19 to 1.21 print its seconds as 00)."""
    if start is None:
        return None
    if at_ms is not None:
        return start + round(at_ms * 1000)
    if clock is None or total_ms is None:
        return None
    day = 86_400_000_000
    moment = (start + zone) // day * day + clock - zone
    if moment < start - 1000:
        moment += day
    return moment if start - 1000 <= moment <= start + total_ms * 1000 + 2000 else None
