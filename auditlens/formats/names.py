"""What shippers call the time, the host and the cluster of a line: one declared list of field names for every wrapper.

A dotted name is a path of objects, or one flattened field, or any mixture of both; case does not matter. Names of clusters
come before their ids, for people know the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from .line import Fields, array, members, rfc3339_of_ms, string

__all__ = ["cluster_of", "disputed", "facts", "of_group", "of_labels", "of_resource"]

# Fluent Bit, Vector, Filebeat and Elastic Agent (ECS), OpenTelemetry, New Relic, Datadog, Google (also air-gapped: GDCH),
# OpenShift's collector; Splunk's HEC puts indexed fields under `fields`, Loki and Google labels under `labels`
_CLUSTER = (
    "cluster_name", "clustername", "cluster-name", "cluster.name", "cluster",
    "k8s.cluster.name", "k8s_cluster_name", "k8s.cluster", "k8s_cluster", "k8s.cluster_name",
    "kubernetes.cluster.name", "kubernetes.cluster_name", "kubernetes.cluster", "kubernetes_cluster_name", "kubernetes_cluster",
    "kube_cluster_name", "kube_cluster", "kube.cluster", "orchestrator.cluster.name", "_gdch_cluster", "eks_cluster",
    "aks_cluster", "gke_cluster", "openshift.labels.cluster", "openshift.labels.cluster_name", "openshift.cluster_name",
    "resource.labels.cluster_name", "resource.attributes.k8s.cluster.name",
    "cluster_id", "clusterid", "cluster.id", "k8s.cluster.id", "k8s.cluster.uid", "kubernetes.cluster.id",
    "kubernetes.cluster_id", "orchestrator.cluster.id", "openshift.cluster_id", "openshift.cluster.uid", "cluster_uuid",
)  # fmt: skip
_INSTANCE = (
    "kubernetes.host", "kubernetes.node_name", "kubernetes.node.name", "k8s.node.name", "node_name", "host.name",
    "host.hostname", "host", "hostname", "agent.hostname", "_gdch_fluentbit_pod",
)  # fmt: skip
_TIME = ("@timestamp", "time", "timestamp", "_time", "ts", "timegenerated")
_AROUND = ("fields.", "labels.", "metadata.", "tags.")  # objects that hold such names beside the line
_TAGS = ("tags", "ddtags")  # lists or texts of NAME:VALUE

_CLUSTER_RANK = {name: rank for rank, name in enumerate(_CLUSTER)}
_NAMES = {name for name in _CLUSTER if not re.search(r"id\Z", name)}
_INSTANCE_RANK = {name: rank for rank, name in enumerate(_INSTANCE)}
_PATHS = (*_CLUSTER, *_INSTANCE, *_AROUND, *(around + path for around in _AROUND for path in _CLUSTER))
_STEPS = {path[:at] for path in _PATHS for at, char in enumerate(path) if char == "."}

_ZONED = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d{4}\Z")  # Splunk's +0000
_EPOCH = re.compile(r"\d{10}(?:\.\d{1,9})?|\d{13}|\d{16}|\d{19}")
_MANAGED = re.compile(r"/managedclusters/([^/]+)", re.IGNORECASE)  # /subscriptions/…/managedClusters/NAME
_GROUP = re.compile(r"/aws/eks/([^/]+)/")  # [ACCOUNT:]/aws/eks/NAME/cluster
_ARN = re.compile(r"arn:aws[\w-]*:eks:[^:]*:[^:]*:cluster/([^/]+)\Z")
_TAG = re.compile(r"\s*([^:=,\s]+)[:=]([^,]+)")


def facts(fields: Fields) -> tuple[str | None, str | None, str | None]:
    """(time, instance, cluster) that an envelope names."""
    flat = _flat(fields)
    time = next((text for name in _TIME if (text := _moment(flat.get(name)))), None)
    return time, _best(flat, _INSTANCE_RANK), _cluster(flat)


def disputed(fields: Fields, around: str | None) -> tuple[str, str] | None:
    """The name of the cluster and another one, said here or around; ids are no names."""
    flat = _flat(fields)
    cluster = _cluster(flat)
    texts = [text for name in flat if name in _NAMES and (text := string(flat[name]))]
    if not cluster or cluster not in map(_plain, texts):
        return None
    return next(((cluster, text) for text in [*texts, around] if text and _plain(text) != cluster), None)


def cluster_of(fields: Fields) -> str | None:
    """The cluster that an envelope or a set of labels names."""
    return _cluster(_flat(fields))


def of_resource(resource: str | None) -> str | None:
    """The cluster in an Azure resource id or an AWS ARN."""
    found = _MANAGED.search(resource or "") or _ARN.search(resource or "")
    return found[1] if found else None


def of_group(group: str | None) -> str | None:
    """The cluster in the name of an EKS log group."""
    found = _GROUP.search(group or "")
    return found[1] if found else None


def of_labels(labels: Mapping[str, str]) -> str | None:
    """The cluster in flat labels whose values are text."""
    lower = {name.lower(): value for name, value in labels.items()}
    return next((lower[name] for name in _CLUSTER if lower.get(name)), None)


def _moment(raw: msgspec.Raw | None) -> str | None:
    """RFC 3339 of a time as text, or of a number of seconds, milliseconds, micro- or nanoseconds since 1970, told by its size."""
    if raw is None:
        return None
    text = string(raw) or bytes(raw).decode("utf-8", "replace")
    if _ZONED.match(text):
        return f"{text[:-2]}:{text[-2:]}"
    if "T" in text:
        return text
    if not _EPOCH.fullmatch(text):
        return None
    digits = text.partition(".")[0]
    return rfc3339_of_ms(float(text) * 1e3 / 10 ** max(0, len(digits) - 10))


def _flat(fields: Fields) -> dict[str, msgspec.Raw]:
    """The fields in lower case, and behind dotted names those of the objects that a declared path leads through."""
    flat = {name.lower(): raw for name, raw in fields.items()}
    queue = [name for name in flat if name in _STEPS]
    while queue:
        step = queue.pop()
        for name, raw in (members(flat[step]) or {}).items():
            path = f"{step}.{name.lower()}"
            flat.setdefault(path, raw)
            if path in _STEPS:
                queue.append(path)
    return flat


def _best(flat: Fields, rank: Mapping[str, int]) -> str | None:
    """The text of the first declared name that has one."""
    there = sorted((rank[name], name) for name in flat if name in rank)
    return next((text for _, name in there if (text := string(flat[name]))), None)


def _cluster(flat: Fields) -> str | None:
    named = _best(flat, _CLUSTER_RANK)
    if named is None:
        beside = {name.partition(".")[2]: raw for name, raw in flat.items() if name.startswith(_AROUND)}
        named = _best(beside, _CLUSTER_RANK) if beside else None
    if named is None:
        named = next((text for name in _TAGS if (text := _tagged(flat.get(name)))), None)
    if named is None:
        return of_resource(string(flat.get("_resourceid")) or string(flat.get("resourceid")))
    return _plain(named)


def _plain(name: str) -> str:
    return of_resource(name) or name


def _tagged(raw: msgspec.Raw | None) -> str | None:
    elements = array(raw)
    texts = map(string, elements) if elements is not None else [string(raw)]
    return of_labels({name: value.strip() for text in texts if text for name, value in _TAG.findall(text)})
