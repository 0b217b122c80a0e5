"""The WAL keeps what it acknowledged, cuts what is torn, and lets nobody else in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.sink.wal import Damage, Entry, Post, Wal, WalError, identity, read, segments

POST = Post("lab", 1.5, "10.0.0.1")


def _fill(directory: Path, bodies: list[bytes], **more: object) -> list[str]:
    said: list[str] = []
    wal = Wal(directory, say=said.append, **more)  # type: ignore[arg-type]
    for future in [wal.append(POST, [b[:3], b[3:]]) for b in bodies]:
        future.result(10)
    wal.close()
    return said


def _bodies(directory: Path) -> list[bytes]:
    return [bytes(e.body) for s in segments(directory) for e in read(s.path.read_bytes()) if isinstance(e, Entry)]


def test_what_is_appended_comes_back_in_order(tmp_path: Path) -> None:
    bodies = [b"{%d}" % n * (n + 1) for n in range(50)]
    _fill(tmp_path / "wal", bodies)
    assert _bodies(tmp_path / "wal") == bodies
    first = next(iter(read(segments(tmp_path / "wal")[0].path.read_bytes())))
    assert isinstance(first, Entry)
    assert first.post == POST


def test_a_segment_is_sealed_before_it_grows_too_large_but_takes_any_single_body(tmp_path: Path) -> None:
    _fill(tmp_path, [b"x" * 400, b"y" * 400, b"z" * 5000, b"w" * 10], segment_bytes=1000)
    sizes = [s.size for s in segments(tmp_path)]
    assert [s > 1000 for s in sizes] == [False, True, False]
    assert [b[:1] for b in _bodies(tmp_path)] == [b"x", b"y", b"z", b"w"]


def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{}"])
    used = {s.number for s in segments(tmp_path)}
    for s in segments(tmp_path):
        s.path.unlink()
    _fill(tmp_path, [b"{}"])
    assert not used & {s.number for s in segments(tmp_path)}


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        _fill(tmp_path / "wal", [b"{}"])
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "wal").stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "wal").iterdir()} == {0o600}


def test_a_second_process_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    wal = Wal(tmp_path)
    with pytest.raises(WalError, match="another sink is using this WAL; give each its own --wal"):
        Wal(tmp_path)
    wal.close()
    Wal(tmp_path).close()


def test_the_name_stays_and_no_two_logs_share_one(tmp_path: Path) -> None:
    names = set()
    for directory in (tmp_path / "a", tmp_path / "a", tmp_path / "b"):
        wal = Wal(directory, name="sink")
        wal.append(POST, [b"{}"]).result(10)
        wal.close()
        names.add(identity(directory))
    assert len(names) == 2


def test_segments_without_a_name_are_not_given_a_new_one(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{}"])
    (tmp_path / "sink.json").unlink()
    with pytest.raises(WalError, match=r"sink\.json: missing, but there are segments"):
        Wal(tmp_path)


@pytest.mark.parametrize(
    "tail", [b"\xa7", b"\xa7AWL\x10\0\0\0", b"\0" * 4096, b"garbage" * 100], ids=["byte", "frame", "zeros", "noise"]
)
def test_a_torn_tail_is_cut_at_the_last_whole_record_and_said(tmp_path: Path, tail: bytes) -> None:
    _fill(tmp_path, [b"{1}", b"{2}"])
    path = segments(tmp_path)[0].path
    path.write_bytes(path.read_bytes() + tail)
    path.rename(path.with_suffix(".open"))
    said = _fill(tmp_path, [b"{3}"])
    assert "torn tail" in said[0]
    assert f"{len(tail)} bytes" in said[0]
    assert _bodies(tmp_path) == [b"{1}", b"{2}", b"{3}"]


@given(st.data())
def test_whatever_is_cut_or_flipped_costs_only_the_records_it_hit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = _whole(tmp_path_factory)
    cut = data.draw(st.integers(0, len(whole)))
    damaged = bytearray(whole[:cut])
    for at in data.draw(st.lists(st.integers(0, max(cut - 1, 0)), max_size=3)) if cut else []:
        damaged[at] ^= 0x55
    found = list(read(bytes(damaged)))
    good = [bytes(e.body) for e in found if isinstance(e, Entry)]
    assert all(b in _BODIES for b in good)
    assert good == sorted(good)
    covered = sum(d.size for d in found if isinstance(d, Damage))
    assert covered + sum(len(b) + _OVERHEAD for b in good) == len(damaged)


_BODIES = [b"{%03d}" % n for n in range(12)]
_OVERHEAD = 16 + len(b'{"cluster":"lab","received":1.5,"client":"10.0.0.1"}')
_MADE: list[bytes] = []


def _whole(factory: pytest.TempPathFactory) -> bytes:
    if not _MADE:
        directory = factory.mktemp("wal")
        _fill(directory, _BODIES)
        _MADE.append(segments(directory)[0].path.read_bytes())
    return _MADE[0]


def test_a_failed_write_fails_its_callers_and_only_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    wal = Wal(tmp_path, say=said.append)
    wal.append(POST, [b"{1}"]).result(10)
    real = os.fdatasync

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(WalError, match="No space left"):
        wal.append(POST, [b"{2}"]).result(10)
    monkeypatch.setattr(os, "fdatasync", real)
    wal.append(POST, [b"{3}"]).result(10)
    wal.close()
    assert _bodies(tmp_path) == [b"{1}", b"{3}"]
    assert any("No space left" in s for s in said)


def test_a_new_log_has_its_name_at_once(tmp_path: Path) -> None:
    """The drain is another process, and begins by looking for it."""
    wal = Wal(tmp_path / "wal", name="here")
    try:
        assert identity(tmp_path / "wal") == wal.sink
    finally:
        wal.close()
