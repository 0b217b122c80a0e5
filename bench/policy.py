"""How long a policy is simulated over 10 million events, and how long a lint takes from the start of the process.

`python bench/policy.py [AUDIT_LOG...] [--events 10000000] [--lake DIR] [--policies DIR]` prints one row per preset. The events
are those of the given logs (default: the capture of bench/common.py), again and again with other audit ids, users, names and times, until there are enough of them.
In the same run, what a user would do instead: DuckDB summing the same events by user, verb and resource.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import capture

from auditlens import engine
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.lake.snapshot import COMPACTED
from auditlens.policy import simulate
from auditlens.policy.requirements import presets
from auditlens.tables import Audit


def make_lake(logs: list[str], path: Path, events: int) -> Lake:
    """A lake of at least so many events, made of variations of some logs."""
    lake = Lake(path)
    import_files(logs, lake)
    con = engine.connect(lake)
    base = con.sql("select count(*) from audit").fetchall()[0][0]
    columns = ", ".join(c.name for c in Audit.stored())
    round_number = 0
    with lake.staging() as staging:
        files = []
        while base * (len(files) + 1) < events:
            round_number += 1
            select = f"""
                select {columns} from (select * replace (
                    left(audit_id, -4) || '{round_number:04d}' as audit_id,
                    case when username like '%user%' then username || '-{round_number % 10}' else username end as username,
                    name || '-{round_number}' as name,
                    stage_time + interval ({round_number} * 52) second as stage_time,
                    received_time + interval ({round_number} * 52) second as received_time
                ) from audit)
            """
            partition = {"cluster": "default", "date": "2026-11-23"}
            file = staging.write(con, Audit, select, prefix=COMPACTED, partition=partition)
            files += [file] if file else []
            print(f"\r{base * (len(files) + 1):,} events", end="", file=sys.stderr)
        lake.commit(Audit.NAME, files)
    print(file=sys.stderr)
    return Lake(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--lake", type=Path, help="keep the lake here, or use the one that is here")
    parser.add_argument("--policies", type=Path, help="policies to lint; default: the presets")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path, log = args.lake or Path(scratch) / "lake", Path(scratch) / "audit.log"
        if not path.is_dir() and not args.logs:
            log.write_bytes(capture())
        lake = Lake(path) if path.is_dir() else make_lake(args.logs or [str(log)], path, args.events)
        started = time.monotonic()
        engine.connect(lake).execute(
            "select username, verb, resource, count(*), sum(strlen(request_object)), sum(strlen(response_object)) from audit group by all"
        ).fetchall()
        print(f"DuckDB, by user, verb and resource: {time.monotonic() - started:.1f} s")
        for name in presets.names():
            started, used = time.monotonic(), time.process_time()
            result = simulate(lake, presets.load_preset(name))
            seconds, used = time.monotonic() - started, time.process_time() - used
            print(f"simulate {name}: {result.now.events:,} events in {seconds:.1f} s ({used:.1f} s of CPU)")
    slowest = 0.0
    folder = args.policies or presets.folder()
    for file in sorted(p for p in Path(folder).iterdir() if p.suffix in (".yaml", ".yml", ".json")):
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "auditlens", "policy", "lint", str(file)], capture_output=True, check=False)
        slowest = max(slowest, time.monotonic() - started)
    print(f"lint, start included: slowest {slowest:.2f} s")


if __name__ == "__main__":
    main()
