"""The questions about the apiserver's log, and what curl and trace make of it, on a small lake."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from auditlens import engine, face
from auditlens.answers.questions import questions
from auditlens.catalogue import kind_of, messages, openings
from auditlens.errors import UsageError
from auditlens.lake import Lake
from tests.conftest import ask, event, imported, rows, text, write

DATA = Path(__file__).parent / "data"
ID = "11111111-0000-4000-8000-000000000001"
NOTES = {"total": "900ms", "etcd": "880.5ms", "authentication": "1.5ms", "apf-queue-wait": "10µs", "mutating-webhook": "1ms"}

MORE = b"""I0803 20:00:02.000000       1 httplog.go:132] "HTTP" verb="POST" URI="/api/v1/namespaces/default/pods" latency="905ms" \
userAgent="kubectl/v1.30.1" audit-ID="11111111-0000-4000-8000-000000000001" srcIP="192.0.2.10:1" apf_pl="workload-low" apf_fs="global" \
apf_iseats=1 apf_fseats=0 apf_additionalLatency="0s" apf_execution_time="900ms" resp=201
I0803 20:00:02.100000       1 httplog.go:132] "HTTP" verb="GET" URI="/api/v1/namespaces/a/pods" latency="1ms" userAgent="curl/8" \
audit-ID="u" srcIP="192.0.2.10:1" resp=401
E0803 20:00:02.099000       1 authentication.go:73] "Unable to authenticate the request" err="[invalid bearer token, token has expired]"
I0803 20:00:02.200000       1 httplog.go:132] "HTTP" verb="LIST" URI="/apis/apps/v1/deployments?limit=5" latency="2s" userAgent="x/1" \
audit-ID="v" srcIP="192.0.2.10:1" apf_pl="workload-low" apf_fs="global" apf_iseats=5 apf_fseats=0 apf_additionalLatency="0s" \
resp=429
I0803 20:00:02.250000       1 httplog.go:132] "HTTP" verb="POST" URI="/api/v1/namespaces/a/pods/b/eviction" latency="4ms" userAgent="x/1" \
audit-ID="w" srcIP="192.0.2.10:1" apf_pl="workload-low" apf_fs="global" apf_iseats=1 apf_fseats=0 apf_additionalLatency="0s" \
apf_execution_time="3ms" resp=429
I0803 20:00:02.300000       1 apf_controller.go:493] "Update CurrentCL" plName="workload-low" seatDemandHighWatermark=6 currentCL=42 backstop=false
I0803 20:00:02.400000       1 genericapiserver.go:586] "[graceful-termination] shutdown event" name="ShutdownInitiated"
I0803 20:00:02.500000       1 healthz.go:311] etcd check failed: readyz
[-]etcd failed: reason withheld
E0803 20:00:02.600000       1 wrap.go:54] "Timeout or abort while handling" method="POST" URI="/api/v1/namespaces/default/pods" \
auditID="11111111-0000-4000-8000-000000000001" logger="UnhandledError"
W0803 20:00:02.700000       1 logging.go:55] [core] [Channel #1 SubChannel #2] grpc: addrConn.createTransport failed to connect to {Addr: "x"}
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("logs")
    ref = {"resource": "pods", "namespace": "default", "apiVersion": "v1"}
    shared = {"auditID": ID, "verb": "create", "requestURI": "/api/v1/namespaces/default/pods", "objectRef": ref,
              "requestReceivedTimestamp": "2018-08-03T20:00:01.099000Z"}  # fmt: skip
    audit = text(
        event(**shared, stage="RequestReceived", responseStatus=None, annotations=None, stageTimestamp="2018-08-03T20:00:01.099000Z"),
        event(**shared, stageTimestamp="2018-08-03T20:00:02.000000Z", responseStatus={"code": 201}, requestObject={"kind": "Pod"},
              annotations={f"apiserver.latency.k8s.io/{k}": v for k, v in NOTES.items()}),
        event(auditID="u", stage="ResponseStarted", user={}, responseStatus={"code": 401}, annotations=None,
              requestReceivedTimestamp="2018-08-03T20:00:02.098000Z", stageTimestamp="2018-08-03T20:00:02.099500Z"),
    )  # fmt: skip
    client = (DATA / "kubectl-new.log").read_bytes().replace(b"3f0a", ID.encode())
    lake = folder / "lake"
    files = [write(folder / p.name, p.read_bytes()) for p in DATA.glob("*.log") if p.stem != "kubectl-new"]
    imported(lake, *files, write(folder / "more.log", b"Log file created at: 2018/08/03 19:00:00\n" + MORE), write(folder / "audit.log", audit),
             write(folder / "kubectl.log", client))  # fmt: skip
    return str(lake)


def test_every_log_question_answers(lake: str) -> None:
    found = {q.name for q in questions().values() if q.group == "apiserver log"}
    assert found == {"slow-requests", "where-time-goes", "request", "http-errors", "panics", "auth-failures", "flow-control",
                     "etcd-health", "lifecycle", "log-noise", "client-throttling", "timeouts", "traces"}  # fmt: skip
    for name in found:
        answer = ask(lake, name, **({"audit_id": ID} if name == "request" else {}))
        assert answer.height, name
        assert set(questions()[name].show) - {"evidence"} <= set(answer.columns), name


def test_one_request_from_all_sides(lake: str) -> None:
    line = ask(lake, "request", audit_id=ID)
    assert {side.split()[0] for side in line["side"]} == {"audit", "trace", "httplog", "log", "kubectl"}
    told = line.filter(line["side"] != "kubectl")
    assert told["what"].to_list()[:2] == ["RequestReceived", "Create"]


def test_time_is_attributed(lake: str) -> None:
    answer = ask(lake, "where-time-goes", audit_id=ID)
    trace = dict(answer.filter(told_by="trace").select("part", "ms").rows())
    audit = dict(answer.filter(told_by="audit").select("part", "ms").rows())
    assert trace["etcd"] == pytest.approx(881, abs=3)
    assert sum(trace.values()) == pytest.approx(900.1, abs=3)
    assert audit == {"etcd": 880.5, "authentication": 1.5, "queueing": 0.01, "admission": 1.0, "not told": pytest.approx(16.99)}


def test_failed_logins_have_their_reason(lake: str) -> None:
    answer = ask(lake, "auth-failures").to_dicts()
    assert [(row["reason"], row["audit_id"], row["told_by"]) for row in answer] == [
        ("[invalid bearer token, token has expired]", "u", "audit")
    ]


def test_flow_control_and_throttling(lake: str) -> None:
    row = ask(lake, "flow-control").filter(flow_schema="global").to_dicts()[0]
    assert (row["requests"], row["rejected"], row["limit_seats"], row["wait_max_ms"]) == (3, 1, 42, 2000.0)
    assert sorted(ask(lake, "client-throttling")["delay_ms"].to_list()) == [1100.0, 1100.0]


def test_what_cut_a_request_off(lake: str) -> None:
    answer = ask(lake, "timeouts")
    told = {row["audit_id"]: (row["cut_by"], row["told_by"]) for row in answer.to_dicts() if row["audit_id"]}
    assert told[ID] == ("timeout or abort", "log")
    assert told["v"] == ("flow control", "httplog")
    assert "w" not in told  # an eviction that a budget refused


@pytest.mark.parametrize("step", ["Etcd node listed", "Etcd node read", "Object read", "List extracted"])
def test_old_steps_that_waited_for_etcd(lake: str, step: str) -> None:
    assert rows(Path(lake), f"select trace_part('{step}')") == [("etcd",)]


def test_sessions_and_watches_are_not_slow(lake: str) -> None:
    answer = ask(lake, "slow-requests", told_by="http", min_ms=1000)
    assert not {"watch", "connect"} & set(answer["verb"])
    assert set(answer["resource"]) >= {"deployments"}


def test_a_trace_as_a_tree(lake: str) -> None:
    shown = face.trace(lake, ID).text
    assert "▾ GuaranteedUpdate etcd3" in shown and "█" in shown and "98%" in shown
    assert face.trace(lake, "1449222206").text.count("Object stored in database") == 1
    with pytest.raises(UsageError, match="no trace"):
        face.trace(lake, "nothing")


def test_a_curl_that_runs(lake: str, tmp_path: Path) -> None:
    for shown in (
        face.curl(str(DATA / "kubectl-old.log"), lake).text,
        face.curl(str(DATA / "kubectl-new.log"), lake).text,
        face.curl(ID, lake).text,
        face.curl("u", lake).text,
    ):
        assert "sekrit" not in shown.replace("token=sekrit-value", "")
        done = subprocess.run(["bash", "-n"], input=shown, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        for command in shown.split("\n\n"):
            words = shlex.split(command.replace("\\\n", " "), comments=True)
            assert "$TOKEN" in command and "curl" in words
    assert "base64 -d | curl -X POST" in face.curl(str(DATA / "kubectl-new.log"), lake).text
    with pytest.raises(UsageError):
        face.curl("nothing", lake)


def test_the_catalogue_is_complete() -> None:
    for message in messages():
        assert message.meaning.endswith(".") and message.action, message.kind
    assert all(len(text) > 2 for text in openings())


@pytest.mark.parametrize(
    ("message", "fields", "kind"),
    [
        ("Unable to authenticate the request due to an error: x", {}, "auth.failed"),
        ("Unhandled Error", {"err": "apiserver received an error that is not an metav1.Status: x"}, "response.no_status"),
        ('timeout or abort while handling: method=GET URI="/x" audit-ID="id"', {}, "timeout.abort"),
        ("post-timeout activity - time-elapsed: 3.5ms, GET \"/x\" result: <nil>", {}, "timeout.post"),
        ("apiserver panic'd on GET /x", {}, "panic"),
        ("http2: panic serving 192.0.2.1:5: boom", {}, "panic"),
        ("Failed calling webhook, failing open x: y", {}, "webhook.fail_open"),
        ("Error in audit plugin 'webhook' affecting 1 audit events: x", {}, "audit.lost"),
        ("QS(global-default): rejecting request \"x\" due to queue full", {}, "apf.rejected"),
        ("QS(global-default) at t=1 R=2: dispatching request", {}, None),
        ("watch chan error: etcdserver: mvcc: required revision has been compacted", {}, "etcd.compacted"),
        ("cacher (pods): unexpected ListAndWatch error: x; reinitializing...", {}, "cache.reinit"),
        ("Waited for 1.1s due to client-side throttling, not priority and fairness, request: GET:https://x", {}, "client.throttled"),
        ("Waited for caches to sync", {}, None),
        ("poststarthook/rbac/bootstrap-roles check failed: readyz\n[-]x", {}, "lifecycle.not_ready"),
        ("changing APIService availability", {"name": "x"}, "aggregator.changed"),
        ("hello", {}, None),
    ],
)  # fmt: skip
def test_kinds(message: str, fields: dict[str, str], kind: str | None) -> None:
    assert kind_of(message, fields) == kind


@pytest.mark.parametrize(
    ("uri", "resource", "subresource"),
    [
        ("/api/v1/namespaces/a/pods", "pods", None),
        ("/api/v1/namespaces/a/pods?limit=5", "pods", None),
        ("/api/v1/namespaces/a/pods/b", "pods", None),
        ("/api/v1/namespaces/a/pods/b/exec?command=sh", "pods", "exec"),
        ("/api/v1/namespaces/a/services/b/proxy/x/y", "services", "proxy"),
        ("/apis/apps/v1/namespaces/a/deployments/b/scale", "deployments", "scale"),
        ("/api/v1/nodes/n1/status", "nodes", "status"),
        ("/api/v1/nodes/n1", "nodes", None),
        ("/api/v1/namespaces/a", "namespaces", None),
        ("/api/v1/namespaces/a/finalize", "namespaces", "finalize"),
        ("/api/v1/watch/namespaces/a/pods/b", "pods", None),
        ("/healthz/etcd", None, None),
    ],
)
def test_what_a_path_names(lake: str, uri: str, resource: str | None, subresource: str | None) -> None:
    con = engine.connect(Lake(lake))
    assert con.execute("select uri_resource($u), uri_subresource($u)", {"u": uri}).fetchall() == [(resource, subresource)]


def test_a_5xx_with_its_stack_is_no_panic(tmp_path: Path) -> None:
    line = (
        b'I0803 20:00:0%d.000000       1 httplog.go:134] "HTTP" verb="GET" URI="/x%d" latency="1ms" userAgent="a" audit-ID="%d" srcIP="192.0.2.1:1" '
        b"resp=500 statusStack=<\n\n\tgoroutine 7 [running]:\n\t%bserver/filters.WithPanicRecovery.func2()\n >\n"
    )
    imported(tmp_path / "lake", write(tmp_path / "a.log", line % (1, 1, 1, b"") + line % (2, 2, 2, b"panic({0x1, 0x2})\n\t")))
    assert ask(str(tmp_path / "lake"), "panics")["uri"].to_list() == ["/x2"]


def test_failures_in_a_row_are_one_answer(tmp_path: Path) -> None:
    lines = [
        f"I0803 20:00:0{n}.000000       1 healthz.go:311] {what} check failed: readyz\n[+]ping ok\n[-]{what} failed: reason withheld\n"
        for n, what in enumerate(("a", "a", "a", "b", "a"))
    ]
    imported(tmp_path / "lake", write(tmp_path / "a.log", "".join(lines).encode()))
    found = ask(str(tmp_path / "lake"), "lifecycle").select("times", "detail", "line").rows()
    assert found == [
        (n, f"readyz: {what} failed: reason withheld", line) for n, what, line in ((3, "a", 1), (1, "b", 10), (1, "a", 13))
    ]


def test_vmodule_only_adds(lake: str) -> None:
    settings = dict(ask(lake, "log-noise", limit=1000).select("place", "setting").rows())
    assert settings["httplog.go:132"] == "gone with -v=2; then --vmodule=httplog=3 brings this file back"
    assert settings["apf_controller.go:493"].startswith("gone with -v=1;")
    assert settings["wrap.go:54"] == "always logged"
