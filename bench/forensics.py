"""History, deletions, causes, questions and states over ten million events, beside plain DuckDB on the raw JSON.

    python bench/forensics.py [--millions 10] [--keep DIRECTORY] [--raw 1]

The lake is made from a capture of a real apiserver under load, varied as bench/common.py says, with resource versions that
grow from copy to copy, and compacted. The raw JSON is the first million events of it, or as many as --raw says.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
from common import capture, table, vary, workdir

from auditlens import ask, history
from auditlens.answers.questions import questions
from auditlens.forensics.state import state
from auditlens.forensics.why import why
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact

_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
# Answered the same way from raw lines, where a few lines of SQL can.
RAW = {
    "who-deleted pod": """select stageTimestamp, "user".username, verb, auditID from raw where stage = 'ResponseComplete'
        and verb = 'delete' and objectRef.resource = '{resource}' and objectRef.namespace = '{namespace}'
        and objectRef.name = '{name}' order by 1""",
    "history": """select stageTimestamp, "user".username, verb, responseStatus.code from raw where stage = 'ResponseComplete'
        and objectRef.resource = '{resource}' and objectRef.namespace = '{namespace}' and objectRef.name = '{name}' order by 1""",
    "clients": "select split_part(userAgent, '/', 1), count(*), count(distinct \"user\".username) from raw "
    "where stage = 'ResponseComplete' group by 1 order by 2 desc",
    "api-coverage": "select objectRef.apiGroup, objectRef.resource, verb, count(*) from raw where stage = 'ResponseComplete' "
    "group by all order by all",
}


def main() -> None:
    """Run the benchmark and print its tables."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--millions", type=float, default=10)
    args.add_argument("--raw", type=float, default=1, help="millions of events of the raw file")
    args.add_argument("--keep", type=Path, help="make the lake here, or use the one that is here")
    given = args.parse_args()
    source = capture()
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(workdir()))
        folder.mkdir(parents=True, exist_ok=True)
        lake, raw = Lake(folder / "lake"), folder / "raw.log"
        if not lake.exists():
            make(lake, raw, source, int(given.millions * 1e6), int(given.raw * 1e6))
        measure(lake, raw)


def copies(source: bytes, events: int) -> Iterator[bytes]:
    """Stretches of one cluster's life, one after the other, about so many events."""
    per_copy = source.count(b"\n")
    for copy in range(-(-events // per_copy)):
        yield _VERSION.sub(lambda m, n=copy: b'"resourceVersion":"%d"' % (int(m[1]) + n * 10_000_000), vary(source, copy))


def make(lake: Lake, raw: Path, source: bytes, events: int, raw_events: int) -> None:
    """Import and compact."""
    log = lake.path.parent / "audit.log"
    pieces, done = copies(source, events), False
    while not done:
        with log.open("wb") as out:
            while out.tell() < 1e9 and not done:
                piece = next(pieces, None)
                done = piece is None
                out.write(piece or b"")
        import_files([log], lake)
    log.unlink()
    compact(lake)
    with raw.open("wb") as out:
        for piece in copies(source, raw_events):
            out.write(piece)


def timed(run: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """The median of some runs in milliseconds, and the last result."""
    out, result = [], None
    for _ in range(times):
        started = time.monotonic()
        result = run()
        out.append((time.monotonic() - started) * 1000)
    return statistics.median(out), result


def measure(lake: Lake, raw: Path) -> None:
    """Time one object, every question, and a state."""
    frame = ask(lake, "who-deleted", resource="pods", limit=2000).frame
    pods = frame.filter(frame["root_username"].is_not_null() & frame["name"].is_not_null())
    victim = (pods if pods.height else ask(lake, "who-deleted", limit=1).frame).to_dicts()[-1]
    object, namespace = f"{victim['resource']}/{victim['name']}", victim["namespace"]
    at = victim["time"]
    rows = [("one object, in process", "ms", "rows", "bar")]
    for label, run in (
        ("who-deleted pod", lambda: ask(lake, "who-deleted", object=object, namespace=namespace).total),
        ("history", lambda: history(lake, object, namespace=namespace).frame.height),
        ("why", lambda: len(why(lake, object, namespace=namespace, event="delete").links)),
        ("state KIND/NAME", lambda: len(state(lake, object, namespace=namespace, at=at).objects)),
    ):
        took, count = timed(run)
        rows.append((label, f"{took:,.0f}", f"{count:,}", "500"))
    took, found = timed(lambda: state(lake, at=at), 1)
    rows.append(("state -A", f"{took:,.0f}", f"{len(found.objects):,}", "10,000"))
    table("One object and the whole cluster", rows)
    day = {"since": at.replace(hour=0, minute=0, second=0, microsecond=0).isoformat(), "until": at.isoformat()}
    rows = [("question", "whole ms", "rows", "a day ms", "rows")]
    for name, asked in questions().items():
        whole, count = timed(lambda n=name: ask(lake, n).total, 1)
        window = {k: v for k, v in day.items() if k in {p.name for p in asked.params}}
        short, few = timed(lambda n=name, w=window: ask(lake, n, **w).total, 1)
        rows.append((name, f"{whole:,.0f}", f"{count:,}", f"{short:,.0f}", f"{few:,}"))
    table("Questions (bars: 3,000 for the whole, 500 for a day)", rows)
    plain(raw, victim)


def plain(raw: Path, victim: dict[str, Any]) -> None:
    """The same from the raw lines, with the types given: the best plain DuckDB can do."""
    from auditlens.importing.transform import WIRE

    columns = ", ".join(f"'{k}': '{_type(v)}'" for k, v in WIRE.items() if k not in ("requestObject", "responseObject"))
    con = duckdb.connect()
    con.execute(f"create view raw as select * from read_json('{raw}', format = 'newline_delimited', columns = {{{columns}}})")
    count = con.execute("select count(*) from raw").fetchall()[0][0]
    rows = [(f"plain DuckDB on {count:,} raw lines", "ms")]
    for label, sql in RAW.items():
        took, _ = timed(lambda s=sql: con.sql(s.format(**victim)).pl(), 1)
        rows.append((label, f"{took:,.0f}"))
    table("The same from raw JSON, without roots and evidence", rows)


def _type(shape: Any) -> str:
    if isinstance(shape, dict):
        return "STRUCT(" + ", ".join(f'"{k}" {_type(v)}' for k, v in shape.items()) + ")"
    return f"{_type(shape[0])}[]" if isinstance(shape, list) else str(shape)


if __name__ == "__main__":
    main()
