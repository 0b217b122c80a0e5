"""A trace as a tree on the terminal: each step and span with its time and a bar of its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditlens import engine
from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.output import maps, plain, time_text

__all__ = ["TraceTree", "trace_tree"]

_WIDTH = 30  # characters of a whole bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEAD = ("trace_id", "name", "verb", "url", "user_agent", "audit_id", "total_ms", "ended", "cluster", "time", "source", "line")
_STEP = ("seq", "depth", "span", "step", "step_ms", "at_ms", "step_time", "fields", "source", "line")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TraceTree:
    """The blocks of a request, each its head (`seq` 0) and its steps: rows of the table `trace`."""

    blocks: list[list[Row]]

    def __str__(self) -> str:
        return "\n".join(map(_block, self.blocks))

    @property
    def limits(self) -> list[str]:
        """What was not logged of it."""
        heads = [block[0] for block in self.blocks]
        return [f"the {what} of trace {h['trace_id'] or 'without a number'} was not logged"
                for h in heads for what, missing in (("head", h["seq"] != 0 or not h["name"]), ("end", not h["ended"])) if missing]  # fmt: skip

    def rows(self) -> list[Row]:
        """A row a step, a block's head before them."""
        return [{c: row[c] for c in ("trace_id", *_STEP)} | {"step": row["step"] or row["name"], "audit_id": row["audit_id"]}
                for block in self.blocks for row in block]  # fmt: skip

    def as_dicts(self) -> list[Row]:
        """The blocks, the steps of each below the span they belong to."""
        return [{c: block[0][c] for c in _HEAD} | {"steps": _nested(block)} for block in self.blocks]


def trace_tree(lake: Lake, id: str) -> TraceTree:
    """The blocks of an audit id or of a trace number.

    Raises:
        UsageError: the lake holds no such trace.
    """
    con = engine.connect(lake)
    rows = con.sql(
        "select * from trace where audit_id = $id or trace_id = $id order by time, source, line, trace_id, seq", params={"id": id}
    ).pl().to_dicts()  # fmt: skip
    if not rows:
        took = con.sql("select max(latency_ms) from audit where audit_id = $id", params={"id": id}).fetchall()[0][0]
        told = "" if took is None else f"; the request took {took:,.1f} ms"
        raise UsageError(f"{id}: the lake holds no trace of it{told}; the apiserver logs one for what takes longer than 500 ms")
    blocks: list[list[Row]] = []
    for row in rows:
        row["fields"] = maps(row["fields"])
        if row["seq"] == 0 or not blocks:
            blocks.append([])
        blocks[-1].append(row)
    return TraceTree(blocks)


def _nested(block: list[Row]) -> list[Row]:
    """The steps of a block; a span stands before what it contains, which is one deeper."""
    root: list[Row] = []
    open_at: list[tuple[int, list[Row]]] = [(-1, root)]
    for row in block:
        if row["seq"] == 0:
            continue
        depth = row["depth"] or 0
        while depth <= open_at[-1][0]:
            open_at.pop()
        made = {c: row[c] for c in _STEP} | ({"steps": []} if row["span"] else {})
        open_at[-1][1].append(made)
        if row["span"]:
            open_at.append((depth, made["steps"]))
    return root


def _block(rows: list[Row]) -> str:
    """One block; a bar begins where the step began as far as the log tells, else it shows the share only."""
    head = rows[0]
    total = head["total_ms"] or max((r["step_ms"] or 0 for r in rows), default=0) or 1
    named = " ".join(plain(str(head[k])) for k in ("name", "verb", "url") if head[k])
    when = time_text(head["step_time"] or head["time"]) if head["step_time"] or head["time"] else "at an unknown time"
    lines = [
        f"Trace {head['trace_id'] or ''} {named}",
        f"  {when}  {total:,.1f} ms  audit id {plain(head['audit_id'] or 'unknown')}  {plain(head['source'])}:{head['line']}",
    ]
    label = max((len(_label(r)) for r in rows), default=0)
    for row in rows:
        ms = row["step_ms"]
        offset = _offset(row, head, total)
        lines.append(f"  {_label(row):<{min(label, 70)}} {_number(ms)} {_bar(ms, offset, total)}".rstrip())
    if not head["ended"]:
        lines.append("  its END was not logged")
    return "\n".join(lines) + "\n"


def _label(row: Row) -> str:
    name = plain(row["step"] or row["name"] or "(head not logged)")
    return "  " * (row["depth"] or 0) + ("▾ " if row["span"] else "· ") + name[:60]


def _number(ms: float | None) -> str:
    return f"{'?' if ms is None else f'{ms:,.1f}':>10} ms"


def _offset(row: Row, head: Row, total: float) -> float:
    """Milliseconds into the block at which the bar begins; steps are logged at their end."""
    if row["seq"] == 0 or row["step_time"] is None or head["step_time"] is None:
        return 0.0
    at = (row["step_time"] - head["step_time"]).total_seconds() * 1000
    return float(min(max(at - (0 if row["span"] else row["step_ms"] or 0), 0), total))


def _bar(ms: float | None, offset: float, total: float) -> str:
    if not ms:
        return ""
    start = int(offset / total * _WIDTH)
    whole, rest = divmod(min(ms / total, 1) * _WIDTH, 1)
    bar = "█" * int(whole) + _EIGHTHS[int(rest * 8)].strip()
    return " " * min(start, _WIDTH - 1) + (bar or "▏") + f" {100 * ms / total:.0f}%"
