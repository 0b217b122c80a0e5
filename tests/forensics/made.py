"""Logs made by hand: requests about objects, a second apart, of which each test says what follows from them."""

from __future__ import annotations

import json
from typing import Any

from auditlens.forensics.why import Chain

CONTROLLERS = "system:serviceaccount:kube-system:"
GROUPS = {"jobs": "batch", "cronjobs": "batch", "deployments": "apps", "replicasets": "apps", "statefulsets": "apps",
          "daemonsets": "apps", "controllerrevisions": "apps", "horizontalpodautoscalers": "autoscaling",
          "endpointslices": "discovery.k8s.io", "clusterroles": "rbac.authorization.k8s.io", "databases": "example.com",
          "certificatesigningrequests": "certificates.k8s.io", "leases": "coordination.k8s.io"}  # fmt: skip
KINDS = {
    "pods": "Pod", "nodes": "Node", "jobs": "Job", "cronjobs": "CronJob", "configmaps": "ConfigMap", "deployments": "Deployment",
    "replicasets": "ReplicaSet", "statefulsets": "StatefulSet", "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "endpointslices": "EndpointSlice", "clusterroles": "ClusterRole", "services": "Service", "persistentvolumes": "PersistentVolume", "namespaces": "Namespace", "secrets": "Secret",
    "daemonsets": "DaemonSet", "controllerrevisions": "ControllerRevision", "persistentvolumeclaims": "PersistentVolumeClaim",
    "serviceaccounts": "ServiceAccount", "databases": "Database", "certificatesigningrequests": "CertificateSigningRequest",
    "replicationcontrollers": "ReplicationController", "leases": "Lease",
}  # fmt: skip
CLUSTER_WIDE = ("certificatesigningrequests", "clusterroles", "nodes", "persistentvolumes", "namespaces")


class Log:
    """Requests a second apart; `*controller` is a user of the control plane by its short name."""

    def __init__(self, namespace: str = "shop", first: int = 0) -> None:
        self.lines: list[bytes] = []
        self.namespace = namespace
        self.first = first
        self.version = 100

    def __call__(
        self,
        user: str,
        verb: str,
        object: str,
        body: dict[str, Any] | None = None,
        *,
        request: Any = None,
        uid: str | None = None,
        answer: dict[str, Any] | None = None,
        api: str | None = None,
        **fields: Any,
    ) -> str:
        """One request about `resource/name` or `resource/name/subresource`; returns its audit id.

        `body` is the object answered (and asked for, unless `request` is given); `answer` is an answer of another kind; other
        fields of the event replace those made here, None leaves one out.
        """
        resource, name, *sub = object.split("/")
        group, namespace = GROUPS.get(resource, ""), None if resource in CLUSTER_WIDE else self.namespace
        self.version += 1
        n = self.first + len(self.lines)
        at = f"2026-11-23T10:{n // 60:02}:{n % 60:02}.000000Z"
        shown = {"apiVersion": api or (f"{group}/v1" if group else "v1"), "kind": KINDS[resource]}
        meta = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(self.version)} | (
            {"namespace": namespace} if namespace else {}
        )
        made = body if body is None else {**shown, **body, "metadata": {**meta, **body.get("metadata", {})}}
        ref = {"resource": resource, "name": name, "apiVersion": "v1", "apiGroup": group, "namespace": namespace or "",
               "subresource": "".join(sub)}  # fmt: skip
        event = {
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": f"id-{n}",
            "stage": "ResponseComplete", "requestURI": f"/x/{object}", "verb": verb,
            "user": {"username": (CONTROLLERS if user != "*scheduler" else "system:kube-") + user[1:] if user[0] == "*" else user},
            "sourceIPs": ["192.0.2.1"], "userAgent": "kubectl/v1.36.0", "objectRef": {k: v for k, v in ref.items() if v},
            "responseStatus": {"metadata": {}, "code": 201 if verb == "create" else 200},
            "requestObject": request if request is not None else made, "responseObject": answer or made,
            "requestReceivedTimestamp": at, "stageTimestamp": at, "annotations": {"authorization.k8s.io/decision": "allow"},
            **fields,
        }  # fmt: skip
        self.lines.append(json.dumps({k: v for k, v in event.items() if v is not None}).encode() + b"\n")
        return f"id-{n}"

    def gone(self, user: str, object: str, *, uid: str | None = None, **fields: Any) -> str:
        """A deletion that was complete: answered with a Status that names the uid."""
        resource, name = object.split("/")
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                  "details": {"name": name, "kind": resource, "uid": uid or f"uid-{name}"}}  # fmt: skip
        return self(user, "delete", object, answer=answer, **fields)


def told(chain: Chain) -> list[tuple[str | None, str, str]]:
    return [(x.event.username, x.event.audit_id, x.rule.partition(":")[0]) for x in chain.links]


def root(chain: Chain) -> tuple[str | None, str] | None:
    return (chain.root.event.username, chain.root.event.audit_id) if chain.root else None
