"""Log files become committed rows: the seed sample, several shapes in one file, repeats, redaction."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import event, imported, rows, text, write

DATA = Path(__file__).parent / "data"

SEED = b"""I0803 19:59:19.929262       1 trace.go:76] Trace[1449222206]: "Create /api/v1/namespaces/default/events" \
(started: 2018-08-03 19:59:19.001777279 +0000 UTC m=+25.386403121) (total time: 927.484579ms):
Trace[1449222206]: [927.401927ms] [927.279642ms] Object stored in databaseI0803 19:59:20.402215       1 controller.go:537] \
quota admission added evaluator for: { endpoints}
"""


def test_the_seed_sample(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    report = imported(lake, write(tmp_path / "apiserver.log", SEED)).total()
    assert (report["lines"], report["records"], report["items"], report["rejects"]) == (2, 2, 0, 0)
    assert rows(lake, "select time::varchar, file, message from klog order by line")[1] == (
        "2018-08-03 19:59:20.402215+00", "controller.go", "quota admission added evaluator for: { endpoints}",
    )  # fmt: skip
    assert rows(lake, "select seq, trace_id, name, step, step_ms, at_ms, total_ms, ended from trace order by seq") == [
        (0, "1449222206", "Create /api/v1/namespaces/default/events", None, 927.484579, 0.0, 927.484579, False),
        (
            1,
            "1449222206",
            "Create /api/v1/namespaces/default/events",
            "Object stored in database",
            927.279642,
            927.401927,
            927.484579,
            False,
        ),
    ]


def test_audit_lines_and_log_lines_in_one_file(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    log = [line + b"\n" for line in (DATA / "httplog.log").read_bytes().splitlines()]
    audit = [text(event(n)) for n in range(40)]
    mixed = b"".join(piece for n, line in enumerate(log) for piece in (line, *audit[2 * n : 2 * n + 2])) + b"".join(
        audit[2 * len(log) :]
    )
    total = imported(lake, write(tmp_path / "stdout.log", mixed)).total()
    assert total["rows"] == {"audit": 40, "klog": 15}
    assert total["derived"]["httplog"] == 15
    assert total["rejects"] == 0


def test_the_same_file_again_adds_nothing(tmp_path: Path) -> None:
    lake, file = tmp_path / "lake", write(tmp_path / "a.log", (DATA / "klog.log").read_bytes())
    first = imported(lake, file).total()
    again = imported(lake, file, write(tmp_path / "copy.log.gz", file.read_bytes())).total()
    assert (first["rows"]["klog"], again["rows"].get("klog", 0), again["duplicates"]) == (20, 0, 40)
    assert rows(lake, "select count(*) from klog") == [(20,)]


def test_wrapped_entries_keep_what_the_wrapper_knew(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lines = (DATA / "httplog.log").read_bytes().splitlines()[9:11]
    cri = b"".join(b"2024-01-02T10:00:1%d.000000000Z stderr F %b\n" % (n, line) for n, line in enumerate(lines))
    imported(lake, write(tmp_path / "0.log", cri))
    assert rows(lake, "select time_source, count(*) from klog group by 1") == [("wrapper", 2)]
    assert rows(lake, "select count(*) from httplog") == [(2,)]


def test_nothing_secret_reaches_the_lake(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    token = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
    extra = (
        b'I0803 10:00:00.000000       1 httplog.go:132] "HTTP" verb="GET" URI="/api/v1/x?access_token=hunter2secret" latency="1ms" '
        b'userAgent="a" audit-ID="a" srcIP="192.0.2.1:1" resp=200\n'
        b"I0803 10:00:01.000000       1 a.go:1] header Authorization: Bearer hunter2secret-0123456789\n"
        b'I0803 10:00:02.000000       1 a.go:1] "x" token="' + token + b'" other="y"\n'
        b'I0803 10:00:03.000000       1 a.go:1] "x" err="body {\\"kind\\":\\"Secret\\",\\"data\\":{\\"p\\":\\"aHVudGVyMg==\\"}}"\n'
        b'I0803 10:00:04.000000       1 request.go:1] Request Body: {"kind":"Secret","data":{"p":"aHVudGVyMg=="}}\n'
        b'I0803 10:00:05.000000       1 httplog.go:132] "HTTP" verb="GET" URI="/x?%74oken=hunter2secret" latency="1ms" userAgent="a" '
        b'audit-ID="a" srcIP="192.0.2.1:1" resp=200\n'
        b'I0803 10:00:06.000000       1 httplog.go:132] "HTTP" verb="GET" URI="/x" latency="1ms" userAgent="' + token + b' x" '
        b'audit-ID="a" srcIP="192.0.2.1:1" resp=200\n'
        b'I0803 10:00:07.000000       1 trace.go:236] Trace[9]: "Get '
        + token
        + b'" url:/x,user-agent:'
        + token
        + b" (03-Aug-2018 "
        b"10:00:06.000) (total time: 1000ms):\n"
        b'Trace[9]: ---"Write ' + token + b' failed" err:Bearer hunter2secret-0123456789 900ms (10:00:06.900)\n'
        b"Trace[9]: [1s] [1s] END\n"
    )
    files = [write(tmp_path / f"{p.stem}.log", p.read_bytes()) for p in DATA.glob("kubectl-*.log")]
    imported(lake, write(tmp_path / "extra.log", extra), *files)
    everything = repr(
        [rows(lake, f"select t::varchar from {t} as t") for t in ("klog", "httplog", "trace", "kubectl", "rejects")]
    )
    for secret in ("hunter2", "aHVudGVy", "sekrit", "eyJhbGci", "RSUzI1"):
        assert secret not in everything, secret
    kept = rows(lake, "select response_body from kubectl where audit_id = '3f0a'")[0][0]
    assert '"kind":"Secret"' in kept and "redacted:hmac:" in kept


def test_without_redaction_all_is_kept(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    imported(lake, write(tmp_path / "k.log", (DATA / "kubectl-new.log").read_bytes()), redact=False)
    assert "aHVudGVyMg==" in rows(lake, "select response_body from kubectl where audit_id = '3f0a'")[0][0]


def test_glog_copies_of_an_error_count_once(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    info = b"".join(b"%b0803 10:00:0%d.000000    4242 a.go:1] message %d\n" % (b"IWEE"[n : n + 1], n, n) for n in range(4))
    info += info.splitlines(keepends=True)[3]  # twice in the process itself: two entries
    head = b"Log file created at: 2018/08/03 10:00:00\n"
    files = [
        write(
            tmp_path / f"kube-apiserver.host.root.log.{name}.20180803-100000.4242",
            head + b"".join(line for line in info.splitlines(keepends=True) if line[:1] in levels),
        )
        for name, levels in (("INFO", b"IWEF"), ("WARNING", b"WEF"), ("ERROR", b"EF"))
    ]
    total = imported(lake, *files).total()
    assert (total["records"], total["rows"]["klog"], total["duplicates"]) == (12, 5, 7)
    assert rows(lake, "select severity, count(*) from klog group by 1 order by 1") == [("E", 3), ("I", 1), ("W", 1)]
    assert {name.rsplit(".", 3)[1] for (name,) in rows(lake, "select distinct source from klog")} == {"INFO"}
    assert imported(tmp_path / "alone", files[2]).total()["rows"]["klog"] == 3
