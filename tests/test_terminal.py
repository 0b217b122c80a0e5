"""Answers on a terminal: every question at every width, nothing split that is one word, two lines a row at most."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from capture import captures
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from auditlens import ask, questions
from auditlens.importing.files.run import import_files
from auditlens.output import plain
from auditlens.output import shown as selected
from auditlens.terminal import records, table

WIDTHS = (80, 100, 120, 160, 200)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("terminal") / "lake"
    import_files([captures() / "full" / "audit.log.gz"], directory)
    return str(directory)


def rows_of(shown: str) -> list[str]:
    return shown.splitlines()[2:]


@pytest.mark.parametrize("question", sorted(questions()))
def test_every_question_fits_every_terminal(lake: str, question: str) -> None:
    answer = ask(lake, question)
    frame = selected(answer.frame.head(200), answer.show)
    if not frame.height:
        pytest.skip("the log has nothing for it")
    for width in WIDTHS:
        shown, _ = table(frame, width, lambda v: plain(str(v)))
        lines = shown.splitlines()
        assert max(map(cell_len, lines)) <= width, (width, shown)
        assert len(lines) - 2 <= 2 * frame.height
        kept = lines[0].split()
        assert kept, "at least one column is left"
        if "evidence" in frame.columns:
            assert "evidence" in kept
            for place in frame["evidence"].drop_nulls():
                assert f"{Path(place).name} " in shown or f"{Path(place).name}\n" in shown
        for name in (c for c in frame.columns if frame[c].dtype.is_numeric() and c in kept):
            for number in frame[name].drop_nulls():
                assert re.search(rf"(?<![\w.]){re.escape(plain(str(number)))}(?![\w.])", shown), (name, number)


def one(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


def test_what_all_times_share_is_told_once() -> None:
    at = dt.datetime(2026, 11, 23, 4, 56, 31, 658_123, dt.UTC)
    shown, notes = table(one(time=[at, at + dt.timedelta(seconds=1)]), 80, str)
    assert "04:56:31.658" in shown and "2026" not in shown
    assert notes == ["times are of 2026-11-23, UTC"]
    shown, notes = table(one(time=[at, at + dt.timedelta(days=1)]), 80, str)
    assert "11-24 04:56:31" in shown and notes == ["times are of 2026, UTC"]
    shown, notes = table(one(time=[at, at + dt.timedelta(days=365)]), 80, str)
    assert "2027-11-23 04:56:31" in shown and not notes


def test_what_has_no_room_is_named_and_the_rest_stays_whole() -> None:
    frame = one(
        time=[dt.datetime(2026, 11, 23, tzinfo=dt.UTC)], username=["system:serviceaccount:kube-system:deployment-controller"],
        object=["pods/shop/web-5d78c9869d-abcde"], client=["x" * 40], source_ip=["192.0.2.1"], evidence=["/var/log/audit.log:82"],
    )  # fmt: skip
    shown, notes = table(frame, 80, str)
    assert (
        "…:deployment-controller" in shown
        and "audit.log:82" in shown
        and "/var/log" not in shown
        and "web-5d78c9869d-abcde" in shown
    )
    assert notes[-1] == "no room at 80 columns for client, source_ip; -o records shows all, --wide in one line"


def test_a_short_form_is_not_taken_where_it_would_make_two_things_one() -> None:
    frame = one(evidence=["/a/audit.log:1", "/b/audit.log:1"], message=["x " * 60] * 2)
    assert "/a/audit.log:1" in table(frame, 60, str)[0]


def test_outcomes_are_coloured_and_nothing_else() -> None:
    frame = one(username=["forbidden"], outcome=["forbidden"])
    shown, _ = table(frame, 80, str, colour=True)
    assert shown.count("\x1b[31m") == 1 and shown.endswith("\x1b[0m\n")
    assert "\x1b" not in table(frame, 80, str)[0]


def on_a_terminal(columns: int, lines: int, *args: str, **env: str) -> str:
    """What a command shows on a terminal of that size."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "PAGER", "LESS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "auditlens", *args], stdin=inner, stdout=inner, stderr=inner, env=clean | {"TERM": "xterm"} | env
    )
    os.close(inner)
    shown = b""
    while True:
        try:
            data = os.read(outer, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    process.wait()
    os.close(outer)
    return shown.decode().replace("\r\n", "\n")


def test_a_command_fills_its_terminal_and_pages_what_is_longer(lake: str) -> None:
    shown = on_a_terminal(100, 50, "ask", "denied", "--lake", lake, "--limit", "5")
    assert shown.startswith("time ")
    assert "no room at 100 columns for" in shown and max(map(cell_len, shown.splitlines())) <= 120
    pager = "sed s/^/paged:/"
    assert "paged:time" in on_a_terminal(100, 20, "ask", "denied", "--lake", lake, PAGER=pager)
    assert "paged:" not in on_a_terminal(100, 50, "ask", "denied", "--lake", lake, "--limit", "3", PAGER=pager)
    assert "paged:" not in on_a_terminal(100, 20, "ask", "denied", "--lake", lake, "-o", "jsonl", PAGER=pager)


def test_an_effect_is_told_whole_before_how_sure_it_is() -> None:
    effect = "replicasets.apps/frontend-7cd5c87d85 in shop: spec.replicas 2 → 100"
    links = one(
        effect=[effect], username=["system:serviceaccount:kube-system:deployment-controller"], verb=["update"],
        time=["04:56:49.661"], audit_id=["46af6781-56c2-4d2b-aa2f-c9075122a052"], rule=["request: sent by deployment-controller"],
        sure=["certain"],
    )  # fmt: skip
    shown, notes = table(links, 100, str)
    assert " ".join(line[:44].strip() for line in shown.splitlines()[2:]) == effect
    assert notes == ["no room at 100 columns for rule, sure; -o records shows all, --wide in one line"]


def test_the_object_of_every_row_is_told_once_where_room_is_short() -> None:
    frame = one(time=["04:56:49"] * 2, object=["deployments/shop/frontend"] * 2, changed=["spec.replicas 2 → 100", "created"])
    shown, notes = table(frame, 50, str)
    assert notes == ["every row is of deployments/shop/frontend"] and "object" not in shown and "2 → 100" in shown
    assert table(frame, 100, str)[1] == [] and table(frame.head(1), 50, str)[1] == []
    other = frame.with_columns(object=pl.Series(["deployments/shop/frontend", "deployments/shop/backend"]))
    assert "backend" in table(other, 50, str)[0]


def test_a_record_is_a_field_a_line() -> None:
    shown = records(one(time=[None, 1], username=["alice", "b\nob"]), lambda v: plain(str(v)))
    assert shown.splitlines()[1] == "username  alice"
    assert "b\\nob" in shown and "time      1" in shown


@given(
    st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80), st.integers()), min_size=1, max_size=4),
    st.integers(20, 200),
)
def test_any_text_in_any_width(cells: list[tuple[str, str, int]], width: int) -> None:
    frame = pl.DataFrame(cells, schema={"username": pl.String, "message": pl.String, "n": pl.Int128}, orient="row", strict=False)
    shown, _ = table(frame, width, lambda v: plain(str(v)))
    lines = shown.split("\n")[:-1]
    assert len(lines) - 2 <= 2 * len(cells)
    assert all(cell_len(line) <= max(width, 42) for line in lines)  # a number is never cut
