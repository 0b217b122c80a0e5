"""Paths become sources: which files, in which order, and what is inside them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
from pathlib import Path

import pytest
import zstandard
from conftest import write

from auditlens.errors import UsageError
from auditlens.importing.sources import SourceFile, Stream, decompression_errors, find_sources

PACKERS = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress, "": bytes}


def names(*paths: Path | str) -> list[str]:
    return [Path(s.name).name for s in find_sources(paths)]


def test_each_file_is_a_source_once_however_often_it_is_named(tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", b"x\n")
    link = tmp_path / "link.log"
    link.symlink_to(log)
    assert len(find_sources([log, log, tmp_path / "*.log", tmp_path, tmp_path / "." / "a.log", link])) == 1


def test_globs_match_files_and_folders_at_any_depth(tmp_path: Path) -> None:
    for name in ("a/x.log", "a/b/y.log", "c/z.txt"):
        write(tmp_path / name, b"x\n")
    assert names(str(tmp_path / "**" / "*.log")) == ["y.log", "x.log"]
    assert sorted(names(str(tmp_path / "[ac]"))) == ["x.log", "y.log", "z.txt"]


def test_hidden_files_of_a_folder_are_not_read_unless_they_are_named(tmp_path: Path) -> None:
    write(tmp_path / "logs" / ".hidden.log", b"x\n")
    write(tmp_path / "logs" / ".git" / "a.log", b"x\n")
    with pytest.raises(UsageError, match="holds no log files"):
        find_sources([tmp_path / "logs"])
    assert names(tmp_path / "logs" / ".hidden.log") == [".hidden.log"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a[1].log", b"x\n")
    write(tmp_path / "a1.log", b"x\n")
    assert names(tmp_path / "a[1].log") == ["a[1].log"]


def test_rotated_sets_come_oldest_first_each_set_together(tmp_path: Path) -> None:
    wanted = [
        "audit-2026-01-02T00-00-00.000.log.gz", "audit-2026-11-02T00-00-00.000.log", "audit.log",
        "kube-2026-01-01T00-00-00.000.log", "kube.log",
    ]  # fmt: skip
    for name in reversed(wanted):
        write(tmp_path / name, name.encode())
    assert names(tmp_path) == wanted
    assert {s.instance for s in find_sources([tmp_path])} == {str(tmp_path / "audit.log"), str(tmp_path / "kube.log")}


def test_a_file_that_is_just_being_compressed_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "audit-2026-01-02T00-00-00.000.log", b"whole\n")
    write(tmp_path / "audit-2026-01-02T00-00-00.000.log.gz", b"half")
    assert names(tmp_path) == ["audit-2026-01-02T00-00-00.000.log"]


def read(data: bytes, limit: int | None = None, size: int = 1000) -> bytes:
    out = io.BytesIO()
    with Stream(io.BytesIO(data), limit) as stream:
        buffer = bytearray(size)
        while n := stream.readinto(memoryview(buffer)):
            out.write(buffer[:n])
    return out.getvalue()


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.parametrize("size", [0, 1, 100, 300_000])
def test_what_is_inside_comes_out(codec: str, size: int) -> None:
    data = random.Random(size).randbytes(size) + b"\n" * size
    assert read(PACKERS[codec](data)) == data
    assert read(PACKERS[codec](data) + PACKERS[codec](b"more"), size=7) == data + b"more"


@pytest.mark.parametrize("codec", [c for c in PACKERS if c])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_what_stands_before_a_cut_comes_out_and_the_cut_is_an_error(codec: str, keep: float) -> None:
    data = b"".join(random.Random(i).randbytes(50).hex().encode() + b"\n" for i in range(8000))
    packed = PACKERS[codec](data)
    out = bytearray()
    with Stream(io.BytesIO(packed[: int(len(packed) * keep)])) as stream, pytest.raises(decompression_errors()):
        buffer = bytearray(1 << 20)
        while n := stream.readinto(memoryview(buffer)):
            out += buffer[:n]
    kept, same = len(out), data.startswith(bytes(out))
    assert same
    if codec != "bz2":  # its blocks are larger than this
        assert kept > len(data) * keep - (256 << 10)


def test_a_file_that_grows_is_read_as_far_as_it_was_when_it_was_hashed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.log", b"12345")
    with path.open("ab") as f:
        f.write(b"6789")
    assert read(path.read_bytes(), limit=5) == b"12345"
    buffer = bytearray(20)
    with SourceFile(path, "a.log").open(limit=5) as stream:
        assert stream.readinto(memoryview(buffer)) == 5
        assert stream.stored_bytes == 5


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    from auditlens.errors import AuditlensError
    from auditlens.importing.run import import_files

    log = write(tmp_path / "secret.log", b"x\n")
    log.chmod(0)
    with pytest.raises(AuditlensError, match=r"secret\.log"):
        import_files([log], tmp_path / "lake")
