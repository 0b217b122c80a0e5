"""Log text as people post it: what `grep`, `tail`, `stern` and old releases leave of it."""

from __future__ import annotations

import pytest

from .helpers import Read, exact_path, read

_OLD = b"I1013 15:37:03.410591    3575 panics.go:76] GET /api/v1/namespaces/e2e/pods/p-%d: (5.001314652s) 500\n"


def both(data: bytes) -> Read:
    """Read in bulk and one by one: the same."""
    found = read(data)
    found.accounted()
    with exact_path():
        exact = read(data)
    assert exact.rows == found.rows
    assert exact.counts == found.counts
    return found


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
