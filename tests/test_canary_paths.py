"""No canary is found in what comes out on any other path: followed, posted, piped, killed half-way, and what is asked of the lake."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import canaries
import polars as pl
import pytest
import zstandard
from conftest import auditlens, imported, rows, write
from sink.helpers import Sink
from test_canaries import Held, found, lines
from test_redaction_of_lakes import stored_text

from auditlens import engine

EVENTS = lines(full=False)
LOG = b"".join(line for _, _, line in EVENTS)
HELD: Held = [(name, c) for name, c, _ in EVENTS]
ENTRIES = list(canaries.log_lines())
OF_ENTRIES: Held = [(name, c) for name, c, _ in ENTRIES]


def test_there_are_enough() -> None:
    assert len(HELD) >= 300
    assert len({c for _, c in HELD + OF_ENTRIES}) == len(HELD) + len(OF_ENTRIES)
    assert len(found(LOG + b"".join(line for _, _, line in ENTRIES), HELD + OF_ENTRIES)) > 1200, (
        "most stand in the log as they are"
    )


# -- ways in


def _wait(until: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        time.sleep(0.1)


def _count(lake: Path, tables: tuple[str, ...] = ("audit", "rejects")) -> int:
    with contextlib.suppress(Exception):  # the lake is being made
        return sum(engine.sql(str(lake), f"select count(*) from {table}").item() for table in tables)
    return 0


def test_followed(tmp_path: Path) -> None:
    """The whole process: what was there, what is appended in pieces, a line without its end, and log entries."""
    log, klog, lake = tmp_path / "audit.log", tmp_path / "apiserver.log", tmp_path / "lake"
    half = LOG.index(b"\n", len(LOG) // 2) + 1
    log.write_bytes(LOG[:half])
    klog.write_bytes(b"".join(line for _, _, line in ENTRIES))
    command = [sys.executable, "-m", "auditlens", "import", "--follow", str(log), str(klog), "--lake", str(lake)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"AUDITLENS_DEBUG": "1"}
    ) as process:
        _wait(lambda: _count(lake) > 0, process)
        with log.open("ab") as out:
            for at in range(half, len(LOG), 100_003):
                out.write(LOG[at : at + 100_003])
                out.flush()
                time.sleep(0.05)
            out.write(EVENTS[0][2][:-40])  # torn
        _wait(lambda: _count(lake) >= len(EVENTS), process)
        _wait(lambda: _count(lake, ("klog", "httplog", "trace")) >= len(ENTRIES) * 9 // 10, process)
        during = stored_text(lake)
        process.send_signal(signal.SIGTERM)
        said = b"".join(process.communicate(timeout=60))
    assert said
    assert found(during + stored_text(lake) + said, HELD + OF_ENTRIES) == []


def test_piped(tmp_path: Path) -> None:
    done = auditlens("import", "-", "--lake", tmp_path / "lake", "-o", "json", stdin=LOG)
    assert done.returncode == 0, done.stderr
    assert _count(tmp_path / "lake") == len(EVENTS)
    assert found(stored_text(tmp_path / "lake") + done.stdout + done.stderr, HELD) == []


def _posts(size: int = 150) -> Iterator[bytes]:
    """Bodies as the apiserver posts them, and such that are none."""
    items = [line.strip() for _, _, line in EVENTS]
    for at in range(0, len(items), size):
        yield b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + b",".join(items[at : at + size]) + b"]}\n"
    yield b'{"items":[' + items[0][:-9]  # torn
    yield b'{"kind":"Secret","stringData":{"p":"' + EVENTS[0][1].encode() + b'"},"items":[],"items":[7]}'
    yield items[1]
    yield b'{"items":["password=%b",{"level":"--token %b","annotations":{"token":7}}]}' % (
        EVENTS[2][1].encode(),
        EVENTS[3][1].encode(),
    )


def _raw(base: Path) -> bytes:
    """Every byte of every file but Parquet, which is read, and the key, which is no canary."""
    return stored_text(base)


def test_posted(tmp_path: Path) -> None:
    """The WAL while it waits, after a kill, the lake after its drain; the log, the answers to bad posts and the metrics."""
    said = []
    with Sink(tmp_path, redact=True, seal_after=1000) as sink:
        for body in _posts():
            assert sink.post(body) == 200
        for _, c, line in EVENTS[:20]:
            said += [
                str(_answer(sink, body)) for body in (line[1:], b"password: " + c.encode(), json.dumps(f"Bearer {c}").encode())
            ]
        said.append(sink.get("/metrics")[1])
        sink.kill()
    waiting = b"".join(p.read_bytes() for p in sink.wal.iterdir() if p.is_file())
    assert len(waiting) > len(LOG) * 9 // 10
    assert found(waiting + "".join(said).encode() + sink.log.read_bytes(), HELD) == []
    with Sink(tmp_path, redact=True) as again:
        again.wait_empty()
        said.append(again.get("/metrics")[1])
        assert again.sql("select count(*) from audit").item() >= len(EVENTS) - 5
        assert again.sql("select count(*) from rejects").item() >= 3
        again.stop()
    assert found(_raw(tmp_path) + "".join(said).encode(), HELD) == []


def _answer(sink: Sink, body: bytes) -> tuple[int, dict[str, str], str]:
    from sink.helpers import post

    return post(sink.address, body)


_FAILS = """
import sys
import duckdb
from auditlens.sink import drain
from auditlens.importing import writer
original = writer.Writer._read
def failing(self, lines, wanted):
    for text in lines["text"].to_pylist():
        duckdb.execute("select ?::int", [text]).fetchall()
    return original(self, lines, wanted)
writer.Writer._read = failing
sys.exit(drain.main(sys.argv[1:]))
"""


def test_a_drain_that_fails_at_what_it_drains(tmp_path: Path) -> None:
    """DuckDB's error quotes the text; the log gets it, and the reject of the body that was tried alone."""
    with Sink(tmp_path, redact=True, seal_after=1000) as sink:
        for body in _posts():
            assert sink.post(body) == 200
        sink.kill()
    for open_segment in sink.wal.glob("*.open"):
        open_segment.rename(open_segment.with_suffix(".seg"))
    said = b""
    for more in ([], ["--suspect", str(min(int(p.name[:12]) for p in sink.wal.glob("*.seg")))]):
        arguments = [
            "--wal",
            str(sink.wal),
            "--lake",
            str(sink.lake),
            "--redact-key",
            str(tmp_path / "redact.key"),
            "--once",
            *more,
        ]
        done = subprocess.run([sys.executable, "-c", _FAILS, *arguments], capture_output=True, stdin=subprocess.DEVNULL)
        said += done.stdout + done.stderr
    assert b"Conversion Error: Could not convert string" in said
    reasons = [reason for (reason,) in rows(sink.lake, "select distinct reason from rejects")]
    assert any("the import failed on this body: Conversion Error" in reason for reason in reasons), reasons
    assert found(_raw(tmp_path) + said, HELD) == []


# -- what is left on disk


_SMALL = """
import sys
from auditlens.importing import writer
from auditlens.importing.files import chunks, run
chunks.CHUNK = run.CHUNK = 1 << 18
writer._FLUSH = 1 << 18
from auditlens.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _frames(data: bytes) -> bytes:
    """What the zstd frames of a file hold, whole or not: a Parquet file that has no end yet cannot be read otherwise."""
    out = [data]
    for part in data.split(b"\x28\xb5\x2f\xfd")[1:]:
        with contextlib.suppress(zstandard.ZstdError):
            out.append(zstandard.ZstdDecompressor().decompressobj().decompress(b"\x28\xb5\x2f\xfd" + part))
    return b"".join(out)


def test_what_a_running_import_keeps_on_disk_and_what_a_killed_one_leaves(tmp_path: Path) -> None:
    """In small steps, so that there are files early; each is looked at while the import works, and after kill -9."""
    log, lake, home = tmp_path / "audit.log", tmp_path / "lake", tmp_path / "tmp"
    home.mkdir()
    log.write_bytes(b"".join(LOG.replace(b'"auditID":"a', b'"auditID":"%x' % n) for n in range(4)))
    seen: set[Path] = set()

    def look() -> None:
        for path in [*lake.rglob("*"), *home.rglob("*")]:
            with contextlib.suppress(OSError):
                if path.is_file():
                    seen.add(path)
                    assert found(_frames(path.read_bytes()), HELD) == [], path

    command = [sys.executable, "-c", _SMALL, "import", str(log), "--lake", str(lake)]
    env = os.environ | {"TMPDIR": str(home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        end = time.monotonic() + 90
        while len([*lake.rglob("*.parquet")]) < 2 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)  # a look takes longer than the import
        look()
        process.kill()
        said = b"".join(process.communicate(timeout=60))
    assert process.returncode == -signal.SIGKILL, said
    look()
    assert len(seen) >= 2
    assert found(said, HELD) == []


# -- ways out


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("asked")
    for shape, data in (("audit.log", LOG), ("torn.log", b"".join(line[: len(line) * 4 // 5] + b"\n" for _, _, line in EVENTS)),
                        ("apiserver.log", b"".join(line for _, _, line in ENTRIES))):  # fmt: skip
        write(base / shape, data)
    imported(base / "lake", base / "audit.log", base / "torn.log", base / "apiserver.log")
    return base / "lake"


ASKED: dict[str, list[str]] = {
    "csv": ["sql", "from audit", "-o", "csv"],
    "json": ["sql", "from audit", "-o", "json"],
    "jsonl": ["sql", "from audit", "-o", "jsonl"],
    "records": ["sql", "from audit", "-o", "records"],
    "md": ["sql", "from audit", "-o", "md"],
    "rejects": ["ask", "rejects", "-o", "json"],
    "httplog": ["sql", "from httplog", "-o", "csv"],
    "klog": ["sql", "from klog", "-o", "json"],
    "requests": ["ask", "requests", "--limit", "2000", "-o", "json"],
    "exec": ["ask", "exec-sessions", "-o", "csv"],
    "clients": ["ask", "clients", "-o", "json"],
    "errors": ["ask", "errors", "-o", "records"],
    "secrets": ["ask", "secret-access", "-o", "json"],
    "changes": ["ask", "webhook-effects", "-o", "json"],
    "imports": ["ask", "imports", "-o", "json"],
    "state": ["state", "--namespace", "shop", "-o", "json"],
    "history": ["history", "secret/db", "-n", "shop", "-o", "json"],
    "diff": ["diff", "secret/db", "-n", "shop"],
    "history of a Pod": ["history", "pod/p", "-n", "shop"],
    "curl": ["curl", "a0000001-00a0-4000-8000-00000000000b"],
    "an error": ["sql", "select error(user_agent) from audit"],
    "a cast": ["sql", "select request_uri::int from audit"],
}  # fmt: skip


@pytest.mark.parametrize("what", ASKED)
def test_asked(lake: Path, what: str) -> None:
    done = auditlens(*ASKED[what], "--lake", lake, cwd=lake.parent)
    assert done.stdout or done.stderr
    assert found(done.stdout + done.stderr, HELD + OF_ENTRIES) == []


def test_evidence(lake: Path) -> None:
    """The lines are read again from their files, and redacted as they were."""
    from auditlens.forensics.evidence import evidence
    from auditlens.lake import Lake

    of = pl.concat(engine.sql(str(lake), f"select source, line, item from {t}") for t in ("audit", "httplog", "klog", "rejects"))
    shown, _ = evidence(Lake(lake), of, within=[lake.parent])
    assert len(shown) > 1500
    assert sum(one.content is not None for one in shown) > 1000
    assert found("\n".join(map(str, shown)).encode(), HELD + OF_ENTRIES) == []
