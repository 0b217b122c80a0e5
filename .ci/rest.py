"""Two runs of pytest share the work: the first writes down what passed (PASSED=FILE), the second leaves that out (REST_OF=FILE)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_passed: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep a passed test's id; of a test that was skipped there is no such report."""
    if report.when == "call" and report.passed:
        _passed.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write them, in the process that hears of all tests; that nothing is left over is no failure."""
    if os.environ.get("REST_OF") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
    if (path := os.environ.get("PASSED")) and not hasattr(session.config, "workerinput"):
        Path(path).write_text("\n".join(_passed), encoding="utf-8", errors="backslashreplace")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what passed."""
    if path := os.environ.get("REST_OF"):
        known = set(Path(path).read_text(encoding="utf-8").split("\n"))
        done = [i for i in items if i.nodeid in known]
        items[:] = [i for i in items if i.nodeid not in known]
        config.hook.pytest_deselected(items=done)
