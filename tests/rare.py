"""A small log of our own making, in which every question has something to answer; what the sample logs hold too little of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditlens.lake import Lake
from tests.conftest import event, imported, text, when, write

SAMPLES = Path(__file__).resolve().parents[1] / "sample-logs"
RBAC = {"apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"}
CUT_OFF = "00000000-0000-4000-a000-000000000050"  # a request that both logs tell of
PLACEHOLDER = "skipped-too-big-size-object"  # what AKS puts in place of a body

LOG = b"""Log file created at: 2026/11/23 11:59:00
I1123 12:20:00.000000       1 httplog.go:132] "HTTP" verb="LIST" URI="/api/v1/pods" latency="1.0005ms" userAgent="x/1" audit-ID="h1" \
srcIP="192.0.2.10:1" apf_pl="workload-low" apf_fs="global" apf_iseats=1 apf_fseats=0 apf_additionalLatency="0s" apf_execution_time="1ms" resp=500
I1123 12:20:00.000000       1 httplog.go:132] "HTTP" verb="LIST" URI="/api/v1/pods" latency="1.0015ms" userAgent="x/1" audit-ID="h2" \
srcIP="192.0.2.10:1" apf_pl="workload-low" apf_fs="global" apf_iseats=1 apf_fseats=0 apf_additionalLatency="0s" apf_execution_time="1ms" resp=500
I1123 12:20:00.000000       1 httplog.go:132] "HTTP" verb="LIST" URI="/api/v1/pods?limit=1" latency="1.0015ms" userAgent="x/1" audit-ID="h3" \
srcIP="192.0.2.10:1" apf_pl="workload-low" apf_fs="global" apf_iseats=1 apf_fseats=0 apf_additionalLatency="0s" resp=429
E1123 12:20:01.000000       1 authentication.go:73] "Unable to authenticate the request" err="invalid bearer token"
I1123 12:20:02.000000       1 genericapiserver.go:586] "[graceful-termination] shutdown event" name="ShutdownInitiated"
I1123 12:20:02.000000       1 genericapiserver.go:586] "[graceful-termination] shutdown event" name="AfterShutdownDelayDuration"
E1123 12:20:03.000000       1 wrap.go:54] "Timeout or abort while handling" method="POST" URI="/api/v1/namespaces/shop/pods" \
auditID="00000000-0000-4000-a000-000000000050" logger="UnhandledError"
E1123 12:20:03.100000       1 runtime.go:142] "Observed a panic" panic="runtime error: index out of range" stacktrace="goroutine 7 [running]:"
I1123 12:20:04.000000       1 request.go:752] "Waited before sending request" delay="1.1s" reason="client-side throttling" verb="GET" URL="https://x/api"
W1123 12:20:05.000000       1 logging.go:55] [core] [Channel #1 SubChannel #2] grpc: addrConn.createTransport failed to connect to {Addr: "x"}
I1123 12:20:06.000000       1 trace.go:236] Trace[1]: "Create" audit-id:00000000-0000-4000-a000-000000000050,client:192.0.2.1,\
resource:pods,url:/api/v1/namespaces/shop/pods,user-agent:kubectl/v1.36,verb:POST (23-Nov-2026 12:20:05.000) (total time: 1000ms):
Trace[1]: ---"Write to database call succeeded" len:120 900ms (12:20:05.900)
Trace[1]: [1s] [1s] END
"""


def ref(resource: str, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """An objectRef in the namespace shop."""
    made = {"resource": resource, "namespace": "shop", "name": name, "apiVersion": "v1"} | fields
    return {k: v for k, v in made.items() if v is not None}


def status(code: int, message: str, reason: str | None = None) -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


def body(kind: str, name: str, version: str = "7", **fields: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": version}
    return {"kind": kind, "apiVersion": "v1", "metadata": meta} | fields


def audit() -> list[dict[str, Any]]:
    """The events; the times of many are the same."""
    jane = {
        "username": "u-x2o",
        "groups": ["dev"],
        "extra": {"username": ["jane.doe@example.com"], "principalid": ["azuread_user://1"]},
    }
    proxy = {"username": "system:serviceaccount:cattle-system:proxy", "groups": ["system:serviceaccounts"]}
    arn = {"username": "kubernetes-admin", "extra": {"arn": ["arn:aws:sts::1:assumed-role/Admin/joe"], "accessKeyId": ["ASIAX"]}}
    mutated = '{"configuration":"c","webhook":"side.example.com","mutated":true}'
    denied = 'admission webhook "gate.example.com" denied the request: no'
    wanted = 'users "admin" is forbidden: User "carol" cannot impersonate resource "users" in API group "" at the cluster scope'
    crb = ref("clusterrolebindings", "grant", namespace=None, **RBAC)
    grant = {"kind": "ClusterRoleBinding", "metadata": {"name": "grant"}, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
             "subjects": [{"kind": "User", "name": "eve"}]}  # fmt: skip
    eviction = {"verb": "create", "objectRef": ref("pods", "web", subresource="eviction")}
    token = {"verb": "create", "objectRef": ref("serviceaccounts", "ci", subresource="token"), "responseStatus": {"code": 201}}
    root = body("Pod", "root", spec={"hostNetwork": True, "containers": [{"securityContext": {"privileged": True}}]})
    return [
        event(1, verb="create", requestURI="/api/v1/namespaces/shop/configmaps?dryRun=All", objectRef=ref("configmaps", "dry")),
        *(event(n, verb="update", objectRef=ref("configmaps", "same"), responseObject=body("ConfigMap", "same"),
                requestReceivedTimestamp=when(2), stageTimestamp=when(3)) for n in (2, 3, 4)),
        *(event(n, objectRef=ref("configmaps", "polled"), requestReceivedTimestamp=when(5), stageTimestamp=when(5 + n % 2)) for n in range(10, 24)),
        event(30, verb="create", objectRef=ref("pods", "root"), requestObject=root, responseObject=root),
        event(31, verb="create", objectRef=ref("pods", "seen"), annotations={"authorization.k8s.io/decision": "allow",
              "mutation.webhook.admission.k8s.io/round_0_index_0": mutated}),
        event(32, verb="create", objectRef=ref("pods", "no"), responseStatus=status(400, denied, "BadRequest")),
        event(33, verb="delete", user=proxy, impersonatedUser=jane, objectRef=crb, stageTimestamp=when(40)),
        event(34, verb="create", user=arn, objectRef=crb, requestObject=grant, responseObject=grant, responseStatus={"code": 201}),
        event(35, verb="create", user=arn, objectRef=crb | {"name": "skipped"}, requestObject=PLACEHOLDER, responseObject=PLACEHOLDER),
        event(36, verb="get", user={"username": "carol"}, objectRef=ref("secrets", "db"), responseStatus=status(403, wanted, "Forbidden"), annotations=None),
        event(37, **eviction, responseStatus=status(429, "Cannot evict pod as it would violate the pod's disruption budget.", "TooManyRequests")),
        event(38, **eviction, responseStatus={"code": 201}, stageTimestamp=when(50)),
        event(39, verb="delete", user={"username": "system:node:n1"}, objectRef=ref("pods", "web"), stageTimestamp=when(51)),
        event(40, **token, user={"username": "dave"}),
        event(41, user={"username": "system:serviceaccount:shop:ci"}),
        event(42, user={"username": "system:anonymous", "groups": ["system:unauthenticated"]}, responseStatus=status(403, "no", "Forbidden"),
              annotations={"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}),
        event(43, stage="ResponseStarted", user={}, responseStatus={"code": 401}, annotations=None),
        event(44, stage="ResponseStarted", verb="watch", requestURI="/api/v1/secrets?watch=1", user={"username": "mallory"}, objectRef=ref("secrets")),
        event(45, stage="Panic", responseStatus=status(500, "APIServer panic'd: boom", "InternalError")),
        event(46, objectRef=ref("flowschemas", "f", apiGroup="flowcontrol.apiserver.k8s.io", apiVersion="v1beta3"),
              annotations={"authorization.k8s.io/decision": "allow", "k8s.io/deprecated": "true", "k8s.io/removed-release": "1.32"}),
        event(47, verb="list", objectRef=ref("gizmos", apiGroup="shop.example.com", apiVersion="v1beta1")),
        event(48, verb="update", objectRef=ref("configmaps", "same"), responseStatus=status(409, "the object has been modified", "Conflict")),
        event(49, verb="create", objectRef=ref("pods", "bad"), responseStatus=status(422, "invalid", "Invalid")),
        event(50, verb="create", objectRef=ref("pods", "late"), responseStatus=status(504, "Timeout: request did not complete", "Timeout")),
        event(51, verb="delete", objectRef=ref("events", "e"), user={"username": "eve"}),
        event(52, objectRef=ref("pods", "web", subresource="exec"), requestURI="/api/v1/namespaces/shop/pods/web/exec?command=id&command=%2Dn",
              responseStatus={"code": 101}),
        event(53, user={"username": "eve"}, objectRef=ref("configmaps", "c"), responseStatus=status(403, "no", "Forbidden"),
              annotations={"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}),
        event(54, user={"username": "eve"}, objectRef=ref("configmaps", "c")),
        event(55, verb="list", objectRef=ref("pods"), annotations={"authorization.k8s.io/decision": "allow", "apiserver.latency.k8s.io/total": "900ms",
              "apiserver.latency.k8s.io/etcd": "700ms"}),
        event(56, stage="ResponseComplete", verb="watch", objectRef=ref("pods"), stageTimestamp=when(400)),
        event(57, verb="delete", objectRef=ref("configmaps", "same"), user={"username": "bob"}),
    ]  # fmt: skip


def lake(folder: Path, **options: Any) -> Lake:
    """A lake of it, beside what of the sample logs the questions need; its audit log was imported as it grew."""
    events, path = audit(), folder / "lake"
    imported(path, write(folder / "audit.log", text(events[0])), **options)
    log = [write(folder / "audit.log", text(*events) + b"no event\n"), write(folder / "kube-apiserver.log", LOG)]
    imported(path, *log, SAMPLES / "kubeadm", SAMPLES / "kubectl" / "delete-v8.stderr.log", **options)
    return Lake(path)
