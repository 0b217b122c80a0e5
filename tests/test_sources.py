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
from conftest import auditlens, day, imported, rows, text, write

from auditlens.errors import UsageError
from auditlens.importing.files.run import import_files
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
    log = write(tmp_path / "secret.log", b"x\n")
    log.chmod(0)
    (source,) = import_files([log], tmp_path / "lake").sources
    assert (source.source, source.error) == (str(log), "cannot be read: Permission denied")


def test_what_cannot_be_read_is_named_and_the_others_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs, events = tmp_path / "logs", list(day(12))
    for n, name in enumerate([b"a.log", b"bad\xff\x1b.log", b"closed.log", b"sub/d.log", b"vanishes.log"]):
        write(logs / os.fsdecode(name), events[n * 2 : n * 2 + 2])
    (logs / "broken.log.gz").write_bytes(gzip.compress(text(*events[10:]))[:40])
    (logs / "nowhere.log").symlink_to(tmp_path / "nothing")
    (logs / "sub" / "round").symlink_to(logs)
    (logs / "self").symlink_to("self")
    real, opened = Path.open, []

    def refuse(path: Path, *args: object, **more: object) -> object:
        if path.name == "closed.log":
            raise PermissionError(13, "Permission denied", str(path))
        if path.name == "vanishes.log":
            opened.append(path)
            if len(opened) > 1:  # it was there when its content was hashed
                raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    report = imported(tmp_path / "lake", logs)
    errors = {s.source.rpartition("/")[2]: s.error for s in report.sources}
    assert {name: error and error.partition(":")[0] for name, error in errors.items()} == {
        "a.log": None, "bad\\xff\x1b.log": None, "d.log": None, "closed.log": "cannot be read", "vanishes.log": "cannot be read",
        "nowhere.log": "cannot be read", "self": "cannot be read", "round": "a link to a directory that it lies in",
        "broken.log.gz": "the compressed data ends early or is damaged",
    }  # fmt: skip
    assert rows(tmp_path / "lake", "select count(*) from audit where not partial") == [(6,)]
    assert "bad\\xff" in rows(tmp_path / "lake", "select max(source) from audit where source like '%bad%'")[0][0]


def test_a_file_that_cannot_be_read_makes_the_command_fail_at_the_end(tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.log", day(3))
    (tmp_path / "logs" / "gone\n\x1b[31m.log").symlink_to(tmp_path / "nothing")
    done = auditlens("import", tmp_path / "logs", "--lake", tmp_path / "lake")
    assert done.returncode == 1
    assert b"gone\\n\\x1b[31m.log: cannot be read" in done.stderr
    assert b"1 of 2 sources could not be read" in done.stderr
    assert rows(tmp_path / "lake", "select count(*) from audit") == [(3,)]


def test_one_path_is_one_path(tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", day(3))
    for paths in (str(log), log, [log]):
        assert import_files(paths, tmp_path / "lake").sources[0].records == 3


def test_links_to_directories_are_followed_once(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        write(tmp_path / "all" / name / f"{name}.log", b"x\n")
    for a in "xyz":
        for b in "xyz":
            (tmp_path / "all" / a / f"to-{b}").symlink_to(tmp_path / "all" / b)
    write(tmp_path / "elsewhere" / "far.log", b"x\n")
    (tmp_path / "all" / "far").symlink_to(tmp_path / "elsewhere")
    found = find_sources([tmp_path / "all"])
    assert [Path(s.name).name for s in found if not s.error] == ["far.log", "x.log", "y.log", "z.log"]
    assert [Path(s.name).name for s in found if s.error] == ["to-x", "to-y", "to-z"]  # of themselves
