"""A trace as a tree on the terminal: each step and span with its time and a bar of its share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditlens import engine
from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.output import plain, time_text

__all__ = ["trace_tree"]

_WIDTH = 30  # characters of a whole bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


def trace_tree(lake: Lake | str | Path, id: str) -> str:
    """The blocks of an audit id or of a trace number, one under the other.

    A bar begins where the step began as far as the log tells, else it shows the share only.

    Raises:
        UsageError: the lake holds no such trace.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    if not lake.exists():
        raise UsageError(f"{lake.path}: there is no lake here; `auditlens import` makes one, --lake or $AUDITLENS_LAKE names it")
    con = engine.connect(lake)
    rows = con.sql(
        "select * from trace where audit_id = $id or trace_id = $id order by time, source, line, trace_id, seq", params={"id": id}
    ).pl().to_dicts()  # fmt: skip
    if not rows:
        took = con.sql("select max(latency_ms) from audit where audit_id = $id", params={"id": id}).fetchall()[0][0]
        told = "" if took is None else f"; the request took {took:,.1f} ms"
        raise UsageError(f"{id}: the lake holds no trace of it{told}; the apiserver logs one for what takes longer than 500 ms")
    blocks: list[list[dict[str, Any]]] = []
    for row in rows:
        if row["seq"] == 0 or not blocks:
            blocks.append([])
        blocks[-1].append(row)
    return "\n".join(map(_block, blocks))


def _block(rows: list[dict[str, Any]]) -> str:
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


def _label(row: dict[str, Any]) -> str:
    name = plain(row["step"] or row["name"] or "(head not logged)")
    return "  " * (row["depth"] or 0) + ("▾ " if row["span"] else "· ") + name[:60]


def _number(ms: float | None) -> str:
    return f"{'?' if ms is None else f'{ms:,.1f}':>10} ms"


def _offset(row: dict[str, Any], head: dict[str, Any], total: float) -> float:
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
