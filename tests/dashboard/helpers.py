"""What the dashboard's tests share: hostile names, looks at a page, a server, and a browser tab that knows when a page is done."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "dashboards" / "app.py"
ARTEFACTS = ROOT / "tests" / "artefacts"

# Names as an attacker would choose them: markup, Markdown, links, length, direction, escapes, formulas.
HOSTILE = (
    "<script>alert('pwned')</script>",
    "**bold** [click](http://evil.example) ![x](http://evil.example/x.png)",
    ":red[red] $\\frac{1}{2}$ :material/skull: `code` ``` fence",
    "evil\u202egnp.exe\u2066\u200b",
    "\x1b[31mred\x1b[0m\nsecond line",
    "=HYPERLINK(\"http://evil.example\")",
    "n" * 1500,
)  # fmt: skip


def texts(app: AppTest) -> str:
    """All words on a page outside tables."""
    kinds = ("title", "header", "subheader", "caption", "markdown", "text", "error", "warning", "info", "success")
    return "\n".join(str(e.value) for kind in kinds for e in getattr(app, kind))


def frame(app: AppTest, n: int = 0) -> Any:
    """The n-th table of a page, as pandas."""
    return app.dataframe[n].value


def metrics(app: AppTest) -> dict[str, str]:
    """Figures by label."""
    return {m.label: m.value for m in app.metric}


def serve(lake: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the dashboard as `auditlens dashboard` does, on a free port; the process and the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "auditlens", "dashboard", "--lake", str(lake), "--port", str(port)], stdout=out, stderr=subprocess.STDOUT,
            env=os.environ | {"BROWSER": "true"}, start_new_session=True,
        )  # fmt: skip
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}/"
        if process.poll() is not None:
            break
        time.sleep(0.1)
    stop(process)
    raise AssertionError(f"the dashboard did not start: {log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and its children, which have a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


# Streamlit is done when its script is and the page stays as it is.
QUIET = """() => {
    const app = document.querySelector('[data-testid="stApp"]')
    if (window.watched !== app) {
        window.watched = app
        window.changed = performance.now()
        new MutationObserver(() => window.changed = performance.now())
            .observe(document.body, {attributes: true, childList: true, subtree: true, characterData: true})
    }
    if (!app || app.dataset.testScriptState !== "notRunning" || document.querySelector('[data-testid="stSkeleton"]'))
        window.changed = performance.now()
    return performance.now() - window.changed > 250
}"""
# Counts the beginnings and ends of runs, so that an act is not over before it began.
COUNT = """() => {
    window.runs = 0
    window.counter?.disconnect()
    window.counter = new MutationObserver(() => window.runs++)
    window.counter.observe(document.querySelector('[data-testid="stApp"]'),
        {attributes: true, attributeFilter: ["data-test-script-state"]})
}"""
SAYS = """text => document.querySelector('[data-testid="stMain"]').innerText.includes(text)"""


class Tab:
    """A browser tab on the dashboard that knows when Streamlit is done."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.outside: list[str] = []
        page.on("request", lambda r: self.outside.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None)
        page.set_default_timeout(60_000)

    def open(self, path: str = "") -> Tab:
        """Go to a page and wait until it is drawn."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1")
        return self.settle()

    def settle(self) -> Tab:
        """Wait until the script has run, and nothing on the page changes for a quarter of a second from now."""
        self.page.evaluate("window.changed = performance.now()")
        self.page.wait_for_function(QUIET, polling=50)
        return self

    def act(self, do: Callable[[], Any]) -> Tab:
        """Do what makes the script run again, and wait until that has run."""
        self.page.evaluate(COUNT)
        do()
        self.page.wait_for_function("window.runs > 0", polling=50)
        return self.settle()

    def follow(self, link: str, to: str) -> Tab:
        """Click a link in the main part, and wait for the page it leads to."""
        self.page.get_by_test_id("stMain").get_by_role("link", name=link).first.click()
        self.page.wait_for_url(f"**/{to}?**")
        return self.settle()

    def choose(self, label: str) -> Tab:
        """Choose a tab of a page, or another of its segmented choices."""
        return self.act(self.page.get_by_test_id("stMain").get_by_role("radio", name=label, exact=True).first.click)

    def words(self) -> str:
        """The text of the main part."""
        return str(self.page.inner_text('[data-testid="stMain"]'))

    def says(self, text: str) -> Tab:
        """Wait until the main part has a text."""
        try:
            self.page.wait_for_function(SAYS, arg=text, polling=50)
        except Exception as e:
            raise AssertionError(f"{text!r} is not on the page: {self.words()}") from e
        return self

    def metric(self, label: str) -> str:
        """The figure under a label."""
        box = (
            self.page.locator('[data-testid="stMetric"]')
            .filter(has=self.page.get_by_text(re.compile(rf"^{re.escape(label)}$")))
            .first
        )
        return str(box.locator('[data-testid="stMetricValue"]').inner_text()).strip()

    def cells(self, table: int) -> list[list[str]]:
        """The rows of the n-th table that are drawn, in the words a screen reader gets."""
        found = self.page.locator('[data-testid="stDataFrame"]').nth(table)
        found.scroll_into_view_if_needed()
        found.locator('[role="gridcell"]').first.wait_for(state="attached")
        rows = found.locator('tbody [role="row"]').all()
        return [row.locator('[role="gridcell"]').all_text_contents() for row in rows]

    def chart(self, about: str) -> Any:
        """The chart with this text for those who do not see it."""
        found = self.page.get_by_label(about, exact=True).last
        found.scroll_into_view_if_needed()
        self.settle()
        return found

    def brush(self, about: str, begin: float = 0.4, end: float = 0.6) -> Tab:
        """Drag across a chart, and wait until the window of the page is another."""
        box = self.chart(about).bounding_box()
        y = box["y"] + box["height"] / 2
        before = self.page.url
        self.page.mouse.move(box["x"] + box["width"] * begin, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * (begin + end) / 2, y, steps=6)
        self.page.mouse.move(box["x"] + box["width"] * end, y, steps=6)
        self.page.mouse.up()
        self.page.wait_for_url(lambda url: url != before and "since=" in url)
        return self.settle()

    def row(self, table: int, n: int, at: int = 90) -> Tab:
        """Click the n-th row of a table, so many pixels from its left."""
        found = self.page.locator('[data-testid="stDataFrame"]').nth(table)
        found.scroll_into_view_if_needed()
        self.settle()
        return self.act(lambda: found.click(position={"x": at, "y": 33 + 31 * n + 15}))
