"""What is posted is in clear nowhere: not in the WAL, not in the sink's log or metrics, and not in the lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from .helpers import Sink, batch, event

CANARY = "Cnry000001xQ7zKp9Lm3Rt5V"
BODY = batch([
    event("a", userAgent=f"tool --password {CANARY}"),
    event("b", level="Request", verb="create", objectRef={"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"},
          requestObject={"kind": "Secret", "apiVersion": "v1", "stringData": {"p": CANARY}}),
])  # fmt: skip


def _stored(base: Path) -> bytes:
    return b"".join(p.read_bytes() for p in base.rglob("*") if p.is_file())


def test_what_waits_is_encrypted_and_its_key_brings_it_into_the_lake_redacted(tmp_path: Path) -> None:
    """Killed with bodies in the open segment, started with another key, with none, and with the right one."""
    with Sink(tmp_path, redact=True, seal_after=1000) as sink:
        assert sink.post(BODY) == 200
        assert sink.post(b"password: " + CANARY.encode()) == 400  # its start is said in the log
        sink.kill()
    (waiting,) = sink.wal.glob("*.open")
    assert waiting.stat().st_size > len(BODY)
    assert CANARY.encode() not in _stored(tmp_path)
    before = waiting.read_bytes()
    other = tmp_path / "other.key"
    other.write_text("another key of sixteen bytes")
    for options in ({"redact_key": str(other)}, {"redact": False, "redact_key": None, "env": {"XDG_CONFIG_HOME": str(tmp_path)}}):
        with pytest.raises(RuntimeError, match=r"1 segments are encrypted with the redaction key [0-9a-f]{8}.*--redact-key"):
            Sink(tmp_path, **{"redact": True, **options})  # type: ignore[arg-type]
    assert waiting.read_bytes() == before
    with Sink(tmp_path, redact=True) as again:
        again.wait_empty()
        assert sorted(again.sql("select audit_id from audit")["audit_id"]) == ["a", "b"]
        assert again.sql("select count(*) as n from rejects")["n"][0] == 0
        assert CANARY not in again.get("/metrics")[1]
        again.stop()
    assert CANARY.encode() not in _stored(tmp_path)


def test_without_redaction_and_without_a_key_the_wal_is_in_clear_and_that_is_said(tmp_path: Path) -> None:
    with Sink(
        tmp_path, redact_key=None, env={"XDG_CONFIG_HOME": str(tmp_path), "AUDITLENS_REDACT_KEY": ""}, seal_after=1000
    ) as sink:
        assert sink.post(BODY) == 200
        sink.kill()
    (waiting,) = sink.wal.glob("*.open")
    assert CANARY.encode() in waiting.read_bytes()
    assert "the WAL holds what is posted in clear until it is drained; --redact-key encrypts it" in sink.log.read_text()
    with Sink(tmp_path) as again:  # with a key now: what waits is drained, what comes is encrypted
        again.wait_empty()
        assert again.post(batch([event("c")])) == 200
        again.wait_empty()
        assert sorted(again.sql("select audit_id from audit")["audit_id"]) == ["a", "b", "c"]
