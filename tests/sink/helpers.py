"""A sink in a process of its own, clients that behave like kube-apiserver, and what the lake holds of them."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from auditlens import engine
from auditlens.redact import Redactor
from auditlens.sink.cipher import Vault
from auditlens.sink.init import Made, sink_init

_ROOT = Path(__file__).resolve()
SHARED = next((p / "shared" for p in (_ROOT.parents[2], _ROOT.parents[3]) if (p / "shared" / "captures").is_dir()), None)
needs_captures = pytest.mark.skipif(SHARED is None, reason="the captures of a real apiserver are not here")

_PROGRAM = """
import importlib, json, sys
options = json.loads(sys.argv[1])
for name, value in options.pop("patch").items():
    module, _, attribute = name.rpartition(".")
    home = "auditlens." if module == "floods" else "auditlens.sink."
    setattr(importlib.import_module(home + module), attribute, value)
from dataclasses import fields
from auditlens.sink.server import Limits, serve
limits = Limits(**{f.name: options.pop(f.name) for f in fields(Limits) if f.name in options})
def started(running):
    print(json.dumps([running.address, running.status_address, running.sink]), flush=True)
serve(options.pop("listen"), options.pop("lake"), limits=limits, started=started, **options)
"""


class Sink:
    """A running sink; kill() is SIGKILL, stop() is SIGTERM."""

    def __init__(
        self, base: Path, *, env: dict[str, str] | None = None, patch: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.lake, self.wal = base / "lake", Path(options.get("wal_dir") or base / "wal")
        usual = {"listen": "127.0.0.1:0", "lake": str(self.lake), "wal_dir": str(self.wal), "redact": False}
        options = usual | {"redact_key": str(_key(base))} | options
        options["patch"] = patch or {}
        self.log = base / "sink.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(options, default=str)],
                stdout=subprocess.PIPE, stderr=log, env=os.environ | (env or {}),
            )  # fmt: skip
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.process.stdout.close()
            raise RuntimeError(self.log.read_text())
        address, status, self.name = json.loads(line)
        self.address, self.status = tuple(address), tuple(status) if status else None

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.kill()
        if self.process.stdout:
            self.process.stdout.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self, timeout: float = 60) -> float:
        """Seconds it took to end."""
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(timeout) == 0
        return time.monotonic() - began

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*(self.status or self.address), timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def metric(self, name: str) -> float:
        """A metric's value, summed over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.split("{")[0].split(" ")[0] == f"auditlens_sink_{name}")

    def post(self, body: bytes, path: str = "/audit/lab", context: ssl.SSLContext | None = None, **headers: str) -> int:
        return post(self.address, body, path, context, **headers)[0]

    @staticmethod
    def vault(base: Path) -> Vault:
        """What reads the WAL of a sink there."""
        return Vault(Redactor.from_config(_key(base)))

    def wait_empty(self, timeout: float = 90) -> None:
        """Until nothing is in the WAL."""
        end = time.monotonic() + timeout
        while list(self.wal.glob("*.seg")) + list(self.wal.glob("*.open")):
            assert time.monotonic() < end, self.log.read_text()[-2000:]
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def sql(self, statement: str) -> pl.DataFrame:
        return engine.sql(str(self.lake), statement)

    def memory(self, *, drain: bool = True) -> int:
        """Resident bytes of the server and its drain, or of the server alone."""
        pid = self.process.pid
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for t in tasks for c in (t / "children").read_text().split()]
        pids = [pid, *children] if drain else [pid]
        return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") for p in pids)


def _key(base: Path) -> Path:
    path = base / "redact.key"
    path.write_text("the redaction key of these sinks")
    return path


def post(
    address: tuple[str, int], body: bytes, path: str = "/audit/lab", context: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one POST, with the apiserver's own headers unless others are given."""
    connection = (
        http.client.HTTPSConnection(*address, timeout=40, context=context)
        if context
        else http.client.HTTPConnection(*address, timeout=40)
    )
    with contextlib.closing(connection):
        sent = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "Go-http-client/1.1"}
        connection.request("POST", path + "?timeout=30s", body, sent | {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()


def event(audit_id: str, stage: str = "ResponseComplete", user: str = "alice", **more: Any) -> dict[str, Any]:
    """An event of a Pod that was read."""
    return {
        "level": "Metadata", "auditID": audit_id, "stage": stage, "requestURI": "/api/v1/namespaces/shop/pods/web", "verb": "get",
        "user": {"username": user, "groups": ["dev"]}, "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl/v1.36.2",
        "objectRef": {"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1"},
        **({"responseStatus": {"metadata": {}, "code": 200}} if stage == "ResponseComplete" else {}),
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000001Z",
        "stageTimestamp": "2026-11-23T10:00:00.000001Z" if stage == "RequestReceived" else "2026-11-23T10:00:00.001000Z",
        **more,
    }  # fmt: skip


def batch(events: list[Any]) -> bytes:
    """An EventList as the apiserver writes it."""
    items = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events}
    return json.dumps(items, separators=(",", ":")).encode() + b"\n"


def retried(sink_address: Any, body: bytes, path: str = "/audit/lab") -> None:
    """Post until it is acknowledged, as the apiserver would with more patience; `sink_address()` says where to."""
    for _ in range(2000):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if post(sink_address(), body, path)[0] == 200:
                return
        time.sleep(0.02 + random.random() * 0.03)
    raise AssertionError("never acknowledged")


def client_context(made: Made, *, certificate: bool = True) -> ssl.SSLContext:
    """A client that trusts the CA and shows the certificate of `sink init`."""
    context = ssl.create_default_context(cafile=str(made.ca))
    if certificate:
        context.load_cert_chain(made.directory / "client.crt", made.directory / "client.key")
    return context


def tls_options(made: Made) -> dict[str, str]:
    """serve()'s options for the files of `sink init`."""
    return {"tls_cert": str(made.tls_cert), "tls_key": str(made.tls_key), "client_ca": str(made.ca)}


def make_tls(base: Path, **more: Any) -> Made:
    return sink_init("https://127.0.0.1:9443/audit/lab", base / "tls", **more)


def captured(folder: str) -> Iterator[tuple[str, bytes]]:
    """Path and body of each request the apiserver sent in one of the captures."""
    assert SHARED
    for file in sorted((SHARED / "captures" / "webhook" / folder / "raw").glob("*.http")):
        head, body = file.read_bytes().split(b"\r\n\r\n", 1)
        if not head.startswith(b"POST "):
            continue  # what became of a POST that a sink answered with 302: a GET without a body
        length = int(next(x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")).split(b":")[1])
        yield file.name, body[:length]


def keys_of(items: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """What tells events apart, of wire events."""
    return {
        (e["auditID"], e["stage"], e["requestReceivedTimestamp"], e["stageTimestamp"], e["verb"], e.get("requestURI"),
         (e.get("user") or {}).get("username"), tuple(e.get("sourceIPs", [])), (e.get("responseStatus") or {}).get("code"))
        for e in items
    }  # fmt: skip


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The events of an audit file."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as f:
        return [json.loads(line) for line in f]


def duckdb_of(lake: Path, table: str) -> duckdb.DuckDBPyRelation:
    return duckdb.sql(f"from read_parquet('{lake}/{table}/**/*.parquet', hive_partitioning=true)")
