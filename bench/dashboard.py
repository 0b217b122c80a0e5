"""The dashboard on ten million events in a real browser: first paint of each page, interactions, memory with five tabs.

    python bench/dashboard.py [--millions 10] [--lake DIRECTORY]

First paint is from the request of the page to its first figures or table, with the server up and the page's answers not
yet asked; an interaction is a click that changes what is shown, to the end of the rerun. Memory is the server's resident
set, at its largest. The lake is made as bench/ask.py makes it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ask import make_lake
from common import capture, table, workdir

from auditlens import sql
from auditlens.lake import Lake

PAGES = ("", "timeline", "ask?question=top", "object", "access", "performance", "policy", "ingest")
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
PAINTED = '[data-testid="stMetric"], [data-testid="stDataFrame"], [data-testid="stVegaLiteChart"], textarea'
DONE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
# Counts the runs of the script, so that an interaction is not over before it began.
WATCH = """() => {
    window.runs = 0
    window.watcher?.disconnect()
    window.watcher = new MutationObserver(() => window.runs++)
    const app = document.querySelector('[data-testid="stApp"]')
    window.watcher.observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]})
}"""


def main() -> None:
    """Run the benchmark and print its tables."""
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--millions", type=float, default=10)
    args.add_argument("--lake", type=Path, help="measure this lake instead of making one")
    given = args.parse_args()
    if CHROMIUM is None:
        print("dashboard: not measured, there is no chromium here")
        return
    with workdir() as name:
        lake = given.lake or Path(name) / "lake"
        if given.lake is None:
            make_lake(Lake(lake), Path(name), capture(), int(given.millions * 1e6))
        measure(lake)


def measure(lake: Path) -> None:
    """All of it on one lake."""
    from playwright.sync_api import sync_playwright

    events = sql(lake, "select count(*) from audit").item()
    with server(lake) as (url, memory), sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tabs = [browser.new_context(viewport={"width": 1280, "height": 800}).new_page() for _ in range(5)]
        tabs[0].goto(url + "event")  # the browser's own start
        tabs[0].wait_for_selector("h1")
        tabs[0].wait_for_selector(DONE, state="attached")
        rows = [("page", "first paint s", "whole s", "again s")]
        for page in PAGES:
            first, whole = opened(tabs[0], url + page)
            again, _ = opened(tabs[0], url + page)
            rows.append((page or "overview", f"{first:.2f}", f"{whole:.2f}", f"{again:.2f}"))
        table(f"Dashboard, {events:,} events: from the request to figures, the same page drawn whole, and once more", rows)
        times = sorted(interactions(tabs[0], url, typical(lake)))
        for n, tab in enumerate(tabs):
            opened(tab, url + PAGES[n])
        p95 = times[max(0, -(-len(times) * 95 // 100) - 1)]
        figures = (str(len(times)), f"{statistics.median(times):.2f}", f"{p95:.2f}", f"{times[-1]:.2f}", f"{max(memory):.0f}")
        table(
            "Dashboard: interactions and memory",
            [("interactions", "median s", "p95 s", "slowest s", "server MiB, 5 tabs"), figures],
        )
        browser.close()


def opened(tab: Any, url: str) -> tuple[float, float]:
    """Seconds to the first figures of a page, and to its end."""
    started = time.monotonic()
    tab.goto(url, timeout=120_000)
    tab.wait_for_selector(PAINTED, timeout=120_000)
    first = time.monotonic() - started
    tab.wait_for_timeout(150)
    tab.wait_for_selector(DONE, state="attached", timeout=120_000)
    return first, time.monotonic() - started - 0.15


def interactions(tab: Any, url: str, typical: str) -> list[float]:
    """Seconds of clicks on tabs and choices, of brushes, of opening an object and an event, each for the first time."""
    times: list[float] = []
    main = tab.get_by_test_id("stMain")

    def clock(label: str, act: Callable[[], Any]) -> None:
        tab.evaluate(WATCH)
        started = time.monotonic()
        act()
        tab.wait_for_function("window.runs > 0", timeout=120_000)
        tab.wait_for_selector(DONE, state="attached", timeout=120_000)
        times.append(time.monotonic() - started)
        print(f"  {times[-1]:5.2f} s  {label}", file=sys.stderr)

    for page, labels in (
        ("access", ("Secrets", "Sessions", "Impersonation", "Rights", "Tokens", "Anonymous")),
        ("performance", ("Slow requests", "Lists and watches", "Conflicts", "Latency")),
        ("timeline", ("users", "nodes", "objects")),
        ("ingest", ("Rejects", "Tables", "Imports")),
    ):
        opened(tab, url + page)
        for label in labels:
            clock(f"{page} · {label}", main.get_by_role("radio", name=label, exact=True).first.click)
    for page, n in (("", 1), ("performance", 0)):
        opened(tab, url + page)
        clock(f"{page or 'overview'} · brush", lambda n=n: brush(tab, n))  # type: ignore[misc]
    opened(tab, url + "object")
    clock("object · the most changed", lambda: select(tab, 0))
    opened(tab, url + typical)
    clock("object · change", lambda: select(tab, 0))
    for label in ("State", "Diff", "Fields", "Family", "Why"):
        clock(f"object · {label}", main.get_by_role("radio", name=label, exact=True).first.click)
    opened(tab, url)
    clock("overview · talker", lambda: select(tab, -2))
    clock("overview · object", lambda: select(tab, -1))
    opened(tab, url + "ask?question=denied&limit=200")
    clock("ask · row", lambda: select(tab, 0))
    return times


def typical(lake: Path) -> str:
    """The page of an object of which the log has some hundred requests."""
    resource, namespace, name = sql(
        lake,
        "select resource, namespace, name from audit_objects where api_group = '' and resource = 'pods' and name is not null and namespace is not null "
        "group by all order by abs(count(*) - 300), namespace, name limit 1",
    ).row(0)
    return f"object?object={resource}/{name}&namespace={namespace}"


def brush(tab: Any, n: int) -> None:
    """Drag over a fifth of a chart."""
    chart = tab.locator('[data-testid="stVegaLiteChart"]').nth(n)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] * 0.4, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)
    tab.mouse.move(box["x"] + box["width"] * 0.6, y, steps=4)
    tab.mouse.up()
    tab.wait_for_url("**since=**", timeout=120_000)


def select(tab: Any, n: int) -> None:
    """Select the first row of the n-th table."""
    tables = tab.locator('[data-testid="stDataFrame"]')
    found = tables.nth(n if n >= 0 else tables.count() + n)
    found.scroll_into_view_if_needed()
    found.click(position={"x": 16, "y": 48})


@contextmanager
def server(lake: Path) -> Iterator[tuple[str, list[float]]]:
    """The dashboard on a lake; its address, and its memory in MiB as it is watched."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "auditlens", "dashboard", "--lake", str(lake), "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    memory: list[float] = [0.0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            memory.append(sum(map(resident, family(process.pid))))

    threading.Thread(target=watch, daemon=True).start()
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/", memory
    finally:
        over.set()
        os.killpg(process.pid, 15)
        process.wait()


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(c for child in children for c in family(int(child)))]


def resident(pid: int) -> float:
    """Resident MiB of a process, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
