"""`auditlens serve`: kube-apiserver's audit webhook comes in, is durable before it is acknowledged, and ends in the lake."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditlens.errors import UsageError
from auditlens.floods import Floods, Handler
from auditlens.sink import cipher, drainer, net, wal
from auditlens.sink.access import Access, Tls
from auditlens.sink.app import Budget, Sink
from auditlens.sink.metrics import Metrics

_TICK = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sink holds at most: bytes and seconds."""

    wal_limit: int = 4 << 30  # of the WAL, above which nothing is accepted
    min_free: int = 256 << 20  # of the WAL's disk, below which nothing is accepted
    stuck_after: float = 300.0  # without progress of a drain that has work, after which nothing is accepted
    max_body: int = 64 << 20  # of a body, decompressed
    memory: int = 96 << 20  # of bodies in memory at once: one of the largest and many of the usual ones
    seal_after: float = 1.0  # that a body waits at most for others before it is drained
    grace: float = 20.0  # for requests in work and the drain at the end


DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class Running:
    """What a started sink tells: where it listens and what it is called."""

    address: tuple[str, int]
    status_address: tuple[str, int] | None
    sink: str
    stop: Callable[[], None]  # thread-safe


def serve(
    listen: str = "127.0.0.1:9443",
    lake: str | Path = "lake",
    *,
    wal_dir: str | Path | None = None,
    name: str | None = None,
    cluster: str = "default",
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    client_ca: str | Path | None = None,
    client_names: str | Path | None = None,
    token_file: str | Path | None = None,
    insecure: bool = False,
    status_listen: str | None = None,
    redact: bool = True,
    redact_key: str | Path | None = None,
    limits: Limits = DEFAULTS,
    say: Callable[[str], None] | None = None,
    started: Callable[[Running], None] = lambda running: None,
) -> None:
    """Run the sink until SIGTERM or SIGINT; what is acknowledged by then is on disk, and drained now or at the next start.

    Args:
        listen: HOST:PORT; port 0 takes a free one.
        lake: where events end up; made when missing.
        wal_dir: where bodies are kept until they are in the lake; default: beside the lake. One process per directory.
        name: begins the sink's name in the rows' source; default: the host's name.
        cluster: for posts to /audit whose credential names no cluster.
        tls_cert, tls_key: PEM files; a changed file counts for new connections.
        client_ca: PEM file; /audit then needs a client certificate it signed.
        client_names: file of certificate names and the clusters each may write.
        token_file: file of bearer tokens and the clusters each may write.
        insecure: listen beyond loopback without TLS or without credentials.
        status_listen: HOST:PORT for /healthz, /readyz and /metrics in plain HTTP; default: they are on `listen` too.
        redact, redact_key: as for an import; what follows from the key encrypts the WAL, too.
        limits: what is held at most, and for how long.
        say: gets each line for the operator; default: stderr.
        started: called once when the sink listens.

    Raises:
        UsageError: an option or a file it names cannot be used.
        WalError: the WAL is in use or cannot be read.
    """
    log = Floods(_spoken(say))
    directory = _wal_beside(Path(lake), wal_dir)
    tls, access = _credentials(tls_cert, tls_key, client_ca, client_names, token_file, cluster)
    _check_exposure(listen, tls is not None and bool(client_ca or token_file), insecure)
    key = _path(redact_key)
    arguments = drainer.arguments(directory, Path(lake), redact=redact, redact_key=key)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_listener(a)) for a in (listen, status_listen) if a]
        vault, redacted = cipher.vault(redact, key, log), _redaction(redact, key)
        server = _Server(directory, name or socket.gethostname(), arguments, access, tls, limits, log, redacted, vault)
        Handler(log, ("uvicorn", "uvicorn.error", "asyncio"))  # a line for each invalid request, each handshake that breaks off
        asyncio.run(server.run(sockets, started))


def _spoken(say: Callable[[str], None] | None) -> Callable[[str], None]:
    out = say or (lambda text: print(text, file=sys.stderr, flush=True))
    return lambda text: out(f"sink: {text}")


def _path(given: str | Path | None) -> Path | None:
    return Path(given) if given else None


def _wal_beside(lake: Path, wal_dir: str | Path | None) -> Path:
    directory = Path(wal_dir) if wal_dir else lake.absolute().with_name(f"{lake.absolute().name}.wal")
    if directory.resolve().is_relative_to(lake.resolve()):
        raise UsageError(f"--wal {directory}: the WAL holds what is not redacted yet and must lie outside the lake {lake}")
    return directory


def _credentials(
    tls_cert: str | Path | None,
    tls_key: str | Path | None,
    client_ca: str | Path | None,
    client_names: str | Path | None,
    token_file: str | Path | None,
    cluster: str,
) -> tuple[Tls | None, Access]:
    """How connections are protected and who may write what; options that need one another come together."""
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    if client_ca and not tls_cert:
        raise UsageError("--client-ca needs --tls-cert and --tls-key")
    if client_names and not client_ca:
        raise UsageError("--client-names needs --client-ca")
    tls = Tls(Path(tls_cert), Path(tls_key), _path(client_ca)) if tls_cert and tls_key else None
    access = Access(
        token_file=_path(token_file),
        client_names=_path(client_names),
        need_certificate=client_ca is not None,
        default=cluster,
    )
    return tls, access


def _check_exposure(listen: str, protected: bool, insecure: bool) -> None:
    host, _ = net.split_address(listen)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not protected and not insecure:
        raise UsageError(
            f"--listen {listen} is not loopback: anyone could read and write; give --tls-cert, --tls-key and --client-ca or "
            "--token-file (`auditlens sink init` makes them), or --insecure"
        )


def _listener(address: str) -> socket.socket:
    try:
        return net.listener(address)
    except ValueError as e:
        raise UsageError(str(e)) from None
    except OSError as e:
        raise UsageError(f"{address}: {e.strerror}") from e


def _redaction(redact: bool, redact_key: Path | None) -> Callable[[bytes], str]:
    from auditlens.redact import NO_REDACTION, Redactor

    redactor = Redactor.from_config(redact_key) if redact else NO_REDACTION
    return lambda sample: repr(redactor.text(sample))[:300]


class _Server:
    def __init__(
        self,
        directory: Path,
        name: str,
        arguments: list[str],
        access: Access,
        tls: Tls | None,
        limits: Limits,
        log: Floods,
        redacted: Callable[[bytes], str],
        vault: cipher.Vault | None,
    ) -> None:
        self._directory, self._limits, self._log, self._tls, self._access = directory, limits, log, tls, access
        self._arguments = arguments
        self._metrics = Metrics()
        self._stored, self._waiting, self._free, self._oldest = 0, 0, 1 << 62, 0.0
        self._stopping = False
        self._drainer: drainer.Drainer | None = None
        self._wal = wal.Wal(
            directory,
            name=name,
            seal_after=limits.seal_after,
            hurry=lambda: self._waiting == 0 or not self._sealed(),
            say=log,
            vault=vault,
        )
        self._sink = Sink(self._wal, access, self._metrics, Budget(limits.memory), limits.max_body, self._refusal, log, redacted)

    def _sealed(self) -> bool:
        return bool(wal.segments(self._directory))

    async def run(self, sockets: list[socket.socket], started: Callable[[Running], None]) -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: the caller stops it
                loop.add_signal_handler(number, end.set)
        try:
            self._drainer = drainer.Drainer(self._arguments, self._metrics, self._log)
            gates = [net.Gate(self._sink, lambda: self._tls.context if self._tls else None)]
            if len(sockets) > 1:
                gates.append(net.Gate(self._sink, lambda: None))
            for gate, sock in zip(gates, sockets, strict=True):
                gate.listen(sock)
            addresses = [sock.getsockname()[:2] for sock in sockets]
            self._log(f"{self._wal.sink} listens on {addresses[0][0]}:{addresses[0][1]}")
            await self._measure(gates)

            def stop() -> None:
                loop.call_soon_threadsafe(end.set)

            started(Running(addresses[0], addresses[1] if len(addresses) > 1 else None, self._wal.sink, stop))
            while not end.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(end.wait(), _TICK)
                await self._measure(gates)
            self._stopping = True
            self._log("stopping")
            await asyncio.gather(*(gate.close(self._limits.grace / 2) for gate in gates))
        finally:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        """Seal the WAL and give the drain the time that is left to empty it."""
        self._wal.close(unlock=False)  # not before the drain has ended
        if self._drainer is None:
            self._wal.unlock()
            return
        end = time.monotonic() + self._limits.grace / 2
        while wal.segments(self._directory) and time.monotonic() < end and self._drainer.pid:
            time.sleep(0.05)
        self._drainer.stop(max(end - time.monotonic(), 1.0))
        left = wal.segments(self._directory)
        self._log(f"{len(left)} segments are left for the next start" if left else "everything is in the lake")
        self._wal.unlock()

    async def _measure(self, gates: list[net.Gate]) -> None:
        """What refusals and metrics go by; also the moment for changed files and silent connections."""
        self._stored, self._waiting, self._oldest, self._free = await asyncio.to_thread(self._look)
        self._sink.received = 0
        m = self._metrics
        m.wal_bytes.set(self._stored)
        m.wal_segments.set(self._waiting)
        m.wal_age.set(max(time.time() - self._oldest, 0) if self._oldest else 0)
        m.disk_free.set(self._free)
        m.connections.set(sum(gate.connections for gate in gates))
        m.ready.set(self._refusal() is None)
        self._log.sum_up()
        for gate in gates:
            gate.sweep()
        self._access.reload(self._log)
        if self._tls:
            self._tls.reload(self._log)

    def _look(self) -> tuple[int, int, float, int]:
        """Bytes and segments in the WAL, the oldest's time, free bytes of its disk."""
        total, count, oldest = 0, 0, 0.0
        with os.scandir(self._directory) as found:
            for entry in found:
                if entry.name.endswith((".seg", ".open")):
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat()
                        total += stat.st_size
                        count += 1
                        oldest = min(oldest or stat.st_mtime, stat.st_mtime)
        disk = os.statvfs(self._directory)
        return total, count, oldest, disk.f_bavail * disk.f_frsize

    def _refusal(self) -> str | None:
        """Why no body can be accepted now."""
        o, more = self._limits, self._sink.received
        if self._stopping:
            return "stopping"
        if self._stored + more > o.wal_limit:
            return f"the WAL holds {self._stored} bytes, its limit is {o.wal_limit}: the drain does not keep up or fails"
        if self._free - more < o.min_free:
            return f"the WAL's disk has {self._free} bytes free, fewer than {o.min_free}"
        if self._waiting and self._drainer and self._oldest:
            still = time.monotonic() - self._drainer.progress
            if still > o.stuck_after and time.time() - self._oldest > o.stuck_after:
                return f"the drain has not finished anything for {still:.0f} s"
        return None
