"""A client's debug output (kubectl -v=6 and up) as HTTP exchanges: request, headers, bodies, curl line, timings.

client-go transport/round_trippers.go and rest/request.go. To 1.32 a line each with its own header, since 1.33 structured;
bodies are structured since 1.32. Parallel requests interleave: a response that names no URL belongs to a request only if
a single one is waiting, else both stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .entry import Entry

__all__ = ["Exchange", "Exchanges", "hex_dump", "is_debug"]

_VERB = r"(?P<method>GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE)"
_REQUEST = re.compile(rf"{_VERB} (?P<url>https?://\S+)$", re.MULTILINE)
# the status is missing when the request failed
_DONE = re.compile(rf"{_VERB} (?P<url>https?://\S+) (?P<status>.*?) ?in (?P<ms>\d+) milliseconds$", re.MULTILINE)
_STATUS = re.compile(r"Response Status: (?P<status>.*?) ?in (?P<ms>\d+) milliseconds$", re.MULTILINE)
_CURL = re.compile(r"curl (?:-k )?-v -X(?P<method>[A-Z]+) ")
_HEADER = re.compile(r"    (?P<key>[^\s:]+): (?P<value>.*)$", re.MULTILINE)
_BODY = re.compile(r"(Request|Response) Body:[ \n]?(?P<body>.*)", re.DOTALL)
_TIMING = re.compile(r"([A-Z]\w*) (\d+) ms")
_CURL_HEADER = re.compile(r"-H (?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)')")
_CURL_URL = re.compile(r"(?:'([^']+)'|(\S+))\s*$")
_TRUNCATED = re.compile(r" ?\[truncated (\d+) chars\]\s*$")
_DUMP = re.compile(r"[0-9a-f]{8}  (?P<hex>(?:[0-9a-f]{2} ){1,8} ?(?:[0-9a-f]{2} ){0,8}) *\|")

_OLD = ("Request Headers:", "Response Headers:", "Response Status:", "curl -", "HTTP Statistics:", "HTTP Trace:",
        "Request Body:", "Response Body:", "    ")  # fmt: skip
_NEW = frozenset({"Request", "Response", "Request Body", "Response Body"})
_MAX_OPEN = 100
_MILLIS = "Milliseconds"


@dataclass(slots=True)
class Exchange:
    """One exchange as far as it was printed. Bodies are as printed, without the truncation mark."""

    method: str | None = None
    url: str | None = None
    status: str | None = None
    milliseconds: float | None = None
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    request_body: str | None = None
    response_body: str | None = None
    truncated: int | None = None
    curl: str | None = None
    timings: dict[str, int] = field(default_factory=dict)
    answered: bool = False
    origins: list[object] = field(default_factory=list)

    @property
    def code(self) -> int | None:
        """The number in the status line."""
        head = (self.status or "")[:3]
        return int(head) if head.isdigit() else None


def is_debug(entry: Entry) -> bool:
    """Whether the entry is part of an exchange."""
    if not entry.plain:
        if entry.message in ("Request Body", "Response Body"):
            return "body" in entry.fields
        if entry.message == "Request":
            return "url" in entry.fields or "curlCommand" in entry.fields
        return (entry.message == "Response" and "status" in entry.fields) or entry.message.startswith("HTTP Trace: ")
    text = entry.message
    if not text.startswith(_OLD):
        return bool(_REQUEST.match(text) or _DONE.match(text))
    return not text.startswith("    ") or (entry.file or "") in ("round_trippers.go", "debugging.go")


def hex_dump(text: str) -> bytes | None:
    """The bytes of a hex dump, None when the text is none; a dump that was cut gives what it shows."""
    lines = text.strip("\n").split("\n")
    if not _DUMP.match(lines[0].strip()):
        return None
    found = (_DUMP.match(line.strip()) for line in lines)
    return b"".join(bytes.fromhex(match["hex"]) for match in found if match)


class Exchanges:
    """The exchanges of one client; `feed` takes its entries in order, each with its origin."""

    def __init__(self) -> None:
        self._open: list[Exchange] = []
        self._headers: dict[str, str] | None = None  # where header lines go
        self._body: tuple[str, int | None, object] | None = None  # printed before its request
        self._last: Exchange | None = None  # answered last

    def feed(self, entry: Entry, origin: object) -> Iterator[Exchange]:
        """Exchanges that are complete now that this one goes on or begins."""
        if entry.plain:
            yield from self._old(entry.message, origin)
        else:
            yield from self._new(entry.message, entry.fields, origin)
        while len(self._open) > _MAX_OPEN:
            yield self._open.pop(0)

    def close(self) -> Iterator[Exchange]:
        """What is left."""
        if self._body is not None:
            yield from self._begin(Exchange(), self._body[2])
        yield from self._open
        self._open, self._last, self._headers = [], None, None

    def _begin(self, exchange: Exchange, origin: object) -> Iterator[Exchange]:
        done = [e for e in self._open if e.answered]
        self._open = [e for e in self._open if not e.answered]
        yield from done
        if self._body is not None:
            exchange.request_body, exchange.truncated = self._body[:2]
            exchange.origins.append(self._body[2])
            self._body = None
        if origin not in exchange.origins:
            exchange.origins.append(origin)
        self._open.append(exchange)
        self._headers = exchange.request_headers

    def _answer(self, origin: object, method: str | None, url: str | None) -> Iterator[Exchange]:
        """Make `_last` the exchange that a response belongs to."""
        waiting = [e for e in self._open if not e.answered]
        if url is not None:
            waiting = [e for e in waiting if (e.method, e.url) == (method, url)][:1]
        if len(waiting) != 1:
            body, self._body = self._body, None
            if body and url is not None and not self._open:  # -v=8 of some releases prints the body, then only the answer
                self._body = body
            yield from self._begin(Exchange(method, url), origin)
            self._body = self._body or (body if body and self._open[-1].request_body is None else None)
            waiting = self._open[-1:]
        self._last = waiting[0]
        self._last.answered = True
        if self._last.origins[-1] != origin:
            self._last.origins.append(origin)
        self._headers = self._last.response_headers

    def _bodies(self, which: str, text: str, origin: object) -> Iterator[Exchange]:
        cut = _TRUNCATED.search(text)
        left = int(cut[1]) if cut and len(cut[1]) < 18 else None
        text = text[: cut.start()] if cut else text
        if which == "Request":
            if self._body is not None:
                yield from self._begin(Exchange(), self._body[2])
            self._body = text, left, origin
            return
        if self._last is None or self._last.response_body is not None:
            yield from self._answer(origin, None, None)
        assert self._last is not None
        self._last.response_body = text
        self._last.truncated = left if left is not None else self._last.truncated
        if self._last.origins[-1] != origin:
            self._last.origins.append(origin)

    def _touch(self, origin: object) -> Exchange | None:
        """The exchange that an extra line is about: the last one that is open."""
        found = self._open[-1] if self._open else None
        if found:
            found.origins.append(origin)
        return found

    def _old(self, text: str, origin: object) -> Iterator[Exchange]:
        if match := _DONE.match(text):
            yield from self._answer(origin, match["method"], match["url"])
            self._told(match["status"], match["ms"])
        elif match := _REQUEST.match(text):
            yield from self._begin(Exchange(match["method"], match["url"]), origin)
        elif match := _STATUS.match(text):
            yield from self._answer(origin, None, None)
            self._told(match["status"], match["ms"])
        elif match := _CURL.match(text):
            yield from self._begin(curl_exchange(text), origin)
        elif match := _BODY.match(text):
            yield from self._bodies(match[1], match["body"], origin)
        elif match := _HEADER.match(text):
            if self._headers is not None:
                self._headers[match["key"]] = match["value"]
            self._touch(origin)
        elif text.startswith("HTTP Statistics:"):
            exchange = self._touch(origin)
            if exchange:
                exchange.timings |= {name: int(ms) for name, ms in _TIMING.findall(text) if len(ms) < 18}
        else:
            self._touch(origin)

    def _new(self, message: str, fields: dict[str, str], origin: object) -> Iterator[Exchange]:
        if message == "Request":
            curl = fields.get("curlCommand")
            exchange = curl_exchange(curl) if curl is not None else Exchange(fields.get("verb"), fields.get("url"))
            exchange.request_headers |= header_lines(fields.get("headers", ""))
            yield from self._begin(exchange, origin)
        elif message == "Response":
            yield from self._answer(origin, fields.get("verb"), fields.get("url"))
            self._told(fields["status"], fields.get("milliseconds"))
            assert self._last is not None
            self._last.response_headers |= header_lines(fields.get("headers", ""))
            self._last.timings |= {
                k.removesuffix(_MILLIS): int(v) for k, v in fields.items() if k.endswith(_MILLIS) and v.isdigit() and len(v) < 18
            }
        elif message.endswith(" Body"):
            yield from self._bodies(message.removesuffix(" Body"), fields.get("body", ""), origin)
        else:
            self._touch(origin)

    def _told(self, status: str, ms: str | None) -> None:
        assert self._last is not None
        self._last.status = status or None
        self._last.milliseconds = float(ms) if ms and ms.isdigit() else None


def header_lines(text: str) -> dict[str, str]:
    """`Key: value` lines as a mapping; of a header that comes twice the values are joined by commas."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            found[key] = f"{found[key]}, {value.strip()}" if key in found else value.strip()
    return found


def curl_exchange(text: str) -> Exchange:
    """The request behind a printed curl line."""
    text = text.strip()
    match = _CURL.match(text)
    exchange = Exchange(match["method"] if match else None, curl=text)
    for double, single in _CURL_HEADER.findall(text):
        key, _, value = (double.replace('\\"', '"') or single).partition(":")
        exchange.request_headers[key] = value.strip()
    if url := _CURL_URL.search(text):
        exchange.url = url[1] or url[2]
    return exchange
