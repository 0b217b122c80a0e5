"""The WAL keeps what it acknowledged, cuts what is torn, and lets nobody else in."""

from __future__ import annotations

import json
import os
import stat
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.sink import wal as module
from auditlens.sink.drain import bodies
from auditlens.sink.records import FRAME, encode, frame
from auditlens.sink.wal import Damage, RecordHeader, Wal, WalError, WalRecord, identity, read, segments

POST = RecordHeader("lab", 1.5, "10.0.0.1")


def _fill(directory: Path, bodies: list[bytes], **more: object) -> list[str]:
    said: list[str] = []
    wal = Wal(directory, say=said.append, **more)  # type: ignore[arg-type]
    for future in [wal.append(POST, [b[:3], b[3:]]) for b in bodies]:
        future.result(10)
    wal.close()
    return said


def _bodies(directory: Path) -> list[bytes]:
    return [bytes(e.body) for s in segments(directory) for e in read(s.read(), s.key) if isinstance(e, WalRecord)]


def test_what_is_appended_comes_back_in_order(tmp_path: Path) -> None:
    bodies = [b"{%d}" % n * (n + 1) for n in range(50)]
    _fill(tmp_path / "wal", bodies)
    assert _bodies(tmp_path / "wal") == bodies
    (segment,) = segments(tmp_path / "wal")
    first = next(iter(read(segment.read(), segment.key)))
    assert isinstance(first, WalRecord)
    assert first.header == POST


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


def test_numbers_are_not_used_again_after_a_kill_wherever_it_struck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of the reserved numbers are used up when the process dies; what the drain has deleted tells nothing."""
    monkeypatch.setattr(module, "_RESERVED", 3)
    used: list[int] = []
    for count in (1, 1, 1, 2, 3, 4, 7, 1):
        wal = Wal(tmp_path, segment_bytes=1)
        for _ in range(count):
            wal.append(POST, [b"{}"]).result(10)
        wal.close()  # what a kill would leave but for the last segment's name
        used += [s.number for s in segments(tmp_path)]
        for s in segments(tmp_path):
            s.path.unlink()
    assert len(used) == 20
    assert used == sorted(set(used))


def test_a_sink_json_from_a_backup_does_not_give_a_number_twice(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{1}"])
    (tmp_path / "sink.json").write_text(json.dumps({"sink": identity(tmp_path), "next": 1}))
    _fill(tmp_path, [b"{2}"])
    assert _bodies(tmp_path) == [b"{1}", b"{2}"]
    assert len({s.number for s in segments(tmp_path)}) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"sink": 7, "next": 1}', '{"sink": "a"}', '{"sink": "a", "next": "x"}', "\xff"]
)
def test_a_sink_json_of_another_form_is_said_not_guessed(tmp_path: Path, text: str) -> None:
    _fill(tmp_path, [b"{1}"])
    (tmp_path / "sink.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WalError, match=r"sink\.json: cannot be read .*restore it"):
        Wal(tmp_path)


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
def test_a_torn_tail_is_kept_and_said(tmp_path: Path, tail: bytes) -> None:
    """It was not acknowledged, or damaged since: only a reader of the rest can tell, so it becomes a reject."""
    _fill(tmp_path, [b"{1}", b"{2}"])
    path = segments(tmp_path)[0].path
    path.write_bytes(path.read_bytes() + tail)
    path.rename(path.with_suffix(".open"))
    said = _fill(tmp_path, [b"{3}"])
    assert "torn before they were acknowledged, or damaged since; they are kept as a reject" in said[0]
    assert f"{len(tail)} bytes" in said[0]
    assert _bodies(tmp_path) == [b"{1}", b"{2}", b"{3}"]
    first = segments(tmp_path)[0]
    kept = [b for b in bodies(first.read(), read(first.read(), first.key)) if b.damaged]
    assert [bytes(b.data) for b in kept] == [tail]


def _unkeyed(parts: tuple[bytes, ...]) -> bytes:
    """The frame of version 0.1.0."""
    content = b"".join(parts)
    return struct.pack("<4sIII", b"\xa7AWL", len(content), zlib.crc32(content), len(parts[0]))


_KEY = b"0123456789abcdef"
_BODIES = [b"{%03d}" % n for n in range(8)]
_HEADER = encode(POST)
_FRAMES = {"keyed": (_KEY, lambda parts: frame(parts, _KEY), FRAME), "unkeyed": (None, _unkeyed, 16)}


def _written(form: str) -> tuple[bytes | None, list[bytes]]:
    key, framed, _ = _FRAMES[form]
    return key, [framed((_HEADER, b)) + _HEADER + b for b in _BODIES]


def _check(form: str, data: bytes, hit: set[int]) -> None:
    """Every record that was not hit is there, in order; every other byte is told as damage."""
    found = list(read(data, _FRAMES[form][0]))
    good = [bytes(e.body) for e in found if isinstance(e, WalRecord)]
    assert good == [b for n, b in enumerate(_BODIES) if n not in hit]
    covered = sum(d.size for d in found if isinstance(d, Damage))
    assert covered + sum(_FRAMES[form][2] + len(_HEADER) + len(b) for b in good) == len(data)


@pytest.mark.parametrize("form", _FRAMES)
def test_a_flip_or_cut_at_any_byte_costs_only_the_record_it_hit(form: str) -> None:
    _, records = _written(form)
    whole, size = b"".join(records), len(records[0])
    for at in range(len(whole)):
        for bit in (0, 3, 7):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            _check(form, bytes(flipped), {at // size})
        _check(form, whole[:at], set(range(at // size, len(records))))


@given(st.data(), st.sampled_from(sorted(_FRAMES)))
def test_whatever_is_flipped_lost_or_put_in_between_costs_only_the_records_it_hit(data: st.DataObject, form: str) -> None:
    _, records = _written(form)
    hit, out = set(), []
    for n, record in enumerate(records):
        match data.draw(st.sampled_from("kkkflit")):
            case "f":
                flipped = bytearray(record)
                flipped[data.draw(st.integers(0, len(record) - 1))] ^= 1 << data.draw(st.integers(0, 7))
                record = bytes(flipped)
                hit.add(n)
            case "l":
                at, to = sorted(data.draw(st.tuples(*[st.integers(0, len(record))] * 2)))
                record = record[:at] + record[to:]
                hit |= {n} if to > at else set()
            case "i":
                record = data.draw(st.binary(min_size=1, max_size=99)) + record
            case _:
                pass
        out.append(record)
    _check(form, b"".join(out), hit)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_nothing_in_a_body_is_taken_for_a_record(tmp_path: Path, cut: int) -> None:
    """A body that holds whole frames of another cluster, of both forms, torn by a crash at its end."""
    header = encode(RecordHeader("prod", 1.5, "10.0.0.9"))
    forged = b"".join(f((header, b"{}")) + header + b"{}" for _, f, _ in _FRAMES.values()) * 3
    _fill(tmp_path, [b"{1}", b'{"a":"' + forged + b'"}' + b" " * cut])
    (segment,) = segments(tmp_path)
    with segment.path.open("r+b") as f:
        f.truncate(segment.size - cut)
    segment.path.rename(segment.path.with_suffix(".open"))
    _fill(tmp_path, [b"{2}"])
    found = [r for s in segments(tmp_path) for r in read(s.read(), s.key)]
    assert [e.header.cluster for e in found if isinstance(e, WalRecord)] == ["lab", "lab"]
    assert len([d for d in found if isinstance(d, Damage)]) == 1


@pytest.mark.parametrize("form", _FRAMES)
def test_a_segment_of_frames_that_overlap_is_read_in_bounded_time(form: str) -> None:
    """4 MiB of frames that each claim the rest of the segment: read one by one they are 300 GB."""
    key, _, _ = _FRAMES[form]
    size = 4 << 20
    step = FRAME if key else 16
    numbers = [struct.pack("<III", size - at - step, 7, 0) for at in range(0, size, step)]
    data = b"".join(key + n + struct.pack("<I", zlib.crc32(n)) if key else b"\xa7AWL" + n for n in numbers)
    began = time.process_time()
    assert list(read(data, key)) == [Damage(0, len(data))]
    took = time.process_time() - began
    began = time.process_time()
    zlib.crc32(data * 8)
    assert took < 40 * max(time.process_time() - began, 0.01)


def test_a_header_of_another_form_is_damage_and_the_log_starts(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{1}"])
    (segment,) = segments(tmp_path)
    assert segment.key
    wrong = [b'{"cluster":7,"received":"x","client":[]}', b"[]", b"\xff", b""]
    more = b"".join(frame((head, b"{}"), segment.key) + head + b"{}" for head in wrong)
    segment.path.write_bytes(more + segment.read() + more)
    segment.path.rename(segment.path.with_suffix(".open"))
    said = _fill(tmp_path, [b"{2}"])
    assert [f"{len(more)} bytes" in line for line in said] == [True, True]
    assert _bodies(tmp_path) == [b"{1}", b"{2}"]


def test_a_log_of_version_0_1_0_is_still_drained(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{new}"])
    for number, suffix in ((1, "seg"), (2, "open")):
        (tmp_path / f"{number:012d}.{suffix}").write_bytes(b"".join(_written("unkeyed")[1]))
    _fill(tmp_path, [])
    assert sorted(_bodies(tmp_path)) == sorted([*_BODIES, *_BODIES, b"{new}"])


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
