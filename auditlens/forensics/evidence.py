"""From a row back to the line it came from: the file may be called otherwise today, be compressed, or be gone.

A path proves nothing: what rotation leaves at it is another file. What was imported is known by its first line
(`imports.file_fingerprint`) and proven by the SHA-256 of its bytes, which are read again. Where they are not the same any more, a line
that still holds the row's audit id is shown and told apart; anything else is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.errors import UsageError
from auditlens.formats import Reader, read_event
from auditlens.importing.files.chunks import FINGERPRINT, fingerprint
from auditlens.importing.files.tail import siblings
from auditlens.importing.sources import STDIN, SourceFile, Stream, Unreadable, decompression_errors
from auditlens.lake import Lake
from auditlens.output import plain
from auditlens.records import Chunk, Event, Record
from auditlens.redact import NO_REDACTION, Redactor

if TYPE_CHECKING:
    import duckdb
    import polars as pl

__all__ = ["Found", "evidence"]

_TABLES = ("audit", "klog", "httplog", "trace", "kubectl", "rejects")
_PLACE = re.compile(r"(?P<source>.+):(?P<line>\d+)", re.DOTALL)
_PART = 1 << 20  # bytes of a line that are looked at together
_MOST = 64 << 20  # bytes kept of a line


@dataclass(slots=True)
class Found:
    """One line a row rests on, and where it stands today.

    `state` is: `there`, `renamed`, `changed` (the line holds the row's audit id, but what was imported cannot be proven), `gone`, or
    `no file` for what was posted or came through a pipe.
    """

    audit_id: str | None
    source: str
    line: int
    item: int | None
    import_id: str
    table: str
    state: str = "gone"
    path: str | None = None
    content: str | None = None
    raw: bytes = b""

    def as_dict(self) -> dict[str, Any]:
        """The row for an answer."""
        names = ("audit_id", "table", "source", "line", "item", "state", "path", "content")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        was = f"{self.source}:{self.line}"
        if self.path is None:
            return plain(f"{was}  {self.state}")
        now = f"{self.path}:{self.line}  {self.state}" + (f", was {was}" if self.state == "renamed" else "")
        return f"{plain(now)}\n{plain(self.content or '')}"


@dataclass(slots=True)
class _Slice:
    """What one import read of its source, and the rows whose lines are wanted of it."""

    source: str
    directory: str | None
    fingerprint: str | None
    start: int | None  # None: an import from before that was kept
    size: int
    sha256: str
    redacted: bool
    rows: list[Found] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def end(self) -> int:
        return self.size + (self.start or 0)

    @property
    def path(self) -> Path:
        return Path(self.directory or "", self.source)

    @property
    def posted(self) -> bool:
        """Whether it was no file, but posted to a sink, whose lines are the items of a segment."""
        return self.source.startswith("webhook:")

    @property
    def open(self) -> bool:
        """Whether it has not been found yet."""
        return any(r.path is None for r in self.rows)


def evidence(
    lake: Lake, of: str | pl.DataFrame, *, within: Sequence[str | Path] = (), raw: bool = False
) -> tuple[list[Found], list[str]]:
    """The lines that an audit id, a SOURCE:LINE or rows with `audit_id`, `source`, `line`, `item` rest on, and what to know of them.

    Args:
        lake: where the rows are.
        of: whose lines.
        within: files and directories to look in besides those the sources were in.
        raw: the lines as they stand; otherwise without what the import replaced as well.

    Raises:
        UsageError: the lake has no such row.
    """
    rows, imports = engine.with_snapshot(lake, lambda con: _rows(con, of))
    if not rows:
        if not isinstance(of, str):
            raise UsageError("the answer rests on no single lines: its rows have no audit_id, source and line")
        raise UsageError(f"{of}: the lake has no such audit id, nor a row of such a source and line")
    slices = {id: _slice(row) for id, row in imports.items()}
    for row in rows:
        if row.import_id in slices:
            slices[row.import_id].rows.append(row)
    _Search(list(slices.values()), [Path(p) for p in within]).run()
    hide = Redactor.from_config() if not raw and any(s.redacted for s in slices.values()) else NO_REDACTION
    for one in slices.values():
        for row in one.rows:
            row.content = (hide if one.redacted else NO_REDACTION).text_of(row.raw, _events(row.raw)) if row.path else None
    return rows, list(dict.fromkeys(note for one in slices.values() for row in one.rows if (note := _note(row, one))))


def _events(line: bytes) -> Iterator[Event]:
    """The audit events in a line, whatever they are wrapped in."""
    reader = Reader()
    for record in (*reader.feed(Chunk(line, 1, 0)), *reader.close()):
        if isinstance(record, Record) and record.format == "audit" and isinstance(event := read_event(record), Event):
            yield event


def _rows(con: duckdb.DuckDBPyConnection, of: str | pl.DataFrame) -> tuple[list[Found], dict[str, dict[str, Any]]]:
    """The rows that were asked for, each line once, and the imports they are from."""
    every = " union all ".join(
        f"select '{t}' as place, {'null' if t == 'rejects' else 'audit_id'} as audit_id, source, line, item, import_id from {t}"
        for t in _TABLES
    )
    if isinstance(of, str):
        found = _select(con, every, "audit_id = $id", {"id": of})
        if not found and (at := _PLACE.fullmatch(of)):
            found = _select(con, every, "source = $source and line = $line", {"source": at["source"], "line": int(at["line"])})
    elif not of.width:
        found = []
    else:
        wanted = of.rename({"line": "at_line"}) if "line" in of.columns else of
        con.register("wanted", wanted)
        names = {"audit_id": "audit_id", "source": "source", "line": "at_line", "item": "item"}
        same = [f"w.{w} is not distinct from r.{c}" for c, w in names.items() if w in wanted.columns]
        found = _select(con, every, f"exists (select 1 from wanted as w where {' and '.join(same)})", {})
    ids = list(dict.fromkeys(r.import_id for r in found))
    rows = (
        con.sql("select * from imports where list_contains($ids, import_id)", params={"ids": ids}).pl().to_dicts() if ids else []
    )
    return found, {row["import_id"]: row for row in rows}


def _select(con: duckdb.DuckDBPyConnection, every: str, where: str, params: dict[str, Any]) -> list[Found]:
    sql = f"""
        select max(audit_id), source, line, item, import_id, arg_min(place, list_position({list(_TABLES)}, place))
        from (select * from ({every}) as r where {where}) group by source, line, item, import_id
        order by source, import_id, line, item nulls first
    """
    return [Found(*row) for row in con.execute(sql, params).fetchall()]


def _slice(row: dict[str, Any]) -> _Slice:
    start = row["byte_offset"]
    if start is None and row["file_sha256"]:  # a file was always imported whole
        start = 0
    return _Slice(
        row["source"],
        row["directory"],
        row["file_fingerprint"],
        start,
        row["bytes"] or 0,
        row["sha256"],
        bool(row["redact_key_id"]),
    )


def _note(row: Found, of: _Slice) -> str | None:
    """What must be said of a line that is not simply there."""
    if row.state == "changed":
        return f"{row.path}: changed since, or imported before auditlens kept what proves it; line {row.line} holds the row's audit id"
    if row.state == "no file":
        if row.source == STDIN:
            return f"{STDIN}: it came through a pipe; --in names places to look for the file"
        return f"{row.source}: it was posted to a sink, which keeps no file; rows of an imported audit log lead to theirs"
    if row.state == "gone":
        return (
            f"{row.source}: gone: no file in {of.path.absolute().parent} has what was imported; --in names other places to look"
        )
    return None


class _Search:
    """The files that may hold what was imported, each looked at once."""

    def __init__(self, slices: list[_Slice], within: list[Path]) -> None:
        self._slices = slices
        self._within = within
        self._known: dict[Path, str | None] = {}  # fingerprints

    def run(self) -> None:
        """Fill in the rows of the slices: by proof where there is one, else by their audit ids."""
        for proven in (True, False):
            for path, wanted in self._candidates():
                slices = [s for s in wanted if s.open]
                if slices:
                    _Pass(path, slices, proven=proven).run()
        for one in self._slices:
            for row in one.rows:
                if row.path is None:
                    row.state = "no file" if one.source == STDIN or one.posted else "gone"
                elif row.state == "there" and Path(row.path) != one.path:
                    row.state = "renamed"

    def _candidates(self) -> Iterator[tuple[Path, list[_Slice]]]:
        """Each file with the slices it may hold, likely ones first."""
        wanted: dict[Path, list[_Slice]] = {}
        for one in self._slices:
            for path in self._places(one):
                if one.fingerprint is None or self._fingerprint(path) in (one.fingerprint, None):
                    wanted.setdefault(path, []).append(one)
        yield from wanted.items()

    def _places(self, of: _Slice) -> Iterator[Path]:
        """Its own path, its rotated names, what else lies beside it, and where the caller wants it looked for."""
        places: dict[Path, None] = {}
        if of.posted:
            return
        if of.source != STDIN:
            with contextlib.suppress(OSError, ValueError):
                real = of.path.resolve()
                for path in dict.fromkeys((of.path, real)):
                    live = Path(SourceFile(None, str(path)).instance)
                    places |= dict.fromkeys((path, live, *reversed(siblings(live)), *_files(path.parent)))
        for path in self._within:
            places |= dict.fromkeys(_files(path, deep=True) if path.is_dir() else [path])
        yield from (p for p in places if p.is_file())

    def _fingerprint(self, path: Path) -> str | None:
        if path not in self._known:
            with _opened(path) as stream:
                self._known[path] = fingerprint(stream.read(FINGERPRINT)) if stream else ""
        return self._known[path]


def _files(folder: Path, *, deep: bool = False) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(p for p in (folder.rglob("*") if deep else folder.iterdir()) if not p.name.startswith("."))
    return []


class _Content(io.RawIOBase):
    """A file's decompressed bytes, as far as they can be read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._stream.readinto(memoryview(buffer))
        except decompression_errors():
            return 0


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader | None]:
    """The content of a file; None for one that cannot be read."""
    try:
        stream = SourceFile(path, str(path)).open()
    except (Unreadable, OSError):
        yield None
        return
    with stream:
        yield io.BufferedReader(_Content(stream), _PART)


class _Pass:
    """One reading of one file, for all the slices that it may hold."""

    def __init__(self, path: Path, slices: list[_Slice], *, proven: bool) -> None:
        self._path = path
        self._slices = slices
        self._proven = proven
        lines = {row.line for s in slices for row in s.rows}
        self._texts: dict[int, tuple[int, bytearray]] = {line: (-1, bytearray()) for line in lines}

    def run(self) -> None:
        """Read it, and give the rows it holds their path and text."""
        end, last = max(s.end for s in self._slices), max(self._texts)
        waiting = sorted((s for s in self._slices if s.start is not None), key=lambda s: s.start or 0, reverse=True)
        for one in waiting:
            one.digest = hashlib.sha256()
        active: list[_Slice] = []
        at = line = 0
        ended = True
        with _opened(self._path) as stream:
            while stream and (at < end or line <= last) and (part := stream.readline(_PART)):
                line += ended
                ended = part.endswith(b"\n")
                if line in self._texts:
                    begun, text = self._texts[line]
                    self._texts[line] = (at if begun < 0 else begun), text
                    text += part[: _MOST - len(text)]
                while waiting and (waiting[-1].start or 0) < at + len(part):
                    active.append(waiting.pop())
                for one in active:
                    start = one.start or 0
                    one.digest.update(part[max(0, start - at) : start + one.size - at])
                at += len(part)
                active = [s for s in active if s.end > at]
        for one in self._slices:
            self._take(one)

    def _take(self, one: _Slice) -> None:
        start = -1 if one.start is None else one.start
        whole = start >= 0 and one.digest.hexdigest() == one.sha256
        for row in one.rows:
            begun, text = self._texts[row.line]
            if row.path is not None or begun < 0:
                continue
            if (whole and start <= begun < one.end) if self._proven else _holds(text, row.audit_id):
                row.path, row.state = str(self._path), "there" if self._proven else "changed"
                row.raw = bytes(text).rstrip(b"\r\n")


def _holds(text: bytearray, audit_id: str | None) -> bool:
    """Whether a line, whole, has this audit id, and not one it is a part of."""
    word = audit_id and re.escape(audit_id.encode())
    return bool(word and text.endswith(b"\n") and re.search(rb"(?<![\w-])" + word + rb"(?![\w-])", text))
