"""A frame as a table for a terminal of some width: one line a row where it fits, two at most, and nothing split that is one word.

What a column is decides how it may shrink. Times are told once for what they share; service accounts, ids and paths have a short
form; text runs on into a second line and is cut there with `…`; numbers, times, ids and `file:line` stay whole. What is still too
wide is left out column by column, those without which a row tells nothing last, and named.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, chop_cells

if TYPE_CHECKING:
    import polars as pl

GAP = 2  # between columns
_LEAST = 14  # a column of text is left out before it is narrower
# Columns whose values tell rows apart: they run on, but are not cut while there is room for half of them.
_APART = frozenset(
    ("effect", "username", "object", "name", "namespace", "root_username", "service_account", "client", "role", "changed")
)
# What a row is about: these columns go last.
_CORE = ("effect", "evidence", "username", "object", "name", "time", "verb", "what", "outcome", "how", "code", "root_username", "changed",
         "requests", "resource", "reason", "message")  # fmt: skip
_IDS = frozenset(("uid", "credential", "audit_id", "import_id", "resource_version"))
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,}")
_ACCOUNT = re.compile(r"system:serviceaccount:(?:kube-system:)?(\S+)")
# where a text may run on into the next line: better between its parts than inside of one
_BEHIND = (re.compile(r"[\s/,;:@=]"), re.compile(r"[._-]"))
# A word that is never split: a time, an id, a number, a file and its line.
_WORD = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*Z?|\d\d:\d\d:\d\d[.\d]*|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^\s/]+:\d+\b|\d[\d.,]*"
)
# Outcomes as the dashboard colours them: refused red, failed orange, what is not known or not done blue.
_RED, _ORANGE, _BLUE = "\x1b[31m", "\x1b[33m", "\x1b[34m"
_COLOURS = {
    **dict.fromkeys(("forbidden", "unauthenticated", "refused", "denied", "error", "panic", "audit_error"), _RED),
    **dict.fromkeys(("conflict", "not_found", "invalid", "gone", "timeout", "throttled", "unavailable", "bad_request",
                     "already_exists", "not_acceptable", "method_not_allowed", "request_entity_too_large", "unsupported_media_type"), _ORANGE),
    **dict.fromkeys(("unknown", "open", "dry-run", "dry_run"), _BLUE),
}  # fmt: skip


@dataclass(slots=True)
class _Column:
    name: str
    cells: list[str]
    right: bool = False  # numbers
    whole: bool = True  # never split or cut
    core: int = 0  # the smaller, the later it is left out; 0 is no part of the core
    width: int = 0

    def natural(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)), default=0)

    def least(self) -> int:
        """The narrowest it may be: a text needs half of its longest cell, within reason, to be told apart."""
        if self.whole:
            return self.natural()
        longest = max(map(cell_len, self.cells), default=0)
        half = min(longest // 2 + 3, 42 if self.name == "effect" else 30) if self.name in _APART else 0
        return max(cell_len(self.name), min(longest, max(_LEAST, half)))

    def easy(self) -> int:
        """What it has before a column that is no part of the core gets anything."""
        return max(self.least(), min(self.natural(), 32)) if self.name in _APART else self.least()


def table(frame: pl.DataFrame, width: int, text: Callable[[Any], str], *, colour: bool = False) -> tuple[str, list[str]]:
    """The table, and what its reader must know: what all times share, and which columns had no room.

    Args:
        frame: what to show, column by column.
        width: of the terminal, in cells.
        text: makes harmless text of a value.
        colour: whether outcomes are coloured.
    """
    columns, shared = _columns(frame, text)
    empty: list[str] = []
    same = ""
    if sum(c.natural() + GAP for c in columns) - GAP > width:
        empty = [c.name for c in columns if not any(c.cells)]
        empty = empty if len(empty) < len(columns) else []
        same = next((c.cells[0] for c in columns if c.name == "object" and c.cells[1:] and len(set(c.cells)) == 1), "")
        columns = [c for c in columns if c.name not in empty and not (same and c.name == "object")]
    dropped = _fit(columns, width)
    kept = [c for c in columns if c.name not in dropped]
    lines = [_line([_pad(c, c.name) for c in kept]), "─" * min(width, sum(c.width + GAP for c in kept) - GAP)]
    for n in range(frame.height):
        cells = [_wrapped(c, c.cells[n]) for c in kept]
        for part in range(max(map(len, cells), default=0)):
            parts = [_pad(c, cell[part] if part < len(cell) else "") for c, cell in zip(kept, cells, strict=True)]
            if colour:
                parts = [_coloured(c, p) for c, p in zip(kept, parts, strict=True)]
            lines.append(_line(parts))
    notes = [f"times are of {shared}, UTC"] if shared else []
    if same:
        notes.append(f"every row is of {same}")
    if empty:
        notes.append(f"no row has {', '.join(empty)}")
    if dropped:
        left_out = ", ".join(name for name in frame.columns if name in dropped)
        notes.append(f"no room at {width} columns for {left_out}; -o records shows all, --wide in one line")
    return "\n".join(lines) + "\n", notes


def records(frame: pl.DataFrame, text: Callable[[Any], str]) -> str:
    """A field a line, a block a row; fields without a value are left out."""
    wide = max(map(len, frame.columns), default=0)
    blocks = []
    for n, row in enumerate(frame.iter_rows(named=True), 1):
        told = (f"{name:<{wide}}  {text(value)}" for name, value in row.items() if value is not None and value != [])
        blocks.append("\n".join((f"── {n} " + "─" * 20, *told)))
    return "\n".join(blocks) + "\n"


def _columns(frame: pl.DataFrame, text: Callable[[Any], str]) -> tuple[list[_Column], str]:
    shared, form = _shared([_utc(v) for name in frame.columns for v in frame[name].to_list() if isinstance(v, dt.datetime)])

    def shown(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, dt.datetime):
            return _utc(value).strftime(form)[: -3 if form.endswith("%f") else None]
        told: str = text(value)
        return told

    made = []
    for name in frame.columns:
        numeric = frame[name].dtype.is_numeric()
        whole = numeric or frame[name].dtype.is_temporal() or name == "evidence" or _is_id(name)
        core = _CORE.index(name) + 1 if name in _CORE else 0
        made.append(_Column(name, [shown(v) for v in frame[name].to_list()], right=numeric, whole=whole, core=core))
    return made, shared


def _utc(time: dt.datetime) -> dt.datetime:
    """A time without a zone, which only SQL makes, stays as it is."""
    return time.astimezone(dt.UTC) if time.tzinfo else time


def _shared(times: list[dt.datetime]) -> tuple[str, str]:
    """What all times share, and how the rest of each is written."""
    days, years = {t.date() for t in times}, {t.year for t in times}
    if len(days) == 1:
        return f"{days.pop():%Y-%m-%d}", "%H:%M:%S.%f"
    if len(years) == 1:
        return f"{years.pop()}", "%m-%d %H:%M:%S"
    return "", "%Y-%m-%d %H:%M:%S"


def _is_id(name: str) -> bool:
    return name in _IDS or name.endswith(("_audit_id", "_uid"))


def _fit(columns: list[_Column], width: int) -> set[str]:
    """Give each column its width: shortened, then wrapped, then left out; returns the names of those left out."""
    dropped: set[str] = set()

    def kept() -> list[_Column]:
        return [c for c in columns if c.name not in dropped]

    def room(of: Callable[[_Column], int]) -> int:
        return width - sum(of(c) + GAP for c in kept()) + GAP

    if room(_Column.natural) < 0:
        for column in columns:
            shorter = {cell: _short(column, cell) for cell in column.cells}
            if len(set(shorter.values())) == len(shorter):  # else it would not tell apart what it told apart
                column.cells = [shorter[cell] for cell in column.cells]
    dropped.update(c.name for c in columns)
    for column in sorted(columns, key=lambda c: c.core or len(_CORE) + columns.index(c) + 1):
        dropped.discard(column.name)
        if room(_Column.least if column.core else _Column.easy) < 0 and len(kept()) > 1:
            dropped.add(column.name)
    for column in kept():
        column.width = column.least()
    left = max(room(_Column.least), 0)
    for column in sorted(kept(), key=lambda c: c.natural() - c.width):  # the little that makes a column whole first
        more = min(left, column.natural() - column.width)
        column.width, left = column.width + more, left - more
    if len(kept()) == 1:
        kept()[0].width = min(kept()[0].width, width)
    return dropped


def _short(column: _Column, cell: str) -> str:
    if column.name == "evidence":
        return cell.rsplit("/", 1)[-1] if "/" in cell else cell
    if _is_id(column.name):
        return _ID.sub(lambda m: f"{m[0][:8]}…", cell)
    return _ACCOUNT.sub(r"…:\1", cell)


def _wrapped(column: _Column, cell: str) -> list[str]:
    """The one or two lines of a cell."""
    if cell_len(cell) <= column.width or column.whole:
        return [cell]
    first = _break(cell, column.width)
    rest = cell[len(first) :].lstrip()
    if cell_len(rest) > column.width:
        end = len(chop_cells(rest, max(column.width - 1, 1))[0])
        split = (m.start() for m in _WORD.finditer(rest) if m.start() < end < m.end() and m.start())
        rest = rest[: next(split, end)] + "…"
    return [first.rstrip(), rest]


def _break(cell: str, width: int) -> str:
    """As much of a text as a line holds, up to where a word ends."""
    whole = chop_cells(cell, width)[0]
    words = [m.span() for m in _WORD.finditer(cell)]
    ends = [
        (behind, at)
        for behind in _BEHIND
        for at in range(len(whole), max(len(whole) // 3, 1), -1)
        if behind.match(cell[at - 1]) and not any(start < at < end for start, end in words)
    ]
    for _, at in ends:
        if cell_len(cell[at:].lstrip()) <= width:
            return cell[:at]
    if ends:
        return cell[: ends[0][1]]
    inside = [start for start, end in words if start < len(whole) < end and start]
    return cell[: inside[0]] if inside else whole


def _pad(column: _Column, text: str) -> str:
    space = " " * max(column.width - cell_len(text), 0)
    return space + text if column.right else text + space


def _coloured(column: _Column, text: str) -> str:
    paint = _COLOURS.get(text.strip()) if column.name in ("outcome", "how", "decided_by", "fidelity") else None
    return f"{paint}{text}\x1b[0m" if paint else text


def _line(parts: Sequence[str]) -> str:
    return (" " * GAP).join(parts).rstrip()
