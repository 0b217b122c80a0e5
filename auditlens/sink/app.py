"""One POST becomes one durable record, or a status that says why not; nothing but its envelope is judged here.

What is judged before a byte of the body is read: path, method, credential, type, size, room. The answer 200 is given only
after the WAL's sync. Every other answer makes kube-apiserver send the batch again, and drop it after five attempts; with
Retry-After each attempt becomes up to eleven posts over 30 s, so it is only given where waiting helps.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from auditlens.faults import said
from auditlens.sink.access import Access
from auditlens.sink.metrics import Metrics
from auditlens.sink.wal import RecordHeader, Wal, WalError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

RETRY_AFTER = 10  # seconds: three posts within each attempt's 30 s, and the batch lives four minutes instead of 80 s
_WAIT = 5.0  # seconds a request waits for memory before it is told to come back
_GAP = 10.0  # seconds between two parts of a body
_BODY = 60.0  # seconds for a whole body: the apiserver gives up after 30
_LINGER = 8 << 20  # bytes read on after a refusal, at most
_STEP = 1 << 20  # bytes decompressed at a time
_MEMBERS = 1000  # of one gzip body: the apiserver writes one, and each costs a moment even if it is empty
_PATH = re.compile(rb"/audit(?:/([a-z0-9][a-z0-9.-]{0,62}))?")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_SPACE = b" \t\r\n"


class Refused(Exception):
    """The answer that is not 200. `slow` says that the client should wait; `sample` is the start of what it sent."""

    def __init__(self, status: int, why: str, *, slow: bool = False, sample: bytes = b"") -> None:
        super().__init__(why)
        self.status, self.why, self.slow, self.sample = status, why, slow, sample


class Budget:
    """Bytes of bodies that may be in memory at once; who waits is served in order."""

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def take(self, size: int) -> None:
        """Reserve; raises Refused when there is no room for a while."""
        if not self._waiting and self.used + size <= self.total:
            self.used += size
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await asyncio.wait_for(asyncio.shield(future), _WAIT)
        except TimeoutError:
            if not future.done():
                self._waiting.remove((size, future))
                self._serve()
                raise Refused(429, "too many bodies at once", slow=True) from None

    def give(self, size: int) -> None:
        """Return what was taken."""
        self.used -= size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.total:
            size, future = self._waiting.pop(0)
            self.used += size
            future.set_result(None)


class Log(Protocol):
    """Where lines for the operator go; a flood of one kind is bounded."""

    def __call__(self, text: str, *, kind: str = "") -> None: ...


@dataclass(slots=True)
class Sink:
    """The ASGI application."""

    wal: Wal
    access: Access
    metrics: Metrics
    budget: Budget
    max_body: int
    refusal: Callable[[], str | None]  # why nothing is accepted now, None when it is
    log: Log
    redacted: Callable[[bytes], str]
    status: bool = True  # answer /metrics
    received: int = 0  # bytes appended since the WAL was last measured

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["raw_path"]
        if path in (b"/healthz", b"/readyz", b"/metrics"):
            await self._about(scope, path, send)
            return
        started = time.perf_counter()
        try:
            await self._post(scope, receive)
        except Refused as e:
            self.metrics.received.labels(str(e.status)).inc()
            await self._refuse(scope, e, receive, send)
            return
        except ConnectionError:
            self.metrics.received.labels("gone").inc()
            return
        self.metrics.received.labels("200").inc()
        await _answer(send, 200, b"ok\n")
        self.metrics.latency.observe(time.perf_counter() - started)

    async def _about(self, scope: Message, path: bytes, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"GET only\n", (b"allow", b"GET, HEAD"), (b"connection", b"close"))
        elif path == b"/healthz":
            await _answer(send, 200, b"ok\n")
        elif path == b"/readyz":
            why = self.refusal()
            await _answer(send, 503 if why else 200, f"{why or 'ok'}\n".encode())
        else:
            self.metrics.in_flight.set(self.budget.used)
            await _answer(send, 200, self.metrics.render(), kind=b"text/plain; version=0.0.4; charset=utf-8")

    async def _refuse(self, scope: Message, why: Refused, receive: Receive, send: Send) -> None:
        client = scope["client"][0] if scope["client"] else "?"
        shown = f": {self.redacted(why.sample)}" if why.sample else ""
        self.log(f"{client}: {why.status} {why.why}{shown}", kind=str(why.status))
        more: list[tuple[bytes, bytes]] = [(b"connection", b"close")]
        if why.slow:
            more.append((b"retry-after", b"%d" % RETRY_AFTER))
        if why.status == 401:
            more.append((b"www-authenticate", b"Bearer"))
        if why.status == 405:
            more.append((b"allow", b"POST"))
        text = f"{why.why}\n".encode()
        await send({"type": "http.response.start", "status": why.status, "headers": _headers(text, _TEXT[1], more)})
        await send({"type": "http.response.body", "body": text, "more_body": True})
        # A close with bytes unread is a reset, which can overtake the answer: read on for a moment.
        left = _LINGER
        try:
            async with asyncio.timeout(0.5):
                while left > 0 and (message := await receive()).get("more_body"):
                    left -= len(message["body"])
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})

    async def _post(self, scope: Message, receive: Receive) -> None:
        """Judge, read, append, and return when it is durable."""
        cluster, headers = self._admit(scope)
        length, gzipped = self._envelope(headers)
        if why := self.refusal():
            raise Refused(503, why, slow=True)
        held = _Held(self.budget, self.max_body)
        try:
            await held.take(self.max_body if length is None else length)
            parts = await _read(receive, self.max_body)
            if gzipped:
                parts = await _gunzip(parts, held)
            start = next((s for part in parts if (s := part.lstrip(_SPACE))), b"")
            if not start.startswith(b"{"):
                why = "the body is no JSON object" if start else "the body is empty"
                raise Refused(400, why, sample=start[:200])
            client = scope["client"][0] if scope["client"] else ""
            size = sum(map(len, parts))
            try:
                await asyncio.wrap_future(self.wal.append(RecordHeader(cluster, time.time(), client), parts))
            except WalError as e:
                raise Refused(503, str(e), slow=True) from e
            self.received += size
            self.metrics.bytes.inc(size)
        finally:
            held.give()

    def _admit(self, scope: Message) -> tuple[str | None, dict[bytes, bytes]]:
        """The cluster it may write and the headers; Refused otherwise."""
        path = _PATH.fullmatch(scope["raw_path"])
        if path is None:
            raise Refused(404, "no such path; use /audit or /audit/CLUSTER")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        extension = scope["extensions"]["auditlens"]
        verdict = self.access.judge(
            headers.get(b"authorization", b"").decode("latin-1"), extension["names"], path[1].decode() if path[1] else None
        )
        if verdict.status != 200:
            raise Refused(verdict.status, verdict.why)
        extension["connection"].authenticated()
        if scope["method"] != "POST":
            raise Refused(405, "POST only")
        return verdict.cluster, headers

    def _envelope(self, headers: dict[bytes, bytes]) -> tuple[int | None, bool]:
        """The announced length and whether the body is gzip."""
        kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Refused(415, "the content type is not application/json")
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"identity", b"gzip"):
            raise Refused(415, "the content encoding is neither gzip nor identity")
        length = int(headers[b"content-length"]) if b"content-length" in headers else None
        if length is not None and length > self.max_body:
            raise Refused(
                413, f"the body has {length} bytes, more than {self.max_body} are not read; see --audit-webhook-batch-max-size"
            )
        return length, coding == b"gzip"


class _Held:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget, most: int) -> None:
        self._budget, self._most, self._size = budget, most, 0

    async def take(self, size: int) -> None:
        await self._budget.take(size)
        self._size += size

    def give(self) -> None:
        self._budget.give(self._size)


async def _read(receive: Receive, most: int) -> list[bytes]:
    """The parts of the body; Refused when it is too long or too slow, ConnectionError when the client is gone."""
    parts, size = [], 0
    loop = asyncio.get_running_loop()
    end = loop.time() + _BODY
    while True:
        try:
            async with asyncio.timeout_at(min(end, loop.time() + _GAP)):
                message = await receive()
        except TimeoutError:
            raise Refused(408, "the body came too slowly") from None
        if message["type"] == "http.disconnect":
            raise ConnectionError
        part = message["body"]
        size += len(part)
        if size > most:
            raise Refused(413, f"the body has more than {most} bytes; see --audit-webhook-batch-max-size")
        if part:
            parts.append(part)
        if not message["more_body"]:
            return parts


async def _gunzip(parts: list[bytes], held: _Held) -> list[bytes]:
    """Decompress step by step, each paid from the budget: a bomb ends at the limit, not in memory."""
    out: list[bytes] = []
    size, members = 0, 1
    inflate = zlib.decompressobj(31)
    for part in parts:
        rest = part
        while rest:
            if inflate.eof:  # gzip is a row of members (RFC 1952, 2.2)
                inflate, members = zlib.decompressobj(31), members + 1
                if members > _MEMBERS:
                    raise Refused(400, f"the body has more than {_MEMBERS} gzip members")
            try:
                piece = await asyncio.to_thread(inflate.decompress, rest, _STEP)
            except zlib.error as e:
                raise Refused(400, f"the body is no gzip: {said(e)}") from None
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            size += len(piece)
            if size > held._most:
                raise Refused(413, f"the decompressed body has more than {held._most} bytes")
            if piece:
                await held.take(len(piece))
                out.append(piece)
    if not inflate.eof:
        raise Refused(400, "the gzip body breaks off")
    return out


def _headers(text: bytes, kind: bytes, more: Any) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"content-length", b"%d" % len(text)), *more]


async def _answer(send: Send, status: int, text: bytes, *more: tuple[bytes, bytes], kind: bytes = _TEXT[1]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _headers(text, kind, more)})
    await send({"type": "http.response.body", "body": text})
