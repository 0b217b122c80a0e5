"""The WAL keeps what it acknowledged, cuts what is torn, and lets nobody else in."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.redact import Redactor
from auditlens.sink import wal as module
from auditlens.sink.cipher import TAG, SegmentCipher, Vault
from auditlens.sink.drain import bodies
from auditlens.sink.records import FRAME, encode, frame, written
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
_CIPHER = SegmentCipher(bytes(range(32)))
# The segment's key, its cipher, and the bytes of a record beside its content.
_FORMS: dict[str, tuple[bytes | None, SegmentCipher | None, int]] = {
    "encrypted": (_KEY, _CIPHER, FRAME + TAG),
    "keyed": (_KEY, None, FRAME),
    "unkeyed": (None, None, 16),
}


def _record(form: str, number: int, header: bytes, body: bytes) -> bytes:
    key, cipher, _ = _FORMS[form]
    parts = (header, body)
    return b"".join(written(parts, key, cipher, number)) if key else _unkeyed(parts) + header + body


def _written(form: str) -> list[bytes]:
    return [_record(form, n, _HEADER, b) for n, b in enumerate(_BODIES)]


def _check(form: str, data: bytes, hit: set[int]) -> None:
    """Every record that was not hit is there, in order; every other byte is told as damage."""
    key, cipher, more = _FORMS[form]
    found = list(read(data, key, cipher))
    good = [bytes(e.body) for e in found if isinstance(e, WalRecord)]
    assert good == [b for n, b in enumerate(_BODIES) if n not in hit]
    covered = sum(d.size for d in found if isinstance(d, Damage))
    assert covered + sum(more + len(_HEADER) + len(b) for b in good) == len(data)


@pytest.mark.parametrize("form", _FORMS)
def test_a_flip_or_cut_at_any_byte_costs_only_the_record_it_hit(form: str) -> None:
    records = _written(form)
    whole, size = b"".join(records), len(records[0])
    for at in range(len(whole)):
        for bit in (0, 3, 7):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            _check(form, bytes(flipped), {at // size})
        _check(form, whole[:at], set(range(at // size, len(records))))


@given(st.data(), st.sampled_from(sorted(_FORMS)))
def test_whatever_is_flipped_lost_or_put_in_between_costs_only_the_records_it_hit(data: st.DataObject, form: str) -> None:
    records = _written(form)
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
    forged = b"".join(_record(form, 1, header, b"{}") for form in _FORMS) * 3
    _fill(tmp_path, [b"{1}", b'{"a":"' + forged + b'"}' + b" " * cut])
    (segment,) = segments(tmp_path)
    with segment.path.open("r+b") as f:
        f.truncate(segment.size - cut)
    segment.path.rename(segment.path.with_suffix(".open"))
    _fill(tmp_path, [b"{2}"])
    found = [r for s in segments(tmp_path) for r in read(s.read(), s.key)]
    assert [e.header.cluster for e in found if isinstance(e, WalRecord)] == ["lab", "lab"]
    assert len([d for d in found if isinstance(d, Damage)]) == 1


@pytest.mark.parametrize("form", _FORMS)
def test_a_segment_of_frames_that_overlap_is_read_in_bounded_time(form: str) -> None:
    """4 MiB of frames that each claim the rest of the segment: read one by one they are 300 GB."""
    key, cipher, _ = _FORMS[form]
    size = 4 << 20
    step = FRAME if key else 16
    numbers = [struct.pack("<III", size - at - step, 7, 0) for at in range(0, size, step)]
    data = b"".join(key + n + struct.pack("<I", zlib.crc32(n)) if key else b"\xa7AWL" + n for n in numbers)
    began = time.process_time()
    assert list(read(data, key, cipher)) == [Damage(0, len(data))]
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
        (tmp_path / f"{number:012d}.{suffix}").write_bytes(b"".join(_written("unkeyed")))
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


_VAULT = Vault(Redactor(b"the redaction key of these tests"))


def test_what_is_posted_is_nowhere_in_the_log_and_comes_back(tmp_path: Path) -> None:
    bodies = [b'{"password":"Cnry%d"}' % n * (n + 1) for n in range(30)] + [b"{}" * (1 << 20)]
    assert _fill(tmp_path, bodies, vault=_VAULT, segment_bytes=500) == []
    assert len(segments(tmp_path)) > 5
    stored = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert not [word for word in (b"Cnry", b"password", b"10.0.0.1", b"cluster") if word in stored]
    found = [r for s in segments(tmp_path) for r in s.records(s.read(), _VAULT)]
    assert [bytes(r.body) for r in found if isinstance(r, WalRecord)] == bodies
    assert {r.header for r in found if isinstance(r, WalRecord)} == {POST}


def test_equal_bodies_are_unlike_in_the_log(tmp_path: Path) -> None:
    """No pair of key and nonce comes twice: not in a segment, not in the next, not after a restart or a failed write."""
    body, texts = b"{1}" * 500, []
    for _ in range(3):
        _fill(tmp_path, [body] * 4, vault=_VAULT, segment_bytes=4000)
    for s in segments(tmp_path):
        data, size = s.read(), FRAME + len(_HEADER) + len(body) + TAG
        texts += [data[at + FRAME : at + size] for at in range(0, len(data), size)]
    assert len(texts) == 12
    blocks = [text[at : at + 16] for text in texts for at in range(0, len(text) - 15, 16)]
    assert len(set(blocks)) == len(blocks)


def test_a_record_is_believed_at_its_own_number_and_in_its_own_segment_only(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{1}"], vault=_VAULT)
    _fill(tmp_path, [b"{2}"], vault=_VAULT)
    one, two = segments(tmp_path)
    assert one.key
    assert two.key
    moved = one.read().replace(one.key, two.key)
    assert list(two.__class__.records(two, moved, _VAULT)) == [Damage(0, len(moved))]
    renumbered = written((_HEADER, b"{}"), _KEY, _CIPHER, 7)[0], *written((_HEADER, b"{}"), _KEY, _CIPHER, 8)[1:]
    assert list(read(b"".join(renumbered), _KEY, _CIPHER)) == [Damage(0, sum(map(len, renumbered)))]


@pytest.mark.parametrize("suffix", [".seg", ".open"])
@pytest.mark.parametrize("other", [None, Vault(Redactor(b"another key of sixteen bytes"))], ids=["no key", "another key"])
def test_without_its_key_the_log_stays_as_it_is_and_says_which_key_it_needs(
    tmp_path: Path, suffix: str, other: Vault | None
) -> None:
    _fill(tmp_path, [b"{1}"], vault=_VAULT)
    (segment,) = segments(tmp_path)
    segment.path.rename(segment.path.with_suffix(suffix))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    said = rf"1 segments are encrypted with the redaction key {_VAULT.id}, and the key here is {other.id if other else 'none'}: "
    with pytest.raises(WalError, match=said + r"give that key \(--redact-key FILE or AUDITLENS_REDACT_KEY\).*nothing of it was"):
        Wal(tmp_path, vault=other)
    with pytest.raises(WalError, match=said):
        list(segment.records(before[segment.path.with_suffix(suffix).name], other))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    Wal(tmp_path, vault=_VAULT).close()
    (again,) = segments(tmp_path)
    assert [bytes(r.body) for r in again.records(again.read(), _VAULT) if isinstance(r, WalRecord)] == [b"{1}"]


def test_segments_of_every_form_are_read_side_by_side(tmp_path: Path) -> None:
    _fill(tmp_path, [b"{clear}"])
    (tmp_path / f"{1:012d}.seg").write_bytes(b"".join(_written("unkeyed")))
    _fill(tmp_path, [b"{new}"], vault=_VAULT)
    found = [bytes(r.body) for s in segments(tmp_path) for r in s.records(s.read(), _VAULT) if isinstance(r, WalRecord)]
    assert sorted(found) == sorted([*_BODIES, b"{clear}", b"{new}"])


def test_a_derived_key_is_that_of_rfc_5869() -> None:
    """Its first test case, whose key of 42 bytes begins with these 32; and a library's own."""
    key = Redactor(bytes([0x0B] * 22)).derived(bytes(range(0xF0, 0xFA)), bytes(range(13)))
    assert key.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def _sealed(directory: Path) -> bool:
    return any(p.suffix == ".seg" for p in directory.iterdir())


def _within(seconds: float, what: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return what()


def test_the_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    _fill(tmp_path / "var" / "lib" / "wal", [b"{}"])
    assert _bodies(tmp_path / "var" / "lib" / "wal") == [b"{}"]


def test_a_segment_waits_for_others_only_as_long_as_it_may(tmp_path: Path) -> None:
    wal = Wal(tmp_path, seal_after=0.05)
    wal.append(POST, [b"{1}"]).result(10)
    assert _within(30, lambda: _sealed(tmp_path)), "nothing else comes, and it is drained all the same"
    wal.append(POST, [b"{2}"]).result(10)
    assert _within(30, lambda: len(segments(tmp_path)) == 2)
    wal.close()


def test_a_segment_is_not_sealed_while_it_may_wait(tmp_path: Path) -> None:
    wal = Wal(tmp_path, seal_after=3600)
    for n in range(3):
        wal.append(POST, [b"{%d}" % n]).result(10)
    time.sleep(0.2)
    assert not _sealed(tmp_path)
    wal.close()
    assert len(segments(tmp_path)) == 1


def test_a_segment_grows_while_the_drain_has_work(tmp_path: Path) -> None:
    """Sealed segments wait for it: one more would only be one more commit."""
    idle = threading.Event()
    wal = Wal(tmp_path, seal_after=0.01, hurry=idle.is_set)
    for n in range(3):
        wal.append(POST, [b"{%d}" % n]).result(10)
        time.sleep(0.05)
    assert not _sealed(tmp_path)
    idle.set()
    assert _within(30, lambda: _sealed(tmp_path))
    wal.close()
    assert len(segments(tmp_path)) == 1


def test_a_segment_is_filled_to_the_byte(tmp_path: Path) -> None:
    record = FRAME + len(encode(POST)) + 100
    wal = Wal(tmp_path, segment_bytes=2 * record)
    for _ in range(3):
        wal.append(POST, [b"x" * 100]).result(10)
    wal.close()
    assert [s.size for s in segments(tmp_path)] == [2 * record, record]
    _fill(tmp_path / "at once", [b"x" * 100] * 3, segment_bytes=2 * record)
    assert [s.size for s in segments(tmp_path / "at once")] == [2 * record, record]


def test_a_failed_write_leaves_what_was_synced_and_not_a_byte_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fail = os.fdatasync, False

    def sync(fd: int) -> None:
        if fail:
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    wal = Wal(tmp_path)
    fail = True
    with pytest.raises(WalError):
        wal.append(POST, [b"{lost}"]).result(10)
    assert not segments(tmp_path) and not list(tmp_path.glob("*.open")), "a segment in which nothing was synced is none"
    fail = False
    wal.append(POST, [b"{kept}"]).result(10)
    fail = True
    with pytest.raises(WalError):
        wal.append(POST, [b"{lost}"]).result(10)
    wal.close()
    (segment,) = segments(tmp_path)
    assert segment.size == FRAME + len(encode(POST)) + len(b"{kept}")


def test_files_that_only_begin_like_segments_are_left_alone(tmp_path: Path) -> None:
    """Copies that people and backups make: they are no segments, no numbers, and no reason not to start."""
    key = "ab" * 16
    copies = [f"000000000900.{key}.seg.bak", f"000000000901.{key}.seg.open", f"000000000902.{key}.open.swp"]
    for name in copies:
        (tmp_path / name).write_bytes(b"{}")
    assert _fill(tmp_path, [b"{1}"]) == []
    assert _fill(tmp_path, [b"{2}"]) == []
    assert all((tmp_path / name).read_bytes() == b"{}" for name in copies)
    assert max(s.number for s in segments(tmp_path)) < 900
    assert _bodies(tmp_path) == [b"{1}", b"{2}"]


def test_a_process_ends_though_nobody_closed_its_log(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from auditlens.sink.wal import RecordHeader, Wal; "
        "Wal(Path(sys.argv[1])).append(RecordHeader('lab', 1.5, '10.0.0.1'), [b'{}']).result(60)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    _fill(tmp_path, [b"{2}"])
    assert _bodies(tmp_path) == [b"{}", b"{2}"]
