"""No canary of the generator is found in any byte of a lake, whatever its form, its place and the path it came by."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import canaries
import pytest
from conftest import auditlens, text, write
from test_redaction_of_lakes import spellings, stored_text

LINES = [(name, c, text(e)) for name, c, e in canaries.events()] + list(canaries.odd_lines())
LOG = list(canaries.log_lines())


def found(stored: bytes, held: list[tuple[str, str]]) -> list[str]:
    """Which of (name, canary) can be found, in any spelling."""
    return [name for name, c in held if any(s in stored for s in spellings(c.encode()))]


def _list(lines: list[bytes]) -> bytes:
    return b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + b",".join(ln.strip() for ln in lines) + b"]}\n"


PATHS: dict[str, Callable[[list[bytes]], bytes]] = {
    "lines": b"".join,
    "a list": _list,
    "CRI": lambda lines: b"".join(b"2026-11-23T12:00:00Z stdout F " + ln for ln in lines),
    "docker": lambda lines: b"".join(json.dumps({"log": ln.decode(), "stream": "stdout"}).encode() + b"\n" for ln in lines),
    "torn": lambda lines: b"".join(ln[: len(ln) * 9 // 10] + b"\n" for ln in lines),
}


@pytest.mark.parametrize("path", PATHS)
def test_no_canary_of_an_event_is_kept(tmp_path: Path, path: str) -> None:
    assert len(LINES) >= 300
    log = write(tmp_path / "audit.log", PATHS[path]([line for _, _, line in LINES]))
    done = auditlens("import", log, "--lake", tmp_path / "lake")
    assert done.returncode == 0, done.stderr
    stored = stored_text(tmp_path / "lake") + done.stdout + done.stderr
    assert b"auditID" in stored or b"a0000001-00a0" in stored
    assert found(stored, [(name, c) for name, c, _ in LINES]) == []


@pytest.mark.parametrize("shape", ["text", "gz, CRI"])
def test_no_canary_of_a_log_line_is_kept(tmp_path: Path, shape: str) -> None:
    lines = b"".join(line for _, _, line in LOG)
    if shape == "text":
        log = write(tmp_path / "apiserver.log", lines)
    else:
        wrapped = b"".join(b"2026-11-23T12:00:00Z stderr F " + ln + b"\n" for ln in lines.splitlines())
        log = tmp_path / "apiserver.log.gz"
        log.write_bytes(gzip.compress(wrapped))
    done = auditlens("import", log, "--lake", tmp_path / "lake")
    assert done.returncode == 0, done.stderr
    stored = stored_text(tmp_path / "lake") + done.stdout + done.stderr
    assert found(stored, [(name, c) for name, c, _ in LOG]) == []
