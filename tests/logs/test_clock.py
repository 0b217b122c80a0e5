"""Years and zones for stamps that have neither."""

from __future__ import annotations

import datetime as dt
import os
import threading
from pathlib import Path

import pytest
from conftest import auditlens, imported, rows, write

from auditlens.importing.files.follow import follow

from .helpers import read

MARCH_2021 = dt.datetime(2021, 3, 1, tzinfo=dt.UTC).timestamp()


def times(data: str, *, name: str = "kube-apiserver.log", latest: float = MARCH_2021) -> list[str]:
    rows = read(data.encode(), name=name, latest=latest).rows["klog"]
    return [f"{row['time']:%Y-%m-%dT%H:%M:%S} {row['time_source']}" if row["time"] else "unknown" for row in rows]


def line(stamp: str, text: str = "x") -> str:
    return f"I{stamp} 10:00:00.000000       1 a.go:1] {text}\n"


def test_the_latest_year_that_is_not_after_the_file() -> None:
    assert times(line("1231") + line("0101")) == ["2020-12-31T10:00:00 mtime", "2021-01-01T10:00:00 mtime"]
    assert times(line("0305")) == ["2020-03-05T10:00:00 mtime"]


def test_new_year_several_times_behind_a_date_in_the_file() -> None:
    data = "Log file created at: 2017/11/01 00:00:00\n" + "".join(map(line, ("1101", "0201", "0701", "1201", "0101", "0501")))
    assert [t[:10] for t in times(data)] == ["2017-11-01", "2018-02-01", "2018-07-01", "2018-12-01", "2019-01-01", "2019-05-01"]


def test_the_29th_of_february_needs_a_leap_year() -> None:
    assert times(line("0229")) == ["2020-02-29T10:00:00 mtime"]


def test_the_days_around_it_are_of_the_same_year() -> None:
    assert [t[:10] for t in times(line("1231") + line("0228") + line("0229") + line("0301"))] == [
        "2019-12-31", "2020-02-28", "2020-02-29", "2020-03-01",
    ]  # fmt: skip


def test_a_day_that_does_not_exist_has_no_time() -> None:
    assert times(line("1301") + line("0230")) == ["unknown", "unknown"]


@pytest.mark.parametrize(
    "name",
    [
        "kube-apiserver.host.root.log.INFO.20180803-195900.1",
        "kube-apiserver-2018-08-03T19-59-00.000.log.gz",
        "0.log.20180803-195900",
    ],
)
def test_the_name_of_the_file(name: str) -> None:
    assert times(line("0804"), name=name) == ["2018-08-04T10:00:00 name"]


def test_dates_in_the_text() -> None:
    trace = 'I0804 10:00:00.000000       1 trace.go:1] Trace[1]: "Get" url:/x (04-Aug-2018 09:59:59.000) (total time: 1000ms):\nTrace[1]: [1s] [1s] END\n'
    assert times(line("0803") + trace) == ["2018-08-03T10:00:00 text", "2018-08-04T10:00:00 text"]
    assert times("2018/08/03 10:00:00 http: panic serving 192.0.2.1:4: boom\n" + line("0803"))[1] == "2018-08-03T10:00:00 text"


def test_old_traces_tell_the_zone() -> None:
    data = (
        'I0803 12:00:00.000000       1 trace.go:1] Trace[1]: "Get" (started: 2018-08-03 11:59:59 +0200 CEST) (total time: 1s):\n'
        "Trace[1]: [1s] [1s] END\n"
    )
    found = read(data.encode()).rows
    assert f"{found['klog'][0]['time']:%H:%M:%S}" == "10:00:00"
    assert f"{found['trace'][0]['step_time']:%H:%M:%S}" == "09:59:59"


def test_a_wrapper_tells_year_and_zone() -> None:
    data = (
        "2019-12-31T23:30:00.5Z stderr F I0101 05:00:00.400000       1 a.go:1] half past five east\n"
        "2020-01-01T00:00:01.5+00:00 stderr F I0101 05:30:01.400000       1 a.go:1] again\n"
        "2020-01-01T00:00:02.5Z stderr F no header at all\n"
    )
    assert times(data)[:2] == ["2019-12-31T23:30:00 wrapper", "2020-01-01T00:00:01 wrapper"]


def entry(stamp: str) -> str:
    return f"I{stamp}.000000       1 a.go:1] x\n"


WRAPPED = "2024-01-29T01:40:52.834725774+01:00 E0129 00:40:52.834559       1 status.go:71] x\n"
EVENT = (
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"a","stage":"ResponseComplete","requestURI":"/x","verb":"get",'
    '"user":{"username":"u"},"requestObject":{"stageTimestamp":"2011-01-29T00:00:00.000000Z"},'
    '"requestReceivedTimestamp":"2024-01-29T00:40:52.000000Z","stageTimestamp":"2024-01-29T00:40:52.000000Z"}\n'
)
TRACE = (
    'I0129 00:40:53.000000       1 trace.go:1] Trace[1]: "Get" url:/x (29-Jan-2024 00:40:52.000) (total time: 1000ms):\n'
    "Trace[1]: [1s] [1s] END\n"
)


@pytest.mark.parametrize("dated", [WRAPPED, EVENT, TRACE, WRAPPED.replace("E0129", "master-1 E0129")])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("far", [False, True])
def test_a_date_anywhere_decides_for_the_whole_file(tmp_path: Path, dated: str, before: bool, far: bool) -> None:
    """Also where it stands behind the part that is read first, of two megabytes."""
    plain = entry("0129 00:40:52") * (60_000 if far else 3)
    log = write(tmp_path / "kube-apiserver.log", (dated + plain if before else plain + dated).encode())
    imported(tmp_path / "lake", log, redact=False)
    assert rows(tmp_path / "lake", "select distinct year(time), time_source <> 'mtime' from klog") == [(2024, True)]


@pytest.mark.parametrize(
    ("latest", "years"),
    [("2026-12-30T12:00", (2025, 2026)), ("2027-01-02T00:00", (2026, 2027)), ("2026-06-01T00:00", (2025, 2026))],
)
def test_a_year_turns_but_never_back(tmp_path: Path, latest: str, years: tuple[int, int]) -> None:
    moment = dt.datetime.fromisoformat(latest).replace(tzinfo=dt.UTC).timestamp()
    log = write(
        tmp_path / "kube-apiserver.log",
        "".join(map(entry, ("1230 10:00:00", "1231 23:59:59", "0101 00:00:01", "0101 00:00:00"))).encode(),
    )
    os.utime(log, (moment, moment))
    (source,) = imported(tmp_path / "lake", log).sources
    assert rows(tmp_path / "lake", "select year(time) from klog order by line") == [(years[0],)] * 2 + [(years[1],)] * 2
    assert source.guessed == 4


def test_a_followed_file_has_the_years_of_an_imported_one(tmp_path: Path) -> None:
    log = write(tmp_path / "kube-apiserver.log", (entry("0129 00:40:52") * 3 + WRAPPED + entry("0129 00:40:53")).encode())
    stop = threading.Event()
    stop.set()
    follow(log, tmp_path / "followed", redact=False, stop=stop)
    imported(tmp_path / "lake", log, redact=False)
    of_the_first = "select line, time, time_source from klog where line < 4 order by line"  # the last of a stream might go on
    assert rows(tmp_path / "followed", of_the_first) == rows(tmp_path / "lake", of_the_first)
    assert len(rows(tmp_path / "lake", of_the_first)) == 3


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    done = auditlens("import", write(tmp_path / "a.log", entry("0129 00:40:52").encode()), "--lake", tmp_path / "lake")
    assert b"nothing names the year of 1 log entries" in done.stderr
    done = auditlens("import", write(tmp_path / "b.log", WRAPPED.encode()), "--lake", tmp_path / "lake")
    assert b"year" not in done.stderr
