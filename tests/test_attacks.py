"""Attacks that were run on the product and held go on holding: bounded in time and memory, nothing written elsewhere, nothing lost.

What is quick is beside what it attacks (tests/sink/test_hostile.py, test_sql.py, tests/dashboard/test_server.py); here is the rest.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import auditlens, children_of, event, imported, rows, text, write
from sink.helpers import Sink, batch, make_tls, post, tls_options
from sink.helpers import event as posted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GOOD = text(event(1))


def _import(lake: Path, *paths: Path, more: tuple[str, ...] = ()) -> tuple[int, float, int]:
    """Status, CPU seconds and peak of memory in MiB of an import."""
    command = [sys.executable, "-m", "auditlens", "import", *map(str, paths), "--lake", str(lake), *more]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss >> 10


def _bomb(path: Path, block: bytes, size: int) -> Path:
    """A gzip file that is `size` bytes of a block, then an event."""
    with gzip.open(path, "wb", compresslevel=1) as f:
        for _ in range(size // len(block)):
            f.write(block)
        f.write(b"\n" + GOOD)
    return path


@pytest.mark.parametrize("block", [b"\0" * (1 << 20), b" " * (1 << 20), b"[" * (1 << 20)], ids=["nul", "space", "bracket"])
def test_a_bomb_of_half_a_gigabyte_in_one_line_costs_no_more_than_its_line(tmp_path: Path, block: bytes) -> None:
    status, _, peak = _import(tmp_path / "lake", _bomb(tmp_path / "a.log.gz", block, 512 << 20))
    assert status in (0, 3)
    assert peak < 1500
    assert rows(tmp_path / "lake", "select count(*) from audit") == [(1,)]


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 1000, b"{" * 100_000, b"[" * 100_000, b'{"a":' * 100_000, b'"' * 100_000, b"\\" * 100_000, b"\x1b]0;x\x07" * 1000,
        b"\xff\xfe" * 1000, b"\xed\xa0\x80" * 1000, b'{"kind":"Event","auditID":"' + b"x" * (64 << 20),
        b'{"kind":"Event","requestObject":{"a":"' + b"y" * (70 << 20) + b'"}}', b"\r" * 100_000, b"\xe2\x80\xa8" * 1000,
    ],
    ids=["nul", "brace", "bracket", "deep", "quote", "backslash", "osc", "utf16", "surrogate", "64MiB", "70MiB", "cr", "ls"],
)  # fmt: skip
def test_a_hostile_line_costs_itself_alone(tmp_path: Path, line: bytes) -> None:
    imported(tmp_path / "lake", write(tmp_path / "a.log", text(event(1)) + line + b"\n" + text(event(2))))
    assert rows(tmp_path / "lake", "select count(*) from audit where audit_id like '0000%'") == [(2,)]


def test_loops_pipes_and_devices_of_a_directory_are_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write(source / "a.log", GOOD)
    (source / "loop").symlink_to(source)
    (source / "self").symlink_to(source / "self")
    (source / "zero.log").symlink_to("/dev/zero")
    (source / "mem.log").symlink_to("/proc/self/mem")
    os.mkfifo(source / "pipe.log")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(source / "socket.log"))
        done = auditlens("import", source, "--lake", tmp_path / "lake")
    assert done.returncode in (0, 1, 3), done.stderr
    assert b"Traceback" not in done.stderr
    assert rows(tmp_path / "lake", "select count(*) from audit") == [(1,)]


CLUSTERS = [
    "..",
    "../../x",
    "/etc/x",
    "a/b",
    "a=b",
    "a\0b",
    ".",
    "*",
    "x" * 300,
    "date=1",
    "ü",
    "\u202e",
    "\x1b[31m",
    "a\nb",
    "%2e%2e",
    " ",
]


@pytest.mark.parametrize("cluster", CLUSTERS, ids=ascii)
def test_no_cluster_leads_out_of_the_lake(tmp_path: Path, cluster: str) -> None:
    base = tmp_path / "base"
    write(tmp_path / "a.log", GOOD)
    with contextlib.suppress(Exception):
        imported(base / "deep" / "lake", tmp_path / "a.log", cluster=cluster)
    outside = [p for p in tmp_path.rglob("*") if base / "deep" / "lake" not in (p, *p.parents) and p.is_file()]
    assert outside == [tmp_path / "a.log"]
    assert not Path("/etc/x").exists()


def test_names_do_not_steer_a_terminal(tmp_path: Path) -> None:
    bad = "\x1b[31m\x1b]0;title\x07\u202eevil\u2066\x9b2J\r\n=cmd()"
    events = [
        event(n, verb="delete", user={"username": bad, "groups": [bad]}, userAgent=bad, responseStatus={"code": 403, "message": bad},
              objectRef={"resource": "pods", "namespace": bad, "name": bad, "apiVersion": "v1"}, requestURI=f"/api/v1/pods/{bad}")
        for n in range(3)
    ]  # fmt: skip
    imported(tmp_path / "lake", write(tmp_path / "a.log", text(*events)))
    for command in (
        ["ask", "denied"],
        ["ask", "top"],
        ["sql", "select * exclude (request_object, response_object) from audit"],
        ["ask", "denied", "-o", "csv"],
    ):
        done = auditlens(*command, "--lake", tmp_path / "lake", env={"TERM": "xterm"})
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout.decode()) & set("\x1b\x07\x9b\r\u202e\u2066"), command


def test_old_tls_is_refused(tmp_path: Path) -> None:
    made = make_tls(tmp_path)
    with Sink(tmp_path, **tls_options(made)) as sink:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning):
                context.minimum_version = context.maximum_version = version
            with socket.create_connection(sink.address, timeout=20) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(sock)


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_slow_senders_do_not_keep_one_out(tmp_path: Path, descriptors: None) -> None:
    """Each sends a byte of its head now and then; meanwhile a well-behaved client is served, and memory stays small."""
    tokens = tmp_path / "tokens"
    tokens.write_text("token-0123456789abcdef\n")
    with Sink(tmp_path, token_file=tokens) as sink, contextlib.ExitStack() as stack:
        slow = []
        for n in range(2000):
            with contextlib.suppress(OSError):
                sock = stack.enter_context(socket.create_connection(sink.address, timeout=5))
                sock.setblocking(False)
                slow.append(sock)
                sock.send(b"POST /audit HTTP/1.1\r\n")
            if n % 100 == 0:
                began = time.monotonic()
                status = post(sink.address, batch([posted(f"{n}")]), Authorization="Bearer token-0123456789abcdef")[0]
                assert status == 200
                assert time.monotonic() - began < 20
                for sock in slow:
                    with contextlib.suppress(OSError):
                        sock.send(b"a")
        assert sink.memory(drain=False) < 400 << 20
        sink.wait_empty()
        assert sink.sql("select count(*) as n from audit")["n"][0] == 20


def test_a_page_cannot_upload_without_its_token_nor_leave_its_directory(tmp_path: Path) -> None:
    pytest.importorskip("streamlit")
    from dashboard.helpers import serve, stop

    imported(tmp_path / "lake", write(tmp_path / "a.log", GOOD))
    process, url = serve(tmp_path / "lake", tmp_path / "log")
    try:
        port = int(url.rstrip("/").rpartition(":")[2])

        def status(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with contextlib.closing(connection):
                connection.request(method, path, body, {"Content-Type": "multipart/form-data; boundary=x"} if body else {})
                answer = connection.getresponse()
                return answer.status, answer.read()

        form = b'--x\r\nContent-Disposition: form-data; name="a"; filename="../../a.log"\r\n\r\n' + GOOD + b"\r\n--x--\r\n"
        for method in ("PUT", "POST", "DELETE"):
            assert status(method, "/_stcore/upload_file/0123/4567", form)[0] in (400, 403, 404, 405)
        for path in ("/../../etc/passwd", "/static/..%2f..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/media/../../etc/passwd",
                     "/app/static/../serve.py", "/component/x/../../../etc/passwd", "/_stcore/metrics", "/%00", "//etc/passwd"):  # fmt: skip
            assert b"root:" not in status("GET", path)[1]
            assert b"def main" not in status("GET", path)[1]
        assert rows(tmp_path / "lake", "select count(*) from audit") == [(1,)]
        assert not children_of(process.pid)
    finally:
        stop(process)
