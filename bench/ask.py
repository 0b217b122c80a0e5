"""Answers over a million and ten million events: in process, and as a cold command.

    python bench/ask.py [--millions 1 10]

The lake is made from a capture of a real apiserver under load, varied as bench/common.py says, imported in pieces of a
gigabyte and compacted; then 300 small imports are added that nobody has compacted yet.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
import time
from pathlib import Path

from common import capture, run, table, vary, workdir

from auditlens import ask
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact


def main() -> None:
    """Run the benchmark and print its tables."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--millions", type=float, nargs="+", default=[1, 10])
    args.add_argument("--small", type=int, default=300)
    given = args.parse_args()
    source = capture()
    rows = [("events", "files", "who-deleted ms", "cold", "requests ms", "cold", "top ms")]
    for millions in given.millions:
        with workdir() as name:
            lake = Lake(Path(name) / "lake")
            copies = make_lake(lake, Path(name), source, int(millions * 1e6))
            rows.append(measure(lake, source, f"{millions:g} M, compacted"))
            if millions == max(given.millions):
                add_small(lake, Path(name), source, copies, given.small)
                rows.append(measure(lake, source, f"{millions:g} M and {given.small} small files"))
    table("Answers: median of 5 in process, of 3 as a cold command", rows)


def make_lake(lake: Lake, directory: Path, source: bytes, events: int) -> int:
    """Import about so many events and compact them; returns how many copies of the capture that took."""
    per_copy, copy = source.count(b"\n"), 0
    while copy * per_copy < events:
        log = directory / "audit.log"
        with log.open("wb") as out:
            while out.tell() < 1e9 and copy * per_copy < events:
                out.write(vary(source, copy))
                copy += 1
        import_files([log], lake)
    log.unlink()
    compact(lake)
    return copy


def add_small(lake: Lake, directory: Path, source: bytes, first: int, count: int) -> None:
    """Add imports of about 280 events each, one by one."""
    lines = vary(source, first).splitlines(keepends=True)
    size = len(lines) // count
    for i in range(count):
        log = directory / f"small-{i:03}.log"
        log.write_bytes(b"".join(lines[i * size : (i + 1) * size]))
        import_files([log], lake)
        log.unlink()


def measure(lake: Lake, source: bytes, label: str) -> tuple[str, ...]:
    """Time three questions."""
    deleted = re.search(rb'"auditID":"([^"]+)","stage":"ResponseComplete","requestURI":"[^"]*","verb":"delete".{0,400}?'
                        rb'"objectRef":\{"resource":"(\w+)","namespace":"([^"]+)","name":"([^"]+)".{0,300}?"code":200', source)  # fmt: skip
    assert deleted is not None
    audit_id, resource, namespace, name = (g.decode() for g in deleted.groups())
    questions = {
        "who-deleted": {"resource": resource, "namespace": namespace, "name": name},
        "requests": {"audit_id": f"000{audit_id}"},
        "top": {"by": "user"},
    }
    out = [label, str(sum(len(lake.snapshot().files(t)) for t in ("audit", "audit_objects")))]
    for question, params in questions.items():
        times = []
        for _ in range(5):
            started = time.monotonic()
            frame = ask(lake, question, **params).frame
            times.append(time.monotonic() - started)
        assert frame.height, f"{question} found nothing"
        out.append(f"{statistics.median(times) * 1000:,.0f}")
        if question != "top":
            flags = [f"--{k.replace('_', '-')}={v}" for k, v in params.items()]
            cold = [
                run(sys.executable, "-m", "auditlens", "ask", question, *flags, "--lake", str(lake.path), "-o", "json").seconds
                for _ in range(3)
            ]
            out.append(f"{statistics.median(cold) * 1000:,.0f}")
    return tuple(out)


if __name__ == "__main__":
    if shutil.disk_usage(Path(__file__).anchor).free < 20e9:
        sys.exit("this needs 20 GB of disk; set TMPDIR to a larger one")
    main()
