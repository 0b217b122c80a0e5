"""Traffic known to fill logs, as rules that drop it: searched for in a log, and offered to a policy that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from auditlens.policy.apiserver.model import GroupResources, Rule

__all__ = ["NOISE", "Noise"]


@dataclass(frozen=True, slots=True)
class Noise:
    """Traffic known to fill logs: a rule of level None, what it drops, and what is given up with it."""

    rule: Rule
    what: str
    lost: str


def _core(*resources: str) -> GroupResources:
    return GroupResources(resources=resources)


_LEASES: Final = (GroupResources(group="coordination.k8s.io", resources=("leases",)),)
_EVENTS: Final = (_core("events"), GroupResources(group="events.k8s.io", resources=("events",)))

NOISE: Final = (
    Noise(
        Rule(level="None", verbs=("get", "head"), nonResourceURLs=("/healthz*", "/livez*", "/readyz*")),
        "health checks of load balancers and kubelets",
        "who asks for the apiserver's health",
    ),
    Noise(
        Rule(level="None", verbs=("create", "update", "patch", "get", "list", "watch"), resources=_EVENTS),
        "event objects: they tell what the cluster did, not who did it; deleting them is not dropped, it hides traces",
        "who writes and reads event objects",
    ),
    Noise(
        Rule(
            level="None", user_groups=("system:nodes",), verbs=("get", "update"), namespaces=("kube-node-lease",), resources=_LEASES
        ),
        "heartbeats of nodes",
        "renewals of the nodes' leases",
    ),
    Noise(
        Rule(
            level="None", user_groups=("system:authenticated",), verbs=("get", "update"), namespaces=("kube-system",), resources=_LEASES
        ),
        "leader election of the control plane",
        "renewals of leases in kube-system, by anyone",
    ),
    Noise(
        Rule(
            level="None", user_groups=("system:nodes",), verbs=("get", "update", "patch"),
            resources=(_core("nodes", "nodes/status", "pods/status"),),
        ),
        "kubelets' reports about their node and pods",
        "status reports of kubelets, also forged ones",
    ),
    Noise(
        Rule(
            level="None",
            users=("system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"),
            verbs=("get", "list", "watch"),
        ),
        "reads of the control plane, which reads everything all the time",
        "reads with the control plane's own credentials",
    ),
    Noise(
        Rule(
            level="None", user_groups=("system:authenticated",), verbs=("get", "head"),
            nonResourceURLs=("/api*", "/openapi*", "/version", "/metrics*"),
        ),
        "the API's table of contents, which every client asks for",
        "who asks for the API's table of contents, version and metrics",
    ),
)  # fmt: skip
