"""Log text as people post it: what `grep`, `tail`, `stern` and old releases leave of it."""

from __future__ import annotations

import pytest

from .helpers import Read, exact_path, read

_OLD = b"I1013 15:37:03.410591    3575 panics.go:76] GET /api/v1/namespaces/e2e/pods/p-%d: (5.001314652s) 500\n"
_TRACE = (
    b'I0306 23:52:33.125600      12 trace.go:236] Trace[%d]: "Get" url:/api/v1/nodes/n1,verb:GET (06-Mar-2024 23:52:31.608) (total time: 1517ms):\n'
    b'Trace[%d]: ---"About to write a response" 1517ms (23:52:33.125)\n'
    b"Trace[%d]: [1.517s] [1.517s] END\n"
)


def both(data: bytes) -> Read:
    """Read in bulk and one by one: the same."""
    found = read(data)
    found.accounted()
    with exact_path():
        exact = read(data)
    assert exact.rows == found.rows
    assert exact.counts == found.counts
    return found


def prefixed(data: bytes, *prefixes: bytes) -> bytes:
    """Each line behind its prefix; the last prefix is that of all further lines."""
    lines = data.splitlines(keepends=True)
    return b"".join(prefixes[min(n, len(prefixes) - 1)] + line for n, line in enumerate(lines))


def steps(found: Read) -> list[tuple[str, str | None]]:
    return [(row["trace_id"], row["step"]) for row in found.rows["trace"]]


def test_lines_of_old_requests_without_the_client() -> None:
    stack = (
        b"I1013 15:37:03.353818    3575 panics.go:76] GET /api/v1/pods: (5.002098194s) 500\ngoroutine 1054128 [running]:\nk8s.io/x(0x1)\n"
        b'\t/go/src/x.go:219 +0xbb\n\nlogging error output: "k8s timed out"\n [[load.test/v1.5.0 (linux/amd64)] 192.0.2.4:41234]\n'
    )
    whole = b"I0422 05:59:27.522983       5 handlers.go:161] GET /api/v1/x: (485.859\xc2\xb5s) 200 [[kcm/v1.3.0 (linux)] 127.0.0.1:34234]\n"
    torn = stack.partition(b"\n [[")[0] + b"\n"
    found = both(stack + _OLD % 1 + _OLD % 2 + torn + whole)
    assert [(r["code"], r["user_agent"], r["source_ip"]) for r in found.rows["httplog"]] == [
        (500, "load.test/v1.5.0 (linux/amd64)", "192.0.2.4"), (500, None, None), (500, None, None), (500, None, None),
        (200, "kcm/v1.3.0 (linux)", "127.0.0.1"),
    ]  # fmt: skip
    assert [bool(r["status_stack"]) for r in found.rows["httplog"]] == [True, False, False, True, False]
    assert found.rows["httplog"][3]["added_info"] == 'logging error output: "k8s timed out"'
    assert not both(b"I1013 15:37:03.410591    3575 x.go:76] GET /x: (1s) 500 more words\n").rows["httplog"]


@pytest.mark.parametrize(
    ("message", "audit_id"),
    [
        (b'timeout or abort while handling: GET "/api/v1/pods?a=\\"b\\""', None),
        (b'timeout or abort while handling: method=GET URI="/api/v1/pods?a=\\"b\\"" audit-ID="id-1"', "id-1"),
        (
            b'"Timeout or abort while handling" method="GET" URI="/api/v1/pods?a=\\"b\\"" auditID="id-1" logger="UnhandledError"',
            "id-1",
        ),
    ],
)
def test_what_was_cut_off_names_its_request(message: bytes, audit_id: str | None) -> None:
    found = both((b"E0101 00:00:03.000001       1 wrap.go:54] " + message + b"\n") * 3)
    row = found.rows["klog"][0]
    assert (row["kind"], row["audit_id"]) == ("http.aborted", audit_id) or row["audit_id"] == audit_id
    assert row["fields"]["method"] == "GET"
    assert row["fields"]["URI"] == '/api/v1/pods?a="b"'


def test_heads_of_tail_name_the_instance() -> None:
    entry = b"I0306 23:52:33.125600      12 a.go:1] one\n"
    found = both(b"==> /var/log/cp-1.log <==\n" + entry * 3 + b"goroutine 1 [running]:\n\n==> cp-2.log <==\n" + entry)
    assert [(r["instance"], r["message"].count("\n")) for r in found.rows["klog"]] == [
        ("/var/log/cp-1.log", 0), ("/var/log/cp-1.log", 0), ("/var/log/cp-1.log", 1), ("cp-2.log", 0),
    ]  # fmt: skip
    assert found.rejects == []


PREFIXES = {
    "stern": (b"kube-apiserver-cp-1 kube-apiserver ",),
    "journald": (b"Mar 06 23:52:33 cp-1 kube-apiserver[12]: ",),
    "unknown": (b"??? ",),
    "a tool's own time": (b"[web 23:52:33.125] ", b"[web 23:52:33.126] "),
    "grep -n": (b"1:", b"2-", b"3-"),
    "grep -C": (b"audit-2026-11-23T04-52-32.147.log:9:", b"audit-2026-11-23T04-52-32.147.log-10-", b"audit-2026-11-23T04-52-32.147.log-11-"),
    "grep -H": (b"/var/log/a.log:", b"/var/log/a.log-"),
    "first line only": (b"??? ", b""),
    "journald, first line only": (b"Mar 06 23:52:33 cp-1 kube-apiserver[12]: ", b""),
}  # fmt: skip


@pytest.mark.parametrize("name", PREFIXES)
def test_the_text_under_a_header_stays_with_it(name: str) -> None:
    panic = b"E0306 23:52:33.125600      12 a.go:1] panic\ngoroutine 1 [running]:\n\t/a.go:1 +0x1\n"
    found = both(prefixed(_TRACE % (1, 1, 1), *PREFIXES[name]) + prefixed(panic, *PREFIXES[name]))
    assert found.rejects == []
    assert steps(found) == [("1", None), ("1", "About to write a response")]
    assert found.rows["trace"][0]["ended"]
    assert found.rows["klog"][-1]["message"] == "panic\ngoroutine 1 [running]:\n\t/a.go:1 +0x1"


def test_lines_of_two_pods_do_not_mix() -> None:
    """Also when they come by turns and their traces bear one number."""
    lines = [prefixed(_TRACE % (1, 1, 1), b"kube-apiserver-cp-%d kube-apiserver " % n).splitlines(keepends=True) for n in (1, 2)]
    found = both(b"".join(line for pair in zip(*lines, strict=True) for line in pair))
    assert found.rejects == []
    assert [(row["instance"], row["step"]) for row in found.rows["trace"] if row["step"]] == [
        ("kube-apiserver-cp-1", "About to write a response"), ("kube-apiserver-cp-2", "About to write a response"),
    ]  # fmt: skip


def test_what_stands_behind_a_separator_of_grep_does_not_belong_to_what_was_before() -> None:
    found = both(prefixed((_TRACE % (1, 1, 1)).splitlines(keepends=True)[0], b"9:") + b"--\n40-goroutine 1 [running]:\n")
    assert [r.text for r in found.rejects] == [b"goroutine 1 [running]:"]
    assert found.rows["klog"][0]["message"].count("\n") == 0


def test_the_trace_format_of_2016() -> None:
    found = both(
        b'I0416 21:46:35.128548       6 trace.go:57] Trace "ExtractToList *api.PodList" (started 2016-04-16 21:30:51.60213102 +0800 CST):\n'
        b"[6.428\xc2\xb5s] [6.428\xc2\xb5s] About to list etcd node\n[15m43.526294273s] [15m43.526287845s] Etcd node listed\n"
        b"[15m43.526381672s] [7.448\xc2\xb5s] END\n"
    )
    assert [(r["step"], r["step_ms"] and round(r["step_ms"])) for r in found.rows["trace"]] == [
        (None, 943526), ("About to list etcd node", 0), ("Etcd node listed", 943526),
    ]  # fmt: skip
    assert found.rows["klog"][0]["time"].isoformat() == "2016-04-16T13:46:35.128548+00:00"
