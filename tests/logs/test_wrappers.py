"""The same entries however they were collected: wrapped, prefixed, cut, coloured, or in another encoding."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import event, imported, rows

from .helpers import read

LINES = [
    'I0501 10:00:00.123456    2411 kubelet.go:2345] "SyncLoop ADD" source="api" pods=["default/web-0"]',
    'E0501 10:00:01.223456    2411 pod_workers.go:1300] "Error syncing pod, skipping" err="failed to \\"StartContainer\\"" pod="a/b"',
    'I0501 10:00:02.223456    2411 httplog.go:132] "HTTP" verb="GET" URI="/api/v1/pods" latency="1.2ms" userAgent="a" audit-ID="q" '
    'srcIP="192.0.2.1:1" resp=200',
    'I0501 10:00:03.223456    2411 trace.go:236] Trace[1]: "Get" url:/x (01-May-2024 10:00:02.000) (total time: 1000ms):',
    'Trace[1]: ---"About to write a response" 999ms (10:00:03.000)',
    "Trace[1]: [1s] [1s] END",
    "W0501 10:00:04.223456    2411 x.go:1] plain text",
]


def each(form: str) -> Callable[[], str]:
    return lambda: "".join(form.replace("%s", line) + "\n" for line in LINES)


def docker(cut: int = 1 << 20) -> str:
    pieces = [p for line in LINES for p in ([line[:cut], line[cut:] + "\n"] if len(line) > cut else [line + "\n"])]
    return "".join(json.dumps({"log": p, "stream": "stderr", "time": "2024-05-01T10:00:00.1Z"}) + "\n" for p in pieces)


def journal() -> str:
    entry = {"__REALTIME_TIMESTAMP": "1714557600123456", "_HOSTNAME": "node1", "_SYSTEMD_UNIT": "kubelet.service"}
    return "".join(json.dumps(entry | {"MESSAGE": line}) + "\n" for line in LINES)


def cri_cut() -> str:
    return "".join(
        f"2024-05-01T10:00:00.1Z stderr P {line[:60]}\n2024-05-01T10:00:00.1Z stderr F {line[60:]}\n" for line in LINES
    )


FORMS: dict[str, Callable[[], str]] = {
    "bare": each("%s"),
    "CRLF": lambda: "\r\n".join(LINES) + "\r\n",
    "byte order mark": lambda: "\ufeff" + "\n".join(LINES) + "\n",
    "no last newline": lambda: "\n".join(LINES),
    "coloured lines": each("\x1b[36m%s\x1b[0m"),
    "coloured severity": lambda: "".join(f"\x1b[1;32m{line[0]}\x1b[0m{line[1:]}\n" for line in LINES),
    "CRI": each("2024-05-01T10:00:00.123456789Z stderr F %s"),
    "CRI, east of UTC": each("2024-05-01T12:00:00.123456789+02:00 stderr F %s"),
    "CRI, cut lines": cri_cut,
    "docker": docker,
    "docker, cut lines": lambda: docker(50),
    "kubectl logs --timestamps": each("2024-05-01T10:00:00.123456789Z %s"),
    "kubectl logs --prefix": each("[pod/kube-apiserver-a/kube-apiserver] %s"),
    "kubectl logs --prefix --timestamps": each("[pod/kube-apiserver-a/kube-apiserver] 2024-05-01T10:00:00.123456789Z %s"),
    "journalctl": each("May 01 10:00:00 node1 kube-apiserver[2411]: %s"),
    "journalctl, head": lambda: "-- Logs begin at Wed 2024-05-01 00:00:00 UTC. --\n" + FORMS["journalctl"](),
    "journalctl -o short-precise": each("May 01 10:00:00.123456 node1 kubelet[2411]: %s"),
    "journalctl -o short-iso": each("2024-05-01T12:00:00+0200 node1 kubelet[2411]: %s"),
    "journalctl -o short-full": each("Wed 2024-05-01 10:00:00 UTC node1 kubelet[2411]: %s"),
    "journalctl -o short-unix": each("1714557600.123456 node1 kubelet[2411]: %s"),
    "journalctl -o json": journal,
    "syslog": each("<30>May  1 10:00:00 node1 kubelet[2411]: %s"),
    "RFC 5424": each("<30>1 2024-05-01T10:00:00.1Z node1 kubelet 2411 - - %s"),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_entries_are_the_same(name: str) -> None:
    found = read(FORMS[name]().encode())
    found.accounted()
    assert found.rejects == []
    assert [(r["severity"], r["file"], r["pid"]) for r in found.rows["klog"]] == [
        ("I", "kubelet.go", 2411), ("E", "pod_workers.go", 2411), ("I", "httplog.go", 2411), ("I", "trace.go", 2411), ("W", "x.go", 2411),
    ]  # fmt: skip
    assert found.rows["klog"][1]["fields"] == {"err": 'failed to "StartContainer"', "pod": "a/b"}
    assert [f"{r['time']:%Y-%m-%dT%H:%M:%S.%f}" for r in found.rows["klog"]] == [
        f"2024-05-01T10:00:0{n}.{'123456' if n == 0 else '223456'}" for n in range(5)
    ]
    assert [(r["code"], r["audit_id"]) for r in found.rows["httplog"]] == [(200, "q")]
    assert [(r["seq"], r["total_ms"], r["step_ms"], r["ended"]) for r in found.rows["trace"]] == [
        (0, 1000.0, 1000.0, True), (1, 1000.0, 999.0, True),
    ]  # fmt: skip
    assert {r["message"] for r in found.rows["klog"]} >= {"SyncLoop ADD", "plain text"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_what_powershell_writes(encoding: str, tmp_path: Path) -> None:
    """`kubectl logs … > file` there is UTF-16 with a mark."""
    content = ("\ufeff" + "\r\n".join(LINES * 3000) + "\r\n").replace("plain text", "größer 🙂").encode(encoding)
    file = tmp_path / "apiserver.log"
    file.write_bytes(content)
    total = imported(tmp_path / "lake", file).total()
    assert (total["lines"], total["rows"]["klog"], total["rejects"]) == (21000, 15000, 0)
    assert rows(tmp_path / "lake", "select distinct message from klog where severity = 'W'") == [("größer 🙂",)]
    file.write_bytes(gzip.compress(b"\xff\xfe"))  # nothing but the mark, and that inside
    imported(tmp_path / "other", file)


@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["marked", "bare"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
@pytest.mark.parametrize("form", ["jsonl", "csv", "tabs"])
def test_tables_and_lines_in_utf_16(form: str, encoding: str, mark: str, tmp_path: Path) -> None:
    """Excel's "Unicode Text" is UTF-16 with tabs; a mark may have been cut off, as by `head -c` or a copy without it."""
    made = [event(n, user={"username": "jürgen 🙂", "groups": ["dev"]}) for n in range(3)]
    lines = [json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in made]
    if form != "jsonl":
        out = io.StringIO()
        table = csv.writer(out, delimiter="," if form == "csv" else "\t")
        table.writerows([("@timestamp", "@message"), *((e["stageTimestamp"], line) for e, line in zip(made, lines, strict=True))])
        lines = out.getvalue().splitlines()
    file = tmp_path / "export"
    file.write_bytes((mark + "\r\n".join(lines) + "\r\n").encode(encoding))
    total = imported(tmp_path / "lake", file).total()
    assert (total["lines"], total["rows"]["audit"], total["rejects"]) == (len(lines), 3, 0)
    found = rows(tmp_path / "lake", "select distinct username, count(*) over () from audit")
    assert found == [("jürgen 🙂", 3)]


def test_logs_of_other_processes() -> None:
    text = (
        '{"level":"warn","ts":"2024-05-01T10:00:00.123Z","caller":"etcdserver/util.go:170","msg":"apply request took too long","took":"1.2s"}\n'
        '{"level":"info","ts":"2024-05-01T12:00:01.5+0200","logger":"raft","caller":"etcdserver/zap_raft.go:77","msg":"became leader at term 2"}\n'
        '{"level":"info","ts":1714557602.5,"caller":"etcdmain/etcd.go:73","msg":"Running: ","args":["etcd"]}\n'
        "2024-05-01 10:00:03.500000 W | etcdserver: apply entries took too long [1.2s for 1 entries]\n"
        'time="2024-05-01T10:00:04.500000000Z" level=error msg="StopPodSandbox failed" error="x"\n'
        'May 01 10:00:05 node1 containerd[1]: time="2024-05-01T12:00:05.500000000+02:00" level=info msg="StopPodSandbox"\n'
        'I0501 10:00:06.500000       1 proxier.go:850] "SyncProxyRules complete" elapsed="50.1ms"\n'
        'I0501 10:00:07.500000       1 kubelet.go:1] "Path" dir="C:\\\\var\\\\lib\\\\kubelet" err="open \\"C:\\\\x\\": no"\n'
    )
    found = read(text.encode())
    found.accounted()
    assert not found.rejects
    assert "".join(r["severity"] for r in found.rows["klog"]) == "WIIWEIII"
    assert [f"{r['time']:%H:%M:%S}" for r in found.rows["klog"]] == [f"10:00:0{n}" for n in range(8)]
    assert found.rows["klog"][0]["kind"] == "etcd.slow"
    assert found.rows["klog"][7]["fields"] == {"dir": "C:\\var\\lib\\kubelet", "err": 'open "C:\\x": no'}
