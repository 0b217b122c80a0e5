"""Import of klog text against DuckDB storing its raw lines as zstd Parquet; lnav loading it, where installed.

    python bench/logs.py [--gb 0.5] [--rounds 3] [--memory]

Three inputs: an apiserver's log at -v=2 with the other components' (mostly plain and structured entries, some traces), one
at -v=4 (mostly request lines), and one in which a tenth of the lines are audit events; all of real captures and varied: each copy has its own ids and a time behind the
one before, 200 MB to a day. Every figure is a whole process, start included; ratios are given in CPU time (user and
system), which other work on the machine disturbs least, and in wall time. --memory also imports ten times as much.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import statistics
import sys
from pathlib import Path

from common import CAPTURES, ROOT, Run, run, table, workdir

RAW = """
import sys, duckdb
duckdb.connect().execute(f'''
copy (from read_csv('{sys.argv[1]}', columns = {{'line': 'varchar'}}, delim = chr(1), quote = '', escape = '', header = false,
    auto_detect = false, strict_mode = false, max_line_size = 67108864)) to '{sys.argv[2]}' (format parquet, compression zstd)
'''.replace("chr(1)", "'\\x01'"))
"""
INPUTS = {
    "klog (-v=2)": (0.5, ("full/apiserver", "full/kcm", "full/scheduler")),
    "httplog-heavy (-v=4)": (0.25, ("everything/apiserver",)),
    "an apiserver that cannot deliver its audit events and dumps them": (None, ("webhook/defaults/apiserver",)),
}
_ID = re.compile(rb"[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-)|(?<=127\.0\.0\.1:)\d{2}|(?<=latency=\")\d|(?<=Trace\[)\d\d")
_STAMP = re.compile(rb"^([IWEF])\d{4} \d\d(?=:\d\d:)", re.MULTILINE)
_RAW = "DuckDB, raw lines"
_A_DAY = 200_000_000  # bytes


def capture(names: tuple[str, ...]) -> bytes:
    """The captured logs, else the sample of the tests."""
    paths = [CAPTURES / f"{name}.log.gz" for name in names]
    if all(path.exists() for path in paths):
        return b"".join(gzip.decompress(path.read_bytes()) for path in paths)
    return (ROOT / "tests" / "logs" / "data" / "httplog.log").read_bytes() * 100


def make(path: Path, source: bytes, size: int) -> int:
    """Write about `size` bytes; returns the number of lines."""
    copy = lines = 0
    with path.open("wb") as out:
        while out.tell() < size:
            seen: dict[bytes, bytes] = {}

            def other(match: re.Match[bytes], seen: dict[bytes, bytes] = seen, copy: int = copy) -> bytes:
                old = match[0]
                digits = len(old)
                return seen.setdefault(old, b"%0*x" % (digits, (int(old, 16) + copy * 2654435761) % 16**digits) if digits == 8
                                       else b"%0*d" % (digits, (int(old) + copy) % 10**digits))  # fmt: skip

            day, rest = divmod(out.tell(), _A_DAY)
            stamp = b"%02d%02d %02d" % (1 + day // 28 % 12, 1 + day % 28, rest * 24 // _A_DAY)
            out.write(_STAMP.sub(rb"\g<1>" + stamp, _ID.sub(other, source)))
            lines += source.count(b"\n")
            copy += 1
    return lines


def main() -> None:
    """Run the benchmark and print its tables."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--gb", type=float, default=0.5)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--memory", action="store_true")
    given = args.parse_args()
    with workdir() as name:
        for title, (bar, names) in INPUTS.items():
            log = Path(name) / "kube-apiserver.log"
            lines = make(log, capture(names), round(given.gb * 1e9))
            _compare(f"{title}, {log.stat().st_size / 1e9:.2f} GB, {lines:,} lines", bar, log, given.rounds)
            if given.memory:
                make(log, capture(names), round(given.gb * 1e10))
                _compare(f"{title}, ten times as much", bar, log, 1)


def _compare(title: str, bar: float | None, log: Path, rounds: int) -> None:
    lake, out = log.with_name("lake"), log.with_name("raw.parquet")
    commands = {
        "auditlens import": [sys.executable, "-m", "auditlens", "import", str(log), "--lake", str(lake)],
        _RAW: [sys.executable, "-c", RAW, str(log), str(out)],
    }
    if shutil.which("lnav"):
        commands["lnav -n"] = ["lnav", "-n", "-c", ";select count(*) from glog_log", str(log)]
    taken: dict[str, list[Run]] = {what: [] for what in commands}
    for _ in range(rounds):
        for what, command in commands.items():
            shutil.rmtree(lake, ignore_errors=True)
            taken[what].append(run(*command, env={"XDG_CONFIG_HOME": str(log.parent / "config")}))
    mb = log.stat().st_size / 1e6
    cpu = {what: statistics.median(r.cpu for r in found) for what, found in taken.items()}
    wall = {what: statistics.median(r.seconds for r in found) for what, found in taken.items()}
    rows = [("", "MB/s", "MB per CPU second", "of raw lines, CPU", "of raw lines, wall", "peak MiB")]
    for what, found in taken.items():
        rows.append((what, f"{mb / wall[what]:.0f}", f"{mb / cpu[what]:.0f}", f"{cpu[_RAW] / cpu[what]:.2f}",
                     f"{wall[_RAW] / wall[what]:.2f}", f"{max(r.peak_mib for r in found):.0f}"))  # fmt: skip
    table(f"{title}; wanted: {bar} of raw lines" if bar else title, rows)


if __name__ == "__main__":
    main()
