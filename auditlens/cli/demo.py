"""`auditlens demo` and `auditlens dashboard`: the main job on the sample logs, and the browser."""

from __future__ import annotations

import io
import os
import shlex
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

from auditlens.cli import say
from auditlens.errors import UsageError

SAMPLES = "sample-logs"
QUESTION = ("who-deleted", "pod/web-1", "-n", "shop")


def run(lake: Path | None) -> int:
    """Import the sample logs and print who deleted a pod."""
    from auditlens import bundled
    from auditlens.cli import asking, importing
    from auditlens.engine import sql
    from auditlens.lake import Lake

    samples = bundled.directory(SAMPLES)
    previous = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="auditlens-demo-") as directory:
        kept = lake.resolve() if lake else Path(directory) / "lake"
        os.chdir(samples.parent)  # so that the evidence names the files as the README does
        try:
            with redirect_stdout(io.StringIO()) as report, redirect_stderr(io.StringIO()):
                importing.run([f"{SAMPLES}/*/"], kept)
            # the import's own advice is about a lake to keep
            print(*(line for line in report.getvalue().splitlines() if not line.startswith("next:")), sep="\n", flush=True)
            for reason, records in sql(Lake(kept), "select reason, count(*) from rejects group by all order by all").iter_rows():
                say(f"rejected: {records} times {reason}")
            say("\nasking: auditlens ask " + " ".join(QUESTION) + "\n")
            status = asking.run([*QUESTION, "--lake", str(kept)])
        finally:
            os.chdir(previous)
    say(
        f"\nmore of it: auditlens ask --lake {lake}" if lake
        else f"\nto go on with these logs: auditlens import {shlex.quote(str(samples))}/*/ and then: auditlens ask"
    )  # fmt: skip
    return status


def dashboard(lake: Path, address: str, port: int, hosts: list[str], insecure: bool) -> NoReturn:
    """Become the dashboard's server, so that whoever ends this process ends it; on loopback unless told otherwise."""
    from importlib.util import find_spec

    from auditlens import bundled

    if find_spec("streamlit") is None:
        raise UsageError("the dashboard needs Streamlit: pip install 'auditlens[dashboard]'")
    entry = bundled.directory("dashboards") / "serve.py"
    shown = hosts[0] if hosts else address  # else Streamlit asks a host of the Internet for this machine's address, to print it
    command = [
        sys.executable, str(entry), "--server.address", address, "--server.port", str(port), "--browser.serverAddress", shown,
        "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    more = {
        "AUDITLENS_LAKE": str(lake.resolve()),
        "AUDITLENS_HOSTS": ",".join(hosts),
        "AUDITLENS_INSECURE": "1" if insecure else "",
    }
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, os.environ | more)
