"""Connections cost next to nothing until they speak, and are gone when they do not: no client can block another.

A connection is accepted at once but waits, as a bare socket, for its first byte; only then does it get a TLS session and a
parser (some 300 KB). Of those there are few; when they run out, the oldest that never showed a credential makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from auditlens.sink.access import certificate_names

HEAD_BYTES = 32 << 10  # request line and headers
HEAD_SECONDS = 10.0  # from the first byte to the end of the headers, handshake not included
IDLE_SECONDS = 10.0  # of a connection that has not spoken yet, or never showed a credential
KEEP_SECONDS = 120  # of a connection between requests: longer than the 90 s after which Go's client closes it
ACTIVE = 256  # connections that have spoken
TENURE = 0.3  # seconds before such a connection can be closed to make room, once its first bytes were not all of the headers
_PATIENCE = 2.0  # the same for one that is still in its handshake, or that this process did not get to yet
_HEADERS = 100
_SPARE = 256  # descriptors kept for files


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds on what comes before the body, and the certificate's names in the scope."""

    gate: Gate
    _authenticated = False
    _heard = False  # something was read
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._names = certificate_names(transport.get_extra_info("ssl_object"))
        self.gate.active[self] = None
        self._since = self.loop.time()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.active.pop(self, None)
        self._head_read()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def authenticated(self) -> None:
        """A credential was accepted: it is not closed to make room any more."""
        self._authenticated = True

    @property
    def dispensable(self) -> bool:
        """Whether it may be closed to make room for another."""
        return not self._authenticated and self.loop.time() - self._since > (TENURE if self._heard else _PATIENCE)

    def _await_head(self) -> None:
        self._head_bytes = 1
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.abort)

    def _head_read(self) -> None:
        self._head_bytes = 0
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        between = self.timeout_keep_alive_task is not None
        if between:
            self._await_head()
        if self._head_bytes:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES + (256 << 10):  # one read may hold the head and the start of the body
            self.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._head_bytes:  # pipelined
            self._await_head()
        self.scope["extensions"] = {"auditlens": {"connection": self, "names": self._names}}

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > _HEADERS:
            self.abort()

    def on_headers_complete(self) -> None:
        self._head_read()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None and not self._authenticated:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)


class Gate:
    """Accepts connections on sockets and hands those that speak to the app; `tls` gives the context for each new one."""

    def __init__(self, app: Any, tls: Callable[[], ssl.SSLContext | None]) -> None:
        self.active: dict[Protocol, None] = {}  # oldest first
        self.state = ServerState()
        self._tls = tls
        self._config = Config(
            app, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None, date_header=False,
            server_header=False, timeout_keep_alive=KEEP_SECONDS, proxy_headers=False,
        )  # fmt: skip
        self._config.load()
        self._protocol: type[Protocol] = type("_Protocol", (Protocol,), {"gate": self})
        self._silent: dict[socket.socket, float] = {}  # accepted, nothing read yet -> when; oldest first
        self._starting: dict[asyncio.Task[None], float] = {}  # in the handshake -> since when; oldest first
        self._accepting: list[asyncio.Task[None]] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        self._most_silent = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - ACTIVE - _SPARE, 64)

    @property
    def connections(self) -> int:
        """Open connections, silent ones included."""
        return len(self.active) + len(self._silent) + len(self._starting)

    def listen(self, sock: socket.socket) -> None:
        """Start accepting on a listening socket."""
        sock.setblocking(False)
        self._accepting.append(asyncio.get_running_loop().create_task(self._accept(sock)))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as e:
                if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._drop_oldest_silent()
                    await asyncio.sleep(0.05)
                continue  # the client was gone before it was accepted
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._silent[sock] = time.monotonic()
            loop.add_reader(sock.fileno(), self._spoke, sock)
            if len(self._silent) > self._most_silent:
                self._drop_oldest_silent()

    def _drop_oldest_silent(self) -> None:
        oldest = next(iter(self._silent), None)
        if oldest is not None:
            self._drop(oldest)

    def _drop(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock.fileno())
        del self._silent[sock]
        sock.close()

    def sweep(self) -> None:
        """Drop the connections that have been silent for too long; call it every second or so."""
        now = time.monotonic()
        for sock in [s for s, since in self._silent.items() if now - since > IDLE_SECONDS]:
            self._drop(sock)

    def _spoke(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock.fileno())
        if len(self.active) + len(self._starting) >= ACTIVE and not self._make_room():
            loop.call_later(TENURE / 3, self._again, sock)  # nothing of it is read until then
            return
        del self._silent[sock]
        task = loop.create_task(self._start(sock))
        self._starting[task] = loop.time()
        task.add_done_callback(lambda done: self._starting.pop(done, None))

    def _again(self, sock: socket.socket) -> None:
        if sock in self._silent:
            self._spoke(sock)

    def _make_room(self) -> bool:
        for connection in self.active:
            if connection.dispensable:
                del self.active[connection]
                connection.abort()
                return True
        oldest = next(iter(self._starting.items()), None)
        if oldest is None or asyncio.get_running_loop().time() - oldest[1] < _PATIENCE:
            return False
        del self._starting[oldest[0]]
        return oldest[0].cancel()

    async def _start(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        context = self._tls()
        more: dict[str, Any] = (
            {"ssl": context, "ssl_handshake_timeout": HEAD_SECONDS, "ssl_shutdown_timeout": 2.0} if context else {}
        )

        def protocol() -> asyncio.Protocol:
            return self._protocol(config=self._config, server_state=self.state, app_state={}, _loop=loop)

        try:
            await loop.connect_accepted_socket(protocol, sock, **more)
        except (TimeoutError, OSError, ssl.SSLError):
            sock.close()  # no handshake: not TLS, a certificate nobody trusts, or nothing more to say
        except asyncio.CancelledError:
            sock.close()
            raise

    async def close(self, timeout: float) -> None:
        """Stop accepting, let requests in work finish, then drop everything."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for sock in list(self._silent):
            self._drop(sock)
        for connection in list(self.active):
            connection.shutdown()
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(timeout):
                while self.state.tasks or self._starting:
                    await asyncio.sleep(0.02)
        for task in list(self._starting):
            task.cancel()
        for connection in list(self.active):
            connection.abort()
        await asyncio.gather(*self.state.tasks, *self._starting, return_exceptions=True)


def listener(address: str) -> socket.socket:
    """A listening socket on HOST:PORT; OSError when that is taken."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: else asyncio leaves Nagle on, 40 ms a post
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(4096)
    except OSError:
        sock.close()
        raise
    return sock


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or [V6]:PORT; ValueError when it is neither."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
