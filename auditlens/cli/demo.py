"""`auditlens demo` and `auditlens dashboard`: the main job on the sample logs, and the browser."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

from auditlens.cli import say
from auditlens.cli.options import lacking
from auditlens.errors import UsageError

SAMPLES = "sample-logs"
QUESTION = ("who-deleted", "pod/web-1", "-n", "shop")
MORE = ("why", "rs/frontend-7cd5c87d85", "-n", "shop")


def run(lake: Path | None) -> int:
    """Import the sample logs and print who deleted a pod."""
    from auditlens import bundled
    from auditlens.cli import asking, importing
    from auditlens.engine import sql
    from auditlens.lake import Lake

    samples = bundled.directory(SAMPLES)
    say(f"importing {_short(samples)}: audit and apiserver logs in every form that is read, a few seconds\n")
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
    command, more = _command(), " ".join(map(shlex.quote, MORE))
    at = f" --lake {shlex.quote(str(lake))}" if lake else ""
    first = "" if lake else f"{command} import {shlex.quote(_short(samples))} && "
    say(f"\nnow ask why a ReplicaSet grew to 100:\n\n  {first}{command} {more}{at}\n\n{command} ask lists the questions")
    return status


def _short(path: Path) -> str:
    """The path from here where it is below, else whole."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _command() -> str:
    """What the reader types to run this program: its name where the PATH finds it, else the path they used."""
    typed, found = Path(sys.argv[0]), shutil.which("auditlens")
    if found and typed.exists() and Path(found).samefile(typed):
        return "auditlens"
    if os.access(typed, os.X_OK) and typed.name != "__main__.py":
        return shlex.quote(_short(typed.absolute()))
    return f"{shlex.quote(sys.executable)} -m auditlens"


def dashboard(lake: Path, address: str, port: int, hosts: list[str], insecure: bool) -> NoReturn:
    """Become the dashboard's server, so that whoever ends this process ends it; on loopback unless told otherwise."""
    from importlib.util import find_spec

    from auditlens import bundled

    if find_spec("streamlit") is None:
        raise UsageError(lacking("the dashboard needs Streamlit", "dashboard"))
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
