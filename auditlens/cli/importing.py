"""`auditlens import`: progress on stderr, the counts, and where to go from there."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens.cli import say
from auditlens.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from auditlens.importing.batches import Filter
    from auditlens.importing.files.run import ImportReport

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_WORTH_A_RATE = 10_000_000  # bytes; below, the start is most of the time


def run(
    paths: list[str],
    lake: Path,
    *,
    cluster: str | None = None,
    format: str = "auto",
    redact: str = "secrets",
    redact_key: Path | None = None,
    max_line: str = "64MiB",
    policy: str | None = None,
    strict: bool = False,
    output: str | None = None,
) -> int:
    """Import and report."""
    from auditlens.importing import core
    from auditlens.importing.files.run import import_files
    from auditlens.importing.sources import find_sources
    from auditlens.output import plain

    if redact not in ("secrets", "none"):
        raise UsageError("--redact takes secrets or none")
    if output not in (None, "json", "table"):
        raise UsageError("import -o takes json")
    if format not in ("auto", "audit", "klog", "kubectl"):
        raise UsageError("--format takes auto, audit, klog or kubectl")
    total = sum(s.size or 0 for s in find_sources(paths))
    with _progress(total) as progress:
        report = import_files(
            paths, lake, cluster=cluster, format=format, redact=redact != "none", redact_key=redact_key,
            max_line=size(max_line), keep=_filter(policy), progress=progress,
        )  # fmt: skip
    if why := core.why_not() if total >= _WORTH_A_RATE else core.refused():
        say(f"read without the native core, for over 1.5 times the CPU time: {why}")
    counts = report.total()
    unread = [source for source in report.sources if source.error]
    for source in unread:
        say(f"{plain(source.source)}: {source.error}" + ("; what was read up to there is imported" if source.bytes else ""))
    if guessed := [source for source in report.sources if source.guessed]:
        more = f" and {len(guessed) - 1:,} more" if len(guessed) > 1 else ""
        say(
            f"{plain(guessed[0].source)}{more}: nothing names the year of {sum(s.guessed for s in guessed):,} log entries; "
            "it is the last one that is not after the file's own time, in UTC"
        )
    if output == "json":
        print(json.dumps(counts))
    else:
        _tell(report, counts, lake)
    for line in _about_clusters(report, cluster):
        say(line)
    if counts["rejects"]:
        say(
            f"{counts['rejects']:,} records were rejected; see them with: auditlens sql 'select source, line, reason from rejects'"
        )
    if unread:
        say(f"{len(unread):,} of {len(report.sources):,} sources could not be read, or not to their end; the others are imported")
        return ExitCode.REJECTS if strict else ExitCode.FAILED
    return ExitCode.REJECTS if strict and counts["rejects"] else ExitCode.OK


def size(text: str) -> int:
    """Bytes meant by a number with an optional unit; raises UsageError."""
    match = re.fullmatch(r"(\d+)\s*([kmg]i?)?b?", text.strip(), re.IGNORECASE)
    if not match or not int(match[1]):
        raise UsageError(f"size {text!r}: use a number with an optional unit, such as 64MiB")
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


def follow(
    paths: list[str],
    lake: Path,
    *,
    cluster: str | None,
    format: str,
    redact: str,
    redact_key: Path | None,
    policy: str | None,
) -> int:
    """Follow the files until SIGINT or SIGTERM."""
    import signal
    import threading

    from auditlens.importing import core
    from auditlens.importing.files.follow import follow as run

    if why := core.why_not():
        say(f"reading without the native core, for over 1.5 times the CPU time: {why}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    run(
        paths, lake, cluster=cluster, format=format, redact=redact != "none", redact_key=redact_key, keep=_filter(policy), stop=stop,
        report=lambda r: say(f"{r.source}: {r.lines:,} lines, {sum(r.rows.values()):,} rows, {r.duplicates:,} duplicates, {r.rejects:,} rejects"),
        say=say,
    )  # fmt: skip
    return ExitCode.OK


def _filter(policy: str | None) -> Filter | None:
    if policy is None:
        return None
    from auditlens.cli.policy import load_policy
    from auditlens.policy import Filter

    return Filter(load_policy(policy))


def _tell(report: ImportReport, counts: dict[str, Any], lake: Path) -> None:
    """The two identities, then the three lines a newcomer needs."""
    rows = sum(counts["rows"].values())
    rate = f" ({counts['bytes'] / 1e6 / counts['seconds']:,.0f} MB/s)" if counts["bytes"] >= _WORTH_A_RATE else ""
    print(f"{counts['sources']} sources, {counts['bytes']:,} bytes in {counts['seconds']:.1f} s{rate}")
    print(
        f"{counts['lines']:,} lines = {counts['records'] - counts['items']:,} records + {counts['continuations']:,} continuations "
        f"+ {counts['blanks']:,} blanks" + (f"; {counts['items']:,} more records from lists" if counts["items"] else "")
    )
    print(
        f"{counts['records']:,} records = {rows:,} rows + {counts['duplicates']:,} duplicates + {counts['rejects']:,} rejects"
        + (f" + {counts['dropped']:,} dropped by the policy" if counts["dropped"] else "")
    )
    for line in summary(lake):
        print(line)


def _about_clusters(report: ImportReport, asked: str | None) -> Iterator[str]:
    """What is unclear about the names of clusters, each in a line that says how to name them."""
    from auditlens.importing.transform import DEFAULT_CLUSTER
    from auditlens.output import plain

    named: Counter[str] = sum((s.clusters for s in report.sources), Counter[str]())
    others = sorted(named.keys() - {"", asked})
    if asked and others:
        yield f"the logs name other clusters than --cluster {asked}, which is kept: {plain(', '.join(others[:3]))}"
    disputed = next((s.disputed for s in report.sources if s.disputed), None)
    if disputed and not asked:
        kept, other = map(plain, disputed)
        yield f"a line names two clusters, {kept} and {other}; the first is kept, --cluster NAME decides otherwise"
    if named[""] and not asked:
        yield f"{named['']:,} records name no cluster and are kept as {DEFAULT_CLUSTER}; --cluster NAME names it"


def summary(lake: Path) -> list[str]:
    """What the lake holds now: window, clusters and levels, gaps, and a next command."""
    from auditlens import engine
    from auditlens.lake import Lake

    return engine.with_snapshot(Lake(lake), lambda con: _summary(con, lake))


def _summary(con: Any, lake: Path) -> list[str]:
    from auditlens.output import plain

    first, last, events, clusters, levels = con.execute(
        """
        select strftime(min(stage_time), '%Y-%m-%d %H:%M:%SZ'), strftime(max(stage_time), '%Y-%m-%d %H:%M:%SZ'),
            count(*), string_agg(distinct cluster, ', ' order by cluster),
            (select string_agg(level || ' ' || case when n < 0.005 * sum_n then '<1' else round(100.0 * n / sum_n)::int::varchar end
                || '%', ', ' order by n desc)
                from (select level, count(*) as n, sum(count(*)) over () as sum_n from audit group by level))
        from audit
        """
    ).fetchall()[0]
    if not events:
        return ["the lake holds no audit events yet"]
    if first is None:
        none = f"the lake holds {events:,} audit events, none of which has a time that can be read"
        return [f"{none}; clusters: {plain(clusters)}; levels: {plain(levels)}", _next(con, lake)]
    gaps = con.execute(
        """
        -- a silence an apiserver does not keep: its own leases and probes come every few seconds
        with t as (
            select stage_time as a, lead(stage_time) over (partition by cluster, instance order by stage_time) as b from audit
        )
        select strftime(a, '%Y-%m-%d %H:%M:%SZ') || ' to ' || strftime(b, '%Y-%m-%d %H:%M:%SZ')
        from t where b - a > interval 5 minute order by b - a desc limit 3
        """
    ).fetchall()
    return [
        f"log from {first} to {last}; clusters: {plain(clusters)}; levels: {plain(levels)}",
        "no gap longer than 5 minutes" if not gaps else "gaps longer than 5 minutes: " + ", ".join(g for (g,) in gaps),
        _next(con, lake),
    ]


def _next(con: Any, lake: Path) -> str:
    # rather what a person did than what a controller did
    deleted = con.execute(
        "select name, namespace from audit where resource = 'pods' and verb = 'delete' and stage = 'ResponseComplete' and code < 300 "
        "and namespace is not null and name is not null "
        "order by controller(username, user_agent) is not null, stage_time desc, name limit 1"
    ).fetchall()
    option = "" if str(lake) == "lake" else f" --lake {_shell(str(lake))}"
    if not deleted:
        return f"next: auditlens ask top{option}"
    name, namespace = deleted[0]
    return f"next: auditlens ask who-deleted {_shell('pod/' + name)} -n {_shell(namespace)}{option}"


def _shell(word: str) -> str:
    import shlex

    return shlex.quote(word)


class _Bar:
    """A progress bar with rate and time left, on stderr."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        self._progress = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total or None)

    def __enter__(self) -> Any:
        self._progress.start()
        return lambda n: self._progress.advance(self._task, n)

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()


def _progress(total: int) -> Any:
    return _Bar(total) if sys.stderr.isatty() else nullcontext()
