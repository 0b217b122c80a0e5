"""Import against what a user would do instead, in one run: plain DuckDB, polars, jq and chdb where installed.

    python bench/import.py [--gb 1] [--rounds 3] [--memory]

The input is a capture of a real apiserver under load, varied as bench/common.py says. Every figure is a whole process,
start included. --memory also imports ten times as much, to show that the peak does not grow.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path

from common import make_input, run, table, workdir

# The wire fields, flat and typed: what somebody who knows the format would write.
DUCKDB = """
import sys, duckdb
con = duckdb.connect()
con.execute("set TimeZone = 'UTC'")
user = 'struct(username varchar, uid varchar, "groups" varchar[], extra map(varchar, varchar[]))'
con.execute(f'''
copy (
    select level, auditID, stage, requestURI, verb, "user".username, "user".uid as user_uid, "user"."groups" as user_groups,
        "user".extra as user_extra, impersonatedUser.username as impersonated_username, impersonatedUser.uid as impersonated_uid,
        impersonatedUser."groups" as impersonated_groups, impersonatedUser.extra as impersonated_extra, sourceIPs, userAgent,
        objectRef.resource, objectRef.namespace, objectRef.name, objectRef.uid, objectRef.apiGroup, objectRef.apiVersion,
        objectRef.resourceVersion, objectRef.subresource, responseStatus.code, responseStatus.reason, responseStatus.message,
        responseStatus.details, requestObject, responseObject, requestReceivedTimestamp::timestamptz as received_time,
        stageTimestamp::timestamptz as stage_time, annotations
    from read_json('{sys.argv[1]}', format = 'newline_delimited', maximum_object_size = 67108864, columns = {{
        level: 'varchar', auditID: 'varchar', stage: 'varchar', requestURI: 'varchar', verb: 'varchar', user: '{user}',
        impersonatedUser: '{user}', sourceIPs: 'varchar[]', userAgent: 'varchar',
        objectRef: 'struct(resource varchar, namespace varchar, name varchar, uid varchar, apiGroup varchar,
            apiVersion varchar, resourceVersion varchar, subresource varchar)',
        responseStatus: 'struct(status varchar, message varchar, reason varchar, details varchar, code integer)',
        requestObject: 'varchar', responseObject: 'varchar', requestReceivedTimestamp: 'timestamp',
        stageTimestamp: 'timestamp', annotations: 'map(varchar, varchar)'}})
) to '{sys.argv[2]}' (format parquet, compression zstd)
''')
"""
# polars infers structs without fields from bodies and cannot write them as Parquet
POLARS = """
import sys, polars as pl
flat = ["level", "auditID", "stage", "requestURI", "verb", "sourceIPs", "userAgent", "requestReceivedTimestamp", "stageTimestamp"]
pl.scan_ndjson(sys.argv[1], infer_schema_length=10000).select(*flat, pl.col("user").struct.field("username")).sink_parquet(sys.argv[2])
"""
CHDB = (
    "import sys, chdb; chdb.query(f\"select * from file('{sys.argv[1]}', JSONEachRow) into outfile '{sys.argv[2]}' "
    'truncate format Parquet")'
)


def main() -> None:
    """Run the benchmark and print its table."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--gb", type=float, default=1.0)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--memory", action="store_true")
    given = args.parse_args()
    with workdir() as name:
        directory = Path(name)
        log = directory / "audit.log"
        events = make_input(log, int(given.gb * 1e9))
        megabytes = log.stat().st_size / 1e6
        out, lake = str(directory / "out.parquet"), directory / "lake"
        python = sys.executable
        others = {"DuckDB, the wire fields to Parquet": (python, "-c", DUCKDB, str(log), out)}
        if find_spec("chdb"):
            others["chdb"] = (python, "-c", CHDB, str(log), out)
        if shutil.which("jq"):
            others["jq, three fields, no storing"] = ("jq", "-c", "[.auditID, .verb, .user.username]", str(log))
        others["polars, ten fields to Parquet"] = (python, "-c", POLARS, str(log), out)
        runs: dict[str, list[tuple[float, float]]] = {}
        ratios: list[tuple[float, float]] = []
        for i in range(given.rounds):
            shutil.rmtree(lake, ignore_errors=True)
            ours = run(python, "-m", "auditlens", "import", str(log), "--lake", str(lake), "-o", "json")
            runs.setdefault("auditlens import", []).append((ours.seconds, ours.peak_mib))
            for label, command in others.items():
                if i and not label.startswith("DuckDB"):
                    continue  # slow, and only for comparison: once
                other = run(*command)
                runs.setdefault(label, []).append((other.seconds, other.peak_mib))
                if label.startswith("DuckDB"):
                    ratios.append((other.seconds / ours.seconds, other.cpu / ours.cpu))
        rows = [("", "MB/s", "events/s", "peak MiB")]
        for label, found in runs.items():
            seconds = statistics.median(s for s, _ in found)
            rows.append((label, f"{megabytes / seconds:,.0f}", f"{events / seconds:,.0f}", f"{max(p for _, p in found):,.0f}"))
        table(f"Import of {megabytes:,.0f} MB, {events:,} audit events (median of {given.rounds})", rows)
        for what, found_ratios in zip(("time", "CPU seconds"), zip(*ratios, strict=True), strict=True):
            print(f"  plain DuckDB's {what} by ours, run by run: {', '.join(f'{r:.2f}' for r in found_ratios)}")
        if given.memory:
            _memory(directory, given.gb)


def _memory(directory: Path, gigabytes: float) -> None:
    rows = [("", "GB", "peak MiB")]
    for factor in (1, 10):
        log, lake = directory / "audit.log", directory / "lake"
        make_input(log, int(gigabytes * factor * 1e9))
        shutil.rmtree(lake, ignore_errors=True)
        done = run(sys.executable, "-m", "auditlens", "import", str(log), "--lake", str(lake), "-o", "json")
        rows.append(("auditlens import", f"{log.stat().st_size / 1e9:.1f}", f"{done.peak_mib:,.0f}"))
    table("Memory does not grow with the file", rows)


if __name__ == "__main__":
    main()
