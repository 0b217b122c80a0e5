"""No canary of the generator is found in any byte of a lake, whatever its form, its place and the path it came by."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import canaries
import pytest
from canary_events import KEPT_EVENTS
from canary_forms import KEPT
from conftest import auditlens, event, text, write
from test_redact import parsed
from test_redaction_of_lakes import spellings, stored_text

from auditlens.formats.registry import SAMPLES
from auditlens.redact import Redactor
from auditlens.redact.text import hide

Held = list[tuple[str, str]]  # (what and where, the canary)


def found(stored: bytes, held: Held) -> list[str]:
    """Which of them can be found, in any spelling: by the start that makes them unique, for some forms cut them short."""
    small = stored.lower()
    return [
        name
        for name, c in held
        if (start := c[:10].encode()).lower() in small
        or any(s in stored for once in spellings(start) for s in (once, *(list(spellings(once))[1:4] if once != start else ())))
    ]


ODD = [name for name, _, _ in canaries.odd_lines()]  # JSON that a reader of JSON does not write again as it stood


def lines(full: bool) -> list[tuple[str, str, bytes]]:
    return [(name, c, text(e)) for name, c, e in canaries.events(full)] + list(canaries.odd_lines())


def _list(lines: list[bytes]) -> bytes:
    return b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + b",".join(ln.strip() for ln in lines) + b"]}\n"


def _legacy(lines: list[bytes]) -> bytes:
    """AUDIT: lines of 1.5 to 1.7, which have a user agent and a URI."""
    out = []
    for n, line in enumerate(lines):
        e = json.loads(line)
        agent, uri = json.dumps(e["userAgent"]), json.dumps(e["requestURI"])
        out.append(
            f'2017-06-01T10:00:00.{n:06d}Z AUDIT: id="{n}" ip="192.0.2.1" method="GET" user="eve" user-agent={agent} uri={uri}\n'
        )
    return "".join(out).encode()


PATHS: dict[str, Callable[[list[bytes]], bytes]] = {
    "lines": b"".join,
    "a list": _list,
    "CRI": lambda lines: b"".join(b"2026-11-23T12:00:00Z stdout F " + ln for ln in lines),
    "docker": lambda lines: b"".join(json.dumps({"log": ln.decode(), "stream": "stdout"}).encode() + b"\n" for ln in lines),
    "torn": lambda lines: b"".join(ln[: len(ln) * 9 // 10] + b"\n" for ln in lines),
    "YAML": lambda lines: b"".join(b"---\n" + json.dumps(json.loads(ln), indent=1).encode() + b"\n" for ln in lines),
    "legacy": lambda lines: _legacy([ln for ln in lines if _readable(ln)]),
}


def _readable(line: bytes) -> bool:
    return isinstance(json.loads(line).get("userAgent"), str) and b'"kind":"Secret"' not in line


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["sample", "product"])
@pytest.mark.parametrize("path", PATHS)
def test_no_canary_of_an_event_is_kept(tmp_path: Path, path: str, full: bool) -> None:
    held = [one for one in lines(full) if path != "YAML" or one[0] not in ODD]
    assert len(held) >= 300
    log = write(tmp_path / ("audit.yaml" if path == "YAML" else "audit.log"), PATHS[path]([line for _, _, line in held]))
    done = auditlens("import", log, "--lake", tmp_path / "lake")
    assert done.returncode == 0, done.stderr
    stored = stored_text(tmp_path / "lake") + done.stdout + done.stderr
    assert len(stored) > 100 * len(held)
    assert found(stored, [(name, c) for name, c, _ in held]) == []


@pytest.mark.parametrize("shape", ["text", "gz, CRI", "JSON"])
def test_no_canary_of_a_log_line_is_kept(tmp_path: Path, shape: str) -> None:
    held = list(canaries.log_lines())
    log = tmp_path / "apiserver.log"
    if shape == "text":
        log.write_bytes(b"".join(line for _, _, line in held))
    elif shape == "JSON":  # --logging-format=json
        entries = (line.decode().split("] ", 1)[1].removesuffix("\n") for _, _, line in held)
        log.write_bytes(
            b"".join(
                json.dumps({"ts": 1795392000000.1 + n, "v": 0, "msg": said}).encode() + b"\n" for n, said in enumerate(entries)
            )
        )
    else:
        wrapped = b"".join(b"2026-11-23T12:00:00Z stderr F " + ln + b"\n" for _, _, line in held for ln in line.splitlines())
        log = tmp_path / "apiserver.log.gz"
        log.write_bytes(gzip.compress(wrapped))
    done = auditlens("import", log, "--lake", tmp_path / "lake")
    assert done.returncode == 0, done.stderr
    stored = stored_text(tmp_path / "lake") + done.stdout + done.stderr
    assert found(stored, [(name, c) for name, c, _ in held]) == []


def _seeded() -> Iterator[tuple[str, bytes, list[str]]]:
    numbers = itertools.count(700_000, 100)
    for module, samples in SAMPLES.items():
        for n, sample in enumerate(samples):
            source, made = canaries.seeded(sample, next(numbers))
            yield f"{module}-{n}", source, made


def test_no_canary_of_any_format_is_kept(tmp_path: Path) -> None:
    """Each sample of each format of the registry, with canaries in what it holds: a new format is tried without a word here."""
    tried = list(_seeded())
    assert {name.rpartition("-")[0] for name, _, made in tried if made} == set(SAMPLES)
    for name, source, _ in tried:
        write(tmp_path / "logs" / f"{name}.log", source)
    done = auditlens("import", tmp_path / "logs", "--lake", tmp_path / "lake")
    assert done.returncode == 0, done.stderr
    stored = stored_text(tmp_path / "lake") + done.stdout + done.stderr
    assert stored.count(b"redacted:hmac:") > 100
    assert found(stored, [(name, c) for name, _, made in tried for c in made]) == []


def test_what_gzip_holds_in_base64_is_looked_into() -> None:
    """As Helm keeps a release, once more in base64 or not; and what holds nothing stays."""
    redactor = Redactor(b"k" * 32)
    for held, goes in (
        ("kind: Secret\nstringData:\n  p: hunter2\n", True),
        ("password: hunter2", True),
        ("replicas: 3\n" * 9, False),
    ):
        packed = base64.b64encode(gzip.compress(json.dumps({"manifest": held}).encode())).decode()
        for coded in (packed, base64.b64encode(packed.encode()).decode()):
            assert (hide(f"release={coded}", redactor.token) != f"release={coded}") is goes


@pytest.mark.parametrize("form", KEPT)
def test_what_is_kept_by_intent_is_kept(form: str) -> None:
    """So that the list says what is so."""
    c = canaries.canary(1)
    shown = KEPT[form](c)
    assert hide(shown, Redactor(b"k" * 32).token) == shown


@pytest.mark.parametrize("form", KEPT_EVENTS)
def test_what_an_event_keeps_by_intent_is_kept(form: str) -> None:
    c = canaries.canary(1)
    before = parsed(text(event(1, **KEPT_EVENTS[form](c))))
    after = Redactor(b"k" * 32).event(before)
    assert found(str(after).encode(), [(form, c)]) == [form]
