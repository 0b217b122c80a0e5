"""`auditlens demo` and `auditlens dashboard`: the main job on the sample logs, and the browser."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from auditlens.cli import say
from auditlens.errors import UsageError


def run(lake: Path | None) -> int:
    """Import the sample logs and print who deleted a pod."""
    from auditlens import share
    from auditlens.cli import asking, importing

    if lake is None:
        with tempfile.TemporaryDirectory(prefix="auditlens-demo-") as directory:
            return run(Path(directory) / "lake")
    samples = share.directory("sample-logs")
    previous = Path.cwd()
    lake = lake.resolve()
    os.chdir(samples)  # so that the evidence names the files as the README does
    try:
        importing.run(["."], lake, None, "auto", "secrets", None, "64MiB", False, None)
        say("\n$ auditlens ask who-deleted pod/web-1 -n shop\n")
        return asking.run(["who-deleted", "pod/web-1", "-n", "shop", "--lake", str(lake)])
    finally:
        os.chdir(previous)


def dashboard(lake: Path, address: str, port: int) -> int:
    """Run Streamlit on the dashboard; it stays on the loopback address unless told otherwise."""
    from importlib.util import find_spec

    from auditlens import share

    if find_spec("streamlit") is None:
        raise UsageError("the dashboard needs Streamlit: pip install 'auditlens[dashboard]'")
    entry = share.directory("dashboards") / "app.py"
    command = [
        sys.executable, "-m", "streamlit", "run", str(entry), "--server.address", address, "--server.port", str(port),
        "--browser.gatherUsageStats", "false",
    ]  # fmt: skip
    return subprocess.run(command, env=os.environ | {"AUDITLENS_LAKE": str(lake.resolve())}, check=False).returncode
