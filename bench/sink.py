"""How fast the sink acknowledges, stores and stays small, against a bare uvicorn app that only appends and syncs.

`python bench/sink.py [--seconds 20] [--only tls]` prints one row per run: events per second acknowledged and stored, the
acknowledgement's p50 and p99, the largest lag of the lake behind the acknowledgement, peak memory of server and drain.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import table

EVENTS = 400  # per batch: kube-apiserver's --audit-webhook-batch-max-size
_USERS = 200
SENDERS = 4  # connections


def events(start: int, count: int, now: float) -> bytes:
    """The items of a batch, about 1 KB each: reads and writes of many users, all different."""
    out = []
    for n in range(start, start + count):
        t = now + (n - start) * 1e-6
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + f".{int(t % 1 * 1e6):06d}Z"
        verb, code = (("get", 200), ("update", 200), ("create", 201), ("list", 200))[n % 4]
        name = f"web-{n % 5000}"
        event = {
            "level": "Metadata", "auditID": f"{n:08x}-9f1c-4c1e-8a5e-{os.getpid():012x}", "stage": "ResponseComplete",
            "requestURI": f"/apis/apps/v1/namespaces/shop-{n % 50}/deployments/{name}", "verb": verb,
            "user": {
                "username": f"system:serviceaccount:shop-{n % 50}:worker-{n % _USERS}", "uid": f"3f0d1c9e-{n % _USERS:04x}",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:shop-{n % 50}", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": [f"JTI={n % _USERS:036d}"],
                          "authentication.kubernetes.io/pod-name": [f"worker-{n % _USERS}-7d4b9c"]},
            },
            "sourceIPs": [f"10.1.{n % 250}.{n % 99}"], "userAgent": "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519",
            "objectRef": {"resource": "deployments", "namespace": f"shop-{n % 50}", "name": name, "apiGroup": "apps", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": code},
            "requestReceivedTimestamp": stamp, "stageTimestamp": stamp,
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason":
                            f'RBAC: allowed by RoleBinding "workers/shop-{n % 50}" of ClusterRole "edit" to Group "system:serviceaccounts"'},
        }  # fmt: skip
        out.append(json.dumps(event, separators=(",", ":")))
    return ('{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + ",".join(out) + "]}\n").encode()


def _sender(
    address: tuple[str, int], bodies: list[bytes], rate: float, end: float, tls: bool, token: int, out: list[float]
) -> None:
    """One connection: batches one after another, at most `rate` a second; ids and times are rewritten in place."""
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(sock)
    n, due = 0, time.monotonic()
    with sock:
        while time.monotonic() < end:
            if rate:
                time.sleep(max(due - time.monotonic(), 0))
                due = max(due + 1 / rate, time.monotonic() - 1)
            # Every batch has its own second part of the ids and the second it is sent in: no repeats, times that go on.
            body = bodies[n % len(bodies)]
            body = body.replace(b"-9f1c-4c1e-", b"-%04x-%04x-" % (token * 4096 + n // 65536, n % 65536))
            body = body.replace(b"2026-11-23T00:00:00", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()).encode())
            n += 1
            head = b"POST /audit/bench?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            began = time.perf_counter()
            sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = b""
            while not answer.endswith((b"ok", b"ok\n")):
                answer += sock.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            out.append(time.perf_counter() - began)


def _load(address: tuple[str, int], seconds: float, rate: float, tls: bool, queue: multiprocessing.Queue[list[float]]) -> None:
    base = 1795392000.0  # 2026-11-23T00:00:00Z
    bodies = [events(i * EVENTS, EVENTS, base) for i in range(8)]
    out: list[float] = []
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=_sender, args=(address, bodies, rate / SENDERS, end, tls, k, out)) for k in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(out)


_BARE = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
async def app(scope, receive, send):
    parts = []
    while True:
        m = await receive()
        parts.append(m["body"])
        if not m["more_body"]:
            break
    os.writev(fd, parts)
    os.fdatasync(fd)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
import uvicorn, socket
s = socket.socket(proto=socket.IPPROTO_TCP); s.bind(("127.0.0.1", 0)); s.listen(128)
print(s.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, http="httptools", lifespan="off", access_log=False, log_level="error",
    ssl_certfile=sys.argv[2] or None, ssl_keyfile=sys.argv[2] and sys.argv[3] or None)).run([s])
"""

_SINK = """
import json, sys
from auditlens.sink.server import serve
options = json.loads(sys.argv[1])
serve("127.0.0.1:0", options.pop("lake"), started=lambda r: print(r.address[1], flush=True), **options)
"""


def _memory(pid: int) -> dict[str, int]:
    """Resident kB of a process and its children, by command."""
    found = {}
    children = [int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    for child in [pid, *children]:
        lines = Path(f"/proc/{child}/status").read_text().splitlines()
        found["server" if child == pid else "drain"] = next(int(x.split()[1]) for x in lines if x.startswith("VmRSS"))
    return found


def _cpu(pid: int) -> float:
    """Seconds of processor time a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    name: str, program: str, arguments: list[str], seconds: float, rate: float, tls: bool, wal: Path | None
) -> dict[str, Any]:
    """One measurement: a server, a load, and what the lake held at its end and when it held all."""
    with tempfile.NamedTemporaryFile("w", suffix=".err") as err:
        server = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=err)
        try:
            assert server.stdout
            port = int(server.stdout.readline())
            queue: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
            load = multiprocessing.Process(target=_load, args=(("127.0.0.1", port), seconds, rate, tls, queue))
            peaks: dict[str, int] = {}
            lags: list[float] = []
            stop = threading.Event()

            def watch() -> None:
                while not stop.wait(0.2):
                    try:
                        for k, v in _memory(server.pid).items():
                            peaks[k] = max(peaks.get(k, 0), v)
                        peaks["both"] = max(peaks.get("both", 0), sum(_memory(server.pid).values()))
                        if wal:
                            files = [p.stat().st_ctime if p.suffix == ".seg" else time.time() for p in wal.glob("*.seg")]
                            lags.append(time.time() - min(files) if files else 0)
                    except (OSError, ValueError):
                        pass

            watcher = threading.Thread(target=watch)
            watcher.start()
            load.start()
            times = sorted(queue.get())
            load.join()
            cpu = _cpu(server.pid)
            ended = time.monotonic()
            while wal and list(wal.glob("*.seg")) + list(wal.glob("*.open")) and time.monotonic() - ended < 40:
                time.sleep(0.05)
            after = time.monotonic() - ended
            stop.set()
            watcher.join()
        finally:
            server.terminate()
            server.wait()
        said = Path(err.name).read_text() if wal else ""
        if "drain" in said:
            print(said[-3000:])
        total = len(times) * EVENTS
        return {
            "run": name, "acked/s": round(total / seconds), "p50 ms": round(times[len(times) // 2] * 1e3, 1),
            "p99 ms": round(times[int(len(times) * 0.99)] * 1e3, 1), "CPU ms/batch": round(cpu * 1e3 / len(times), 2), "stored/s": round(total / (seconds + after)) if wal else 0,
            "left s": round(after, 1), "max lag s": round(max(lags, default=0), 1),
            "MiB": {k: v >> 10 for k, v in peaks.items()}, "events": total,
        }  # fmt: skip


def _rows(results: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows = [("", "acknowledged/s", "p50 ms", "p99 ms", "stored/s", "largest lag s", "peak MiB", "missing")]
    for r in results:
        stores = r["run"].startswith(("burst", "sustained"))
        rows.append((
            r["run"], f"{r['acked/s']:,}", str(r["p50 ms"]), str(r["p99 ms"]), f"{r['stored/s']:,}" if stores else "",
            str(r["max lag s"]) if stores else "", str(r["MiB"].get("both", "")), str(r.get("missing", "")),
        ))  # fmt: skip
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=30_000, help="events per second of the sustained runs")
    parser.add_argument("--only", default="", help="runs whose name holds this")
    args = parser.parse_args()
    from auditlens.sink.init import sink_init

    base = Path(tempfile.mkdtemp(prefix="sink-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        made = sink_init("https://127.0.0.1:1/audit/bench", base / "tls")
        cert, key = str(made.tls_cert), str(made.tls_key)
        results = []
        for name, tls, rate in (
            ("bare", False, 0), ("burst", False, 0), ("sustained", False, args.rate / EVENTS),
            ("bare tls", True, 0), ("burst tls", True, 0), ("sustained tls", True, args.rate / EVENTS),
        ):  # fmt: skip
            if args.only not in name:
                continue
            directory = Path(tempfile.mkdtemp(dir=base))
            seconds = args.seconds if "sustained" in name else 4
            if "bare" in name:
                results.append(run(name, _BARE, [str(directory / "f"), cert if tls else "", key], seconds, rate, tls, None))
            else:
                (key_file := directory / "redact.key").write_text("k" * 32)  # so that the WAL is encrypted
                options = {"lake": str(directory / "lake"), "wal_dir": str(directory / "wal"), "redact": False}
                options["redact_key"] = str(key_file)
                options |= {"tls_cert": cert, "tls_key": key} if tls else {}
                results.append(run(name, _SINK, [json.dumps(options)], seconds, rate, tls, directory / "wal"))
                if "sustained" in name:
                    from auditlens import engine

                    stored = engine.sql(str(directory / "lake"), "select count(*) as n from audit")["n"][0]
                    results[-1]["missing"] = results[-1]["events"] - stored
            print(f"{name}: done", file=sys.stderr, flush=True)
            shutil.rmtree(directory)
        table(
            f"Sink: batches of {EVENTS} events from {SENDERS} connections; bare is a uvicorn app that appends and syncs",
            _rows(results),
        )
        rates = {r["run"]: r["acked/s"] for r in results}
        for tls in ("", " tls"):
            if f"bare{tls}" in rates and f"burst{tls}" in rates:
                print(f"  acknowledged as a ratio, burst{tls} / bare{tls}: {rates[f'burst{tls}'] / rates[f'bare{tls}']:.2f}")
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
