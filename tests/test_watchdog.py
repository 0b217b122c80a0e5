"""The tests' own processes end with the tests."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import watchdog

TESTS = """
import multiprocessing, os, subprocess, sys, time

def _rest():
    time.sleep(600)

def test_it():
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], start_new_session=True)
    multiprocessing.get_context("spawn").Process(target=_rest).start()
    multiprocessing.get_context("forkserver").Process(target=_rest).start()
    time.sleep(2)
    print(os.environ["AUDITLENS_TEST_RUN"], flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="without /proc nothing can be told of other processes")
@pytest.mark.parametrize("end", ["killed", "terminated"])
def test_no_child_of_a_killed_run_goes_on(tmp_path: Path, end: str) -> None:
    (tmp_path / "test_inner.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-c", "/dev/null", "--rootdir", tmp_path, "-p", "conftest", tmp_path]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        marker = next(line.strip() for line in run.stdout if len(line.strip()) == 32)
        assert len(watchdog.marked(marker)) >= 5
        run.kill() if end == "killed" else run.terminate()
        run.wait(60)
        until = time.monotonic() + 60
        while watchdog.marked(marker):
            assert time.monotonic() < until, watchdog.marked(marker)
            time.sleep(0.1)
