"""The dashboard's server ends when it is ended, answers to its own names alone, and is not opened to a network without a login."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import ROOT, stop

sys.path.insert(0, str(ROOT / "dashboards"))
from parts import hosts

from auditlens import locked

UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _started(
    lake: Path, *more: str, log: Path = Path(os.devnull), cwd: Path | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    port = _free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "auditlens", "dashboard", "--lake", lake, "--port", str(port), *more],
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=cwd,
        )  # fmt: skip
    until = time.monotonic() + 120
    while not _listens(port):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    return process, port


@pytest.fixture(scope="module")
def server(small_lake: Path) -> Iterator[int]:
    """The port of a dashboard with one name of its own."""
    process, port = _started(small_lake, "--host", "audit.example.com")
    yield port
    stop(process)


def _status(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_answers_to_its_own_names_alone(server: int) -> None:
    own = [f"127.0.0.1:{server}", f"localhost:{server}", "audit.example.com", "10.0.0.1:8501", "[::1]:1", "a.localhost"]
    others = ["evil.example", f"evil.example:{server}", "audit.example.com.evil.example", "127.0.0.1.nip.io", "x@localhost", ""]
    for host in own:
        assert _status(server, "/", Host=host) == 200, host
        assert _status(server, "/_stcore/stream", Host=host, **UPGRADE) == 101, host
    for host in others:
        for path in ("/", "/_stcore/health", "/media/x", "/_stcore/upload_file/a/b"):
            assert _status(server, path, Host=host) == 403, (host, path)
        assert _status(server, "/_stcore/stream", Host=host, **UPGRADE) == 403, host


def test_no_page_of_another_site_gets_an_answer(server: int) -> None:
    host = f"127.0.0.1:{server}"
    foreign = [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        f"http://localhost:{server}",
        f"http://u@{host}",
        "http://[",
        "",
    ]
    for origin in foreign:
        assert _status(server, "/", Host=host, Origin=origin) == 403, origin
        assert _status(server, "/_stcore/stream", Host=host, Origin=origin, **UPGRADE) == 403, origin
    for origin in (f"http://{host}", "https://audit.example.com"):  # the latter behind a proxy that changes Host
        assert _status(server, "/_stcore/stream", Host=host, Origin=origin, **UPGRADE) == 101, origin


def test_invalid_requests_do_not_fill_the_log(small_lake: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process, port = _started(small_lake, log=log)
    before = len(log.read_text().splitlines())
    invalid = (b"\0" * 50, b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
    for data in invalid:
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
                sock.sendall(data)
                with contextlib.suppress(OSError):
                    sock.recv(10)
    stop(process)
    assert len(log.read_text().splitlines()) - before < 60, log.read_text()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ending_the_command_ends_the_server(small_lake: Path, end: signal.Signals) -> None:
    process, port = _started(small_lake)
    os.kill(process.pid, end)  # of the process alone, not of its group
    process.wait(60)
    assert not _listens(port)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "example.com", "", None])
def test_a_public_address_needs_a_login(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.setattr(hosts, "has_login", lambda: False)
    assert "is not loopback" in (hosts.exposed(address) or "")
    monkeypatch.setattr(hosts, "has_login", lambda: True)
    assert hosts.exposed(address) is None
    monkeypatch.setattr(hosts, "has_login", lambda: False)
    monkeypatch.setenv(hosts.INSECURE, "1")
    assert hosts.exposed(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(hosts, "has_login", lambda: False)
    assert hosts.exposed(address) is None


def test_the_command_refuses_a_public_address_with_a_sentence(small_lake: Path, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "auditlens", "dashboard", "--lake", small_lake, "--address", "0.0.0.0", "--port", str(_free_port())],
        cwd=tmp_path, env=os.environ | home, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode().startswith("auditlens: error: 0.0.0.0 is not loopback: anyone who reaches it")
    assert done.stdout == b""


_SECRETS = """
[auth]
redirect_uri = "http://localhost:1/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "x"
client_secret = "y"
server_metadata_url = "https://127.0.0.1:1/.well-known/openid-configuration"
"""


@pytest.mark.parametrize("login", [True, False], ids=["before the login", "without a login"])
def test_only_who_was_let_in_can_upload(small_lake: Path, tmp_path: Path, login: bool) -> None:
    """As the browser does it: a session's script runs, then the file is put under the session's id."""
    if login:
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit" / "secrets.toml").write_text(_SECRETS)
    process, port = _started(small_lake, cwd=tmp_path)
    try:
        assert asyncio.run(_upload(port)) == (403 if login else 204)
    finally:
        stop(process)


async def _upload(port: int) -> int:
    import websockets
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    address = f"ws://127.0.0.1:{port}/_stcore/stream"
    async with websockets.connect(address, subprotocols=["streamlit"], max_size=None, open_timeout=60) as socket:  # type: ignore[list-item]
        await socket.send(BackMsg(rerun_script={"query_string": ""}).SerializeToString())
        session, kind = "", ""
        while kind != "script_finished":
            message = ForwardMsg()
            message.ParseFromString(await asyncio.wait_for(socket.recv(decode=False), 120))
            kind = message.WhichOneof("type")
            session = message.new_session.initialize.session_id if kind == "new_session" else session
        return await asyncio.to_thread(_put, port, session)


def _put(port: int, session: str) -> int:
    body = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.log"\r\n\r\nhi\r\n--x--\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/_stcore/health")
        answer = connection.getresponse()
        answer.read()
        token = str(answer.getheader("set-cookie")).partition("=")[2].partition(";")[0]
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Cookie": f"_streamlit_xsrf={token}", "X-Xsrftoken": token}
        connection.request("PUT", f"/_stcore/upload_file/{session}/00000000-0000-4000-8000-000000000000", body, headers)
        return connection.getresponse().status


def test_long_sql_of_one_reader_does_not_hold_up_the_pages(small_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parts import store

    monkeypatch.setenv("AUDITLENS_LAKE", str(small_lake))
    monkeypatch.setattr(store, "TIMEOUT", 20.0)
    monkeypatch.setattr(store, "version", lambda: store.lake().version())
    endless = "select count(*) from range(1e18::bigint) as a, range({}) as b"
    works = [
        store._begun(
            ("sql", n), lambda n=n: locked.sql(str(small_lake), endless.format(n), timeout=20), lambda: None, pool=store._typed
        )
        for n in range(1, 12)
    ]
    began = time.monotonic()
    assert store.ask("denied").frame.height > 0
    assert time.monotonic() - began < 15
    assert not works[0].future.done()
    for work in works:
        work.future.cancel()
