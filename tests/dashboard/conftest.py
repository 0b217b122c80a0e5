"""Lakes to look at, pages run without a browser, and one server with a browser for those that need it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

pytest.importorskip("streamlit")

from conftest import CAPTURES, day, event, write
from streamlit.testing.v1 import AppTest

from auditlens.importing.files.run import import_files

from .helpers import APP, HOSTILE, ROOT, Tab, serve, stop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What Streamlit and its friends warn about is theirs."""
    for item in items:
        if "tests/dashboard" in str(item.path):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clusters, a few hundred events, one rejected line."""
    directory = tmp_path_factory.mktemp("small")
    one = write(directory / "one" / "audit.log", list(day(240)))
    two = write(directory / "two" / "audit.log", list(day(40, first=1000)))
    bad = write(directory / "bad" / "audit.log", b'{"kind":"Event","apiVersion":"audit.k8s.io/v1", <script>broken\n')
    import_files([one, bad], directory / "lake", cluster="east")
    import_files([two], directory / "lake", cluster="west")
    return directory / "lake"


@pytest.fixture(scope="session")
def hostile_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose users, clients, objects and messages are all hostile."""
    directory = tmp_path_factory.mktemp("hostile")
    events = []
    for n, text in enumerate(HOSTILE * 3):
        verb, code = ("create", 201) if n % 3 else ("delete", 403)
        events.append(
            event(
                n, verb=verb, user={"username": text, "groups": [text]}, userAgent=f"{text}/1.0",
                requestURI=f"/api/v1/namespaces/shop/pods/x?command={n}",
                objectRef={"resource": "pods", "namespace": text[:200], "name": text, "apiVersion": "v1"},
                responseStatus={"metadata": {}, "code": code, "message": text, "reason": "Forbidden" if code == 403 else None},
                responseObject={"kind": "Pod", "apiVersion": "v1", "metadata": {"name": text, "namespace": text[:200], "uid": f"u{n}", "resourceVersion": str(n + 1)}},
                annotations={"authorization.k8s.io/decision": "allow" if code == 201 else "forbid", "authorization.k8s.io/reason": text},
            )
        )  # fmt: skip
    import_files(
        [write(directory / "audit.log", events), write(directory / "rejected.log", f"{{ {HOSTILE[0]}\n".encode())],
        directory / "lake",
    )
    return directory / "lake"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Run a page, as `page(lake, "object?object=pods/x")`; what it raised is a failure."""

    def run(lake: Path, url: str = "", *, check: bool = True) -> AppTest:
        monkeypatch.setenv("AUDITLENS_LAKE", str(lake))
        name, _, query = url.partition("?")
        app = AppTest.from_file(str(APP), default_timeout=60)
        if name:
            app.switch_page(f"views/{name}.py")
        for key, value in parse_qsl(query):
            app.query_params[key] = value
        app.run()
        if check:
            assert not app.exception, [(e.message, e.stack_trace) for e in app.exception]
            assert not [e for e in app.error if "This page failed" in e.value], "see the captured log"
        return app

    return run


# --- a server and a browser


@pytest.fixture(scope="session")
def capture_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real captures, with the apiserver's own log; else the sample logs."""
    lake = tmp_path_factory.mktemp("capture") / "lake"
    run = CAPTURES / "everything"
    with contextlib.chdir(run if run.exists() else ROOT):  # sources are named as they were given; pictures show them
        import_files(["audit.log.gz", "apiserver.log.gz"] if run.exists() else ["sample-logs"], lake)
    return lake


@pytest.fixture(scope="session")
def server(capture_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard on the captures."""
    process, url = serve(capture_lake, tmp_path_factory.mktemp("server") / "log")
    yield url
    stop(process)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's chromium under Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    binary = next(
        (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None
    )
    if binary is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    ]  # fmt: skip
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=binary, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, server: str) -> Iterator[Tab]:
    """A fresh tab, light, 1280 by 800."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="light", timezone_id="Europe/Berlin", accept_downloads=True
    )
    yield Tab(context.new_page(), server)
    context.close()
