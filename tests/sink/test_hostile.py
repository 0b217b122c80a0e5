"""The sink stays up, small and open for a well-behaved client, whatever the others do."""

from __future__ import annotations

import contextlib
import datetime as dt
import multiprocessing
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlens.sink.init import Made

from .helpers import Sink, batch, client_context, event, make_tls, post, tls_options

_LIMIT = 600 << 20


@contextlib.contextmanager
def served_throughout(sink: Sink, context: ssl.SSLContext | None = None, **headers: str) -> Iterator[list[float]]:
    """A client that posts ten times a second meanwhile: every post must be acknowledged; yields the seconds each took."""
    times: list[float] = []
    stop = threading.Event()
    failed: list[object] = []

    def run() -> None:
        n = 0
        while not stop.wait(0.1):
            began = time.monotonic()
            try:
                status = post(sink.address, batch([event(f"good-{n}")]), context=context, **headers)[0]
            except OSError as e:
                failed.append(e)
                return
            if status != 200:
                failed.append(status)
                return
            times.append(time.monotonic() - began)
            n += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert times
    assert max(times) < 10
    assert sink.process.poll() is None
    assert sink.memory() < _LIMIT


def _raw(sink: Sink, data: bytes, timeout: float = 20) -> bytes:
    """What comes back until the sink closes."""
    with socket.create_connection(sink.address, timeout=timeout) as sock:
        sock.sendall(data)
        out = b""
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(65536):
                out += more
        return out


def test_paths_methods_and_types_get_the_right_status_and_never_a_redirect(tmp_path: Path) -> None:
    with Sink(tmp_path) as sink:
        asked = {
            "/": 404, "/audit/": 404, "/audit//lab": 404, "/audit/lab/x": 404, "/audit/../lake": 404, "/audit/..": 404, "/audit/%2e%2e": 404,
            "/audit/lab%2f..": 404, "/audit/-lab": 404, "/audit/LAB": 404, "/audit/" + "a" * 64: 404, "/audit/.hidden": 404,
            "/audit/lab%00": 404, "/audit/l\u00e4b".encode().decode("latin-1"): 404, "/auditx": 404, "//audit": 404, "/healthz/": 404,
            "/audit/" + "a" * 63: 200, "/audit/a.b-c": 200, "/audit": 200,
        }  # fmt: skip
        for path, status in asked.items():
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            answer = _raw(sink, head.encode("latin-1"))
            expected = (b"400", b"404") if status == 404 else (b"200",)  # not all of these are HTTP
            assert answer[9:12] in expected, (path, answer[:60])
            assert b"content-type: text/plain; charset=utf-8\r\n" in answer
        for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH"):
            answer = _raw(sink, f"{method} /audit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert answer[9:12] == b"405"
            assert b"\r\nallow: POST\r\n" in answer
        assert post(sink.address, b"{}", Content_Type="text/plain")[0] == 415
        assert post(sink.address, b"{}", Content_Type="application/json; charset=utf-8")[0] == 200
        assert not list(tmp_path.glob("lake/audit/cluster=*"))
        refused = sink.metric("received_total")
        assert refused >= len(asked) + 7


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 1000,
        b"POST /audit HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}", b"POST /audit HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        b"POST /audit HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /audit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET /audit HTTP/9.9\r\n\r\n",
        b"POST /audit HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n", b"POST /audit HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["tls", "h2", "zeros", "negative", "huge", "smuggled", "chunks", "version", "headers", "upgrade"],
)  # fmt: skip
def test_what_is_no_request_is_dropped(plain: Sink, data: bytes) -> None:
    answer = _raw(plain, data)
    assert answer[9:10] in (b"", b"4"), answer[:80]
    assert plain.post(batch([event("x")])) == 200


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(
        tmp_path_factory.mktemp("plain"), patch={"net.HEAD_SECONDS": 1.5, "net.IDLE_SECONDS": 1.5, "app._GAP": 1.5}
    ) as sink:
        yield sink


def test_whatever_is_sent_without_a_credential_the_log_stays_small(tmp_path: Path) -> None:
    """Each kind of line that such a client can cause, 300 times: ten are said, and how many more there were."""
    made = make_tls(tmp_path)
    kinds = {
        "parser": b"\0" * 50, "version": b"GET / HTTP/9.9\r\n\r\n", "upgrade": b"GET /audit HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "path": b"POST /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", "method": b"PUT /audit HTTP/1.1\r\nConnection: close\r\n\r\n",
        "type": b"POST /audit HTTP/1.1\r\nContent-Type: a/b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "body": b"POST /audit HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "cut": b"POST /audit HTTP/1.1\r\nContent-Length: 99\r\n\r\n{",
        "hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100,
    }  # fmt: skip
    for options in ({}, tls_options(made)):
        with Sink(tmp_path, patch={"floods.WINDOW": 3.0}, **options) as sink:
            sink.log.write_bytes(b"")
            for data in kinds.values():
                for _ in range(300):
                    with socket.create_connection(sink.address, timeout=20) as sock:
                        sock.sendall(data)
                        with contextlib.suppress(OSError):
                            sock.shutdown(socket.SHUT_WR)
                            sock.recv(10)
            deadline = time.monotonic() + 30
            while not options and "more lines like: uvicorn.error: Invalid HTTP request received" not in sink.log.read_text():
                assert time.monotonic() < deadline, sink.log.read_text()
                time.sleep(0.2)
            lines = sink.log.read_text().splitlines()
            assert len(lines) < 40 * len(kinds), lines
            assert all(line.startswith("sink: ") and len(line) < 700 for line in lines), lines


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(plain: Sink) -> None:
    with served_throughout(plain):
        before = plain.memory(drain=False)
        began = time.monotonic()
        answer = _raw(plain, b"POST /audit HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{" % (1 << 30))
        assert answer[9:12] == b"413"
        assert time.monotonic() - began < 10
        block = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        sent = 0
        with socket.create_connection(plain.address, timeout=20) as sock, contextlib.suppress(OSError):
            sock.sendall(b"POST /audit HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            while sent < 1024:
                sock.sendall(block)
                sent += 1
        assert sent < 400  # 64 MiB, what the answer's grace takes in, and the sockets' buffers
        assert plain.memory(drain=False) - before < 200 << 20
    assert "413" in plain.log.read_text()


def test_slow_and_half_open_clients_are_cut_without_blocking_others(plain: Sink) -> None:
    head = b"POST /audit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with contextlib.ExitStack() as stack, served_throughout(plain):
        socks = [stack.enter_context(socket.create_connection(plain.address, timeout=20)) for _ in range(90)]
        for n, sock in enumerate(socks):
            sock.sendall((head[:40], head, head + b"Content-Length: 100\r\n\r\n{")[n % 3])
        time.sleep(1)
        for sock in socks:  # a byte now and then does not help
            with contextlib.suppress(OSError):
                sock.sendall(b"a")
        answers = []
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                answers.append(sock.recv(100))
        assert {a[9:12] for a in answers} <= {b"", b"408"}
        assert sum(a[9:12] == b"408" for a in answers) == 30


def _hold(address: tuple[str, int], count: int, ready: object, stop: object) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    socks = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            socks.append(socket.create_connection(address, timeout=5))
    ready.put(len(socks))  # type: ignore[attr-defined]
    stop.wait(60)  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_idle_connections_cost_next_to_nothing(tmp_path: Path, count: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < count + 1000:
        pytest.skip(f"{count} connections need as many descriptors")
    made = make_tls(tmp_path)
    context = multiprocessing.get_context("spawn")
    with Sink(tmp_path, **tls_options(made)) as sink:
        ready, stop = context.Queue(), context.Event()
        other = context.Process(target=_hold, args=(sink.address, count, ready, stop))
        before = sink.memory(drain=False)
        with served_throughout(sink, client_context(made)):
            other.start()
            assert ready.get(timeout=60) == count
            time.sleep(1)
            assert sink.memory(drain=False) - before < 60 << 20
        stop.set()
        other.join()
        ready.close()
        deadline = time.monotonic() + 40
        while _connections(sink, made) > 50:  # closed after ten seconds of silence
            assert time.monotonic() < deadline
            time.sleep(0.5)


def _connections(sink: Sink, made: Made) -> int:
    return len(list(Path(f"/proc/{sink.process.pid}/fd").iterdir()))


def test_many_that_speak_but_show_no_credential_make_room_for_one_that_does(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("token-0123456789abcdef\n")
    with (
        Sink(tmp_path, token_file=tokens) as sink,
        contextlib.ExitStack() as stack,
        served_throughout(sink, Authorization="Bearer token-0123456789abcdef"),
    ):
        for _ in range(600):  # more than may speak at once
            sock = stack.enter_context(socket.create_connection(sink.address, timeout=5))
            with contextlib.suppress(OSError):
                sock.sendall(b"POST /audit HTTP/1.1\r\nX: ")
        time.sleep(1)


def test_no_credential_never_reaches_parser_or_disk(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("token-0123456789abcdef\n")
    with Sink(tmp_path, token_file=tokens) as sink:
        for _ in range(20):
            assert sink.post(batch([event("x", extra="y" * 100_000)])) == 401
        assert not list(sink.wal.glob("*.seg")) + list(sink.wal.glob("*.open"))
        assert sink.metric("received_total") == 20
        assert sink.log.read_text().count("401") <= 11  # a flood does not fill the log


def test_certificates_of_others_and_of_yesterday_do_not_get_in(tmp_path: Path) -> None:
    made, other = make_tls(tmp_path), make_tls(tmp_path / "other")
    with Sink(tmp_path, **tls_options(made)) as sink:
        assert sink.post(batch([event("own")]), context=client_context(made)) == 200
        stranger = ssl.create_default_context(cafile=str(made.ca))
        stranger.load_cert_chain(other.directory / "client.crt", other.directory / "client.key")
        with pytest.raises(OSError):  # the handshake ends as an alert, a reset or a broken pipe
            sink.post(b"{}", context=stranger)
        expired = ssl.create_default_context(cafile=str(made.ca))
        expired.load_cert_chain(*_expired(made))
        with pytest.raises(OSError):
            sink.post(b"{}", context=expired)
        with pytest.raises(ssl.SSLCertVerificationError):
            sink.post(b"{}", context=client_context(other, certificate=False))
        assert sink.post(b"{}", context=client_context(made, certificate=False)) == 401
        with socket.create_connection(sink.address, timeout=20) as sock:
            sock.sendall(b"POST /audit HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            with contextlib.suppress(ConnectionError):
                assert not sock.recv(100).startswith(b"HTTP")
        # a new certificate counts for new connections, without a restart
        renewed = make_tls(tmp_path / "renewed")
        for name in ("ca.crt", "server.key", "server.crt"):
            (made.directory / name).write_bytes((renewed.directory / name).read_bytes())
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                if sink.post(batch([event("new")]), context=client_context(renewed)) == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _expired(made: Made) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    assert made.ca
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    ca_key = serialization.load_pem_private_key((made.directory / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = serialization.load_pem_private_key((made.directory / "client.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver-lab")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(days=3))
        .not_valid_after(now - dt.timedelta(days=1))
        .sign(ca_key, hashes.SHA256())
    )
    path = made.directory / "expired.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path, made.directory / "client.key"


def test_large_bodies_at_once_wait_or_are_sent_away_but_do_not_fill_memory(tmp_path: Path) -> None:
    body = batch([event(f"{n}", extra="x" * 1_000_000) for n in range(16)])  # 16 MB
    with Sink(tmp_path, memory=40 << 20, max_body=20 << 20, patch={"app._WAIT": 0.2}) as sink:
        codes: list[int] = []

        def send() -> None:
            with contextlib.suppress(OSError):
                codes.append(post(sink.address, body)[0])

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        peak = 0
        while any(t.is_alive() for t in threads):
            peak = max(peak, sink.memory(drain=False))
            time.sleep(0.02)
        for thread in threads:
            thread.join()
        assert set(codes) <= {200, 429}
        assert 200 in codes
        assert peak < 180 << 20
        sink.wait_empty()
        assert sink.memory() < _LIMIT
        assert sink.sql("select count(*) as n from audit")["n"][0] == 16
