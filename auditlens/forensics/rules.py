"""Which request made a control-plane component act: one rule each, named, with what it rests on.

Source: Kubernetes controllers (pkg/controller/*): each acts on its owner object, its namespace or its node; who wrote that one is
the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from auditlens import kinds
from auditlens.answers.address import Address
from auditlens.forensics import endings
from auditlens.forensics.bodies import items, part, text
from auditlens.forensics.events import Touch
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import (
    CERTAIN,
    GUESS,
    LIKELY,
    SURE,
    Cause,
    Driven,
    Tracer,
    body_at,
    driver,
    group_of,
    owners,
    refs_of,
)

Rule = Callable[[Tracer, Life, Touch], "Cause | str | None"]


def cause(tracer: Tracer, life: Life, event: Touch, who: str) -> Cause | str | None:
    """What made the controller `who` send `event` about an object; a text where the log cannot tell, None where no rule fits."""
    if event.subresource == "status" and who != "certificate-controller":
        return f"{who} reports in the status what it found; no request made it do so"
    deletes = event.verb in ("delete", "deletecollection")
    rule = (_DELETES if deletes else _CHANGES).get(who)
    if rule is not None:
        return rule(tracer, life, event)
    return _owner(tracer, life, event)


def _driven(owner: Life, found: Driven | None, rule: str, why: str) -> Cause | str:
    if found is None:
        return f"what changed {owner.key} before is not in the log; it takes update, patch and create of {owner.key.resource} at Request"
    if found.limit is not None:
        return (
            f"what changed {owner.key} before {found.limit}"
            if found.limit.startswith("cannot")
            else f"of {owner.key}: {found.limit}"
        )
    return Cause(owner, found.event, found.words, f"{rule}: {why}", CERTAIN if found.known else LIKELY)


def _owner_life(tracer: Tracer, life: Life, event: Touch) -> tuple[Life, str] | str:
    """The owner whose wish a controller carries out, and how sure that is; by name where no body names one.

    That is the controlling owner (controllerRef): other owners only keep an object alive.
    """
    refs = owners(life, event.time)
    if refs and not refs[0].get("controller") and len(refs) > 1:
        named = ", ".join(f"{r.get('kind')}/{r.get('name')}" for r in refs)
        return f"{life.key} has {len(refs)} owners ({named}), none of them its controller: whose wish this was cannot be told"
    for ref in refs[:1]:
        found = tracer.of(life, ref.get("kind", ""), group_of(ref.get("apiVersion")), ref.get("name", ""), uid=ref.get("uid"),
                          when=event.time)  # fmt: skip
        if found is not None:
            return found, CERTAIN if found.uid is not None and found.uid == ref.get("uid") else LIKELY
        return (
            f"the owner {ref.get('kind')}/{ref.get('name')} is not in the log; it takes create, update, patch and delete "
            "of its resource at Metadata, at RequestResponse to see what changed"
        )
    stem = life.key.name.rpartition("-")[0]
    for resource, group in {"pods": (("replicasets", "apps"), ("jobs", "batch"), ("statefulsets", "apps"), ("daemonsets", "apps")),
                            "replicasets": (("deployments", "apps"),), "jobs": (("cronjobs", "batch"),)}.get(life.key.resource, ()):  # fmt: skip
        found = tracer.life(Address(group, (resource,), stem, life.key.namespace, life.key.cluster), event.time) if stem else None
        if found is not None:
            return found, GUESS
    return f"no body in the log shows who owns {life.key}; it takes create of {life.key.resource} at RequestResponse"


def _owner(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """A controller makes or changes what its owner asks for."""
    found = _owner_life(tracer, life, event)
    if isinstance(found, str):
        return None if not owners(life, event.time) else found
    owner, sure = found
    if event.verb == "delete" and owner.deleted is not None and owner.deleted.received <= event.time:
        return Cause(owner, owner.deleted, f"{owner.key} deleted", "owner-deleted: its owner was being deleted", sure)
    out = _driven(owner, driver(owner, event.time), "owner", "the controller carries out its owner's spec")
    return out if isinstance(out, str) else _weaker(out, sure)


def _weaker(found: Cause, sure: str) -> Cause:
    return replace(found, sure=min(found.sure, sure, key=SURE.index))


def _scaled(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """A workload controller deletes pods because it is to have fewer, or other ones."""
    found = _owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    if owner.deleted is not None and owner.deleted.received <= event.time:
        return Cause(owner, owner.deleted, f"{owner.key} deleted", "owner-deleted: its owner was being deleted", sure)
    change = driver(
        owner, event.time, paths=("spec.replicas", "spec.parallelism", "spec.suspend", "spec.template", "spec.completions")
    )
    out = _driven(owner, change, "scale-down", "the controller deletes pods its owner no longer asks for")
    return out if isinstance(out, str) else _weaker(out, sure)


def _replicated(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """replicaset-controller creates pods: for more replicas, or in place of one that went."""
    found = _owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    change = driver(owner, event.time, paths=("spec.replicas",))
    if change is None:
        return _driven(owner, None, "", "")
    wanted = part(body_at(owner, event.time), "spec").get("replicas")
    before, made, gone = _siblings(tracer, owner, change.event, event)
    if isinstance(wanted, int) and gone is not None and made > wanted - before:
        rule = "replacement: a pod of the same owner went"
        return Cause(Life(gone.key, gone.uid, [gone], deleted=gone), gone, f"{gone.key} deleted", rule, LIKELY)
    out = _driven(owner, change, "owner", "the controller makes the pods its owner asks for")
    return out if isinstance(out, str) else _weaker(out, sure)


def _siblings(tracer: Tracer, owner: Life, since: Touch, event: Touch) -> tuple[int, int, Touch | None]:
    """Pods the owner had before a change, those made since with `event`, and the last of it that was deleted in between."""
    alive: set[str | None] = set()
    made, gone, first = 0, None, set()
    for e in tracer.siblings(owner):
        if e.order > event.order:
            break
        if e.verb == "create":
            made += e.time >= since.received
            if e.time < since.received:
                alive.add(e.uid)
        elif e.uid not in first:
            first.add(e.uid)
            if e.time < since.received:
                alive.discard(e.uid)
            else:
                gone = e
    return len(alive), made, gone


# What of a Deployment makes its controller size, make and drop ReplicaSets (pkg/controller/deployment: sync, rolling, rollback).
_ROLLOUT = ("spec.replicas", "spec.template", "spec.paused", "spec.strategy", "spec.rollbackTo", "spec.revisionHistoryLimit")


def _rolled(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The deployment controller sizes ReplicaSets for a change of replicas or template; what else of the spec changed is none of it."""
    found = _owner_life(tracer, life, event)
    if isinstance(found, str) or life.key.resource != "replicasets":
        return _owner(tracer, life, event)
    owner, sure = found
    out = _driven(owner, driver(owner, event.time, paths=_ROLLOUT), "owner", "the controller carries out its owner's spec")
    return out if isinstance(out, str) else _weaker(out, sure)


def _followed(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """Endpoints are made and deleted with their Service, and change with its pods."""
    if event.verb in ("update", "patch"):
        return "endpoints follow pods and their readiness; which of them made this change no request shows"
    return _owner(tracer, life, event)


def _hpa(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The autoscaler acts on the HorizontalPodAutoscaler whose scaleTargetRef names the object."""
    wanted = Address("autoscaling", ("horizontalpodautoscalers",), None, life.key.namespace, life.key.cluster)
    for hpa in tracer.lives(wanted):
        if hpa.first.received > event.time or (hpa.ended is not None and hpa.ended.time < event.received):
            continue
        spec = part(body_at(hpa, event.time), "spec")
        ref = part(spec, "scaleTargetRef")
        resource = kinds.resource_of(group_of(text(ref, "apiVersion")), text(ref, "kind") or "")
        if ref.get("name") != life.key.name or resource not in (None, life.key.resource):
            continue
        change = driver(hpa, event.time)
        replicas = part(event.request, "spec").get("replicas")
        out = _driven(hpa, change, "hpa", f"it keeps between {spec.get('minReplicas')} and {spec.get('maxReplicas')}")
        if isinstance(out, str) or replicas in (spec.get("minReplicas"), spec.get("maxReplicas")):
            return out
        return Cause(out.life, out.event, out.effect, out.rule, LIKELY, "the metrics that led to this number are in no audit log")
    return "no HorizontalPodAutoscaler in the log targets it; it takes create and update of horizontalpodautoscalers at Request"


def _bound(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    made = next((e for e in life.events if e.verb == "create" and e.subresource is None and e.ok), None)
    if made is None:
        return "who created the pod is not in the log; it takes create of pods at Metadata"
    return Cause(life, made, f"{life.key} created", "scheduling: the scheduler binds pods that are created", CERTAIN)


def _signed(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The signer signs what was approved (KEP-1513)."""
    for e in reversed(life.events):
        if e.subresource == "approval" and e.ok and e.received <= event.time:
            return Cause(life, e, f"{life.key} approved", "csr: the signer signs what is approved", CERTAIN)
    return "the approval is not in the log; it takes update of certificatesigningrequests/approval at Metadata"


def _namespace_made(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """Controllers that put an object into every new namespace."""
    namespace = tracer.namespace(life.key.namespace, life.key.cluster, event.time)
    made = next((e for e in namespace.events if e.verb == "create" and e.ok), None) if namespace else None
    if namespace is None or made is None:
        return f"the creation of namespace {life.key.namespace} is not in the log; it takes create of namespaces at Metadata"
    return Cause(namespace, made, f"{namespace.key} created", "namespace-made: every namespace gets one", CERTAIN)


def _collected(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The garbage collector unties dependants of a deleted owner, or lets go of what waited for its dependants."""
    before = next((r for r in reversed(life.revisions) if r.event.order < event.order and r.object is not None), None)
    after = next((r for r in life.revisions if r.event is event and r.object is not None), None)
    refs = refs_of(before.object) if before else owners(life, event.time)
    if after is not None and before is not None:
        left = [r.get("uid") for r in refs_of(after.object)]
        refs = [r for r in refs if r.get("uid") not in left]
    found = [r for r in (endings.released(tracer, life, ref, event) for ref in refs) if r is not None]
    if found:
        last = max(found, key=lambda r: (r.high, r.cause.event.order)).cause
        if len({r.cause.event.actor for r in found}) > 1 or len(found) < len(refs):
            return f"it let go of {len(refs)} owners of {life.key} at once: which end made it act cannot be told"
        rule = "owner-gc: the garbage collector unties dependants"
        return Cause(last.life, last.event, last.effect, rule, last.sure, open=last.open)
    if life.deleted is not None and life.deleted.received <= event.time and life.deleted is not event:
        return Cause(
            life, life.deleted, f"{life.key} deleted", "finalizer: the garbage collector lets go of a deleted object", CERTAIN
        )
    return "no deletion of an owner is in the log"


def _aggregated(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """clusterrole-aggregation-controller copies rules from ClusterRoles that match aggregationRule."""
    best: Cause | None = None
    wanted = _selected(life, event)
    for role in tracer.lives(Address("rbac.authorization.k8s.io", ("clusterroles",), None, None, life.key.cluster)):
        labels = part(body_at(role, event.time), "metadata", "labels")
        if role.key == life.key or not any(chosen.items() <= labels.items() for chosen in wanted):
            continue
        change = driver(role, event.time, paths=("rules", "metadata.labels"))
        if change is not None and (best is None or change.event.order > best.event.order):
            best = Cause(
                role, change.event, change.words, "aggregation: it copies the rules of roles with a matching label", LIKELY,
                change.limit, open=change.limit is not None,
            )  # fmt: skip
    return best or "no ClusterRole whose labels it aggregates is in the log"


def _selected(life: Life, event: Touch) -> list[dict[str, str]]:
    """The labels that an aggregated role chooses roles by; those of admin, edit and view where no body shows them."""
    chosen = items(body_at(life, event.time), "aggregationRule", "clusterRoleSelectors")
    found = [part(s, "matchLabels") for s in chosen]
    return [f for f in found if f] or [{f"rbac.authorization.k8s.io/aggregate-to-{life.key.name}": "true"}]


def _apiserver(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """What the apiserver keeps beside Services and CRDs (registry/core/service/ipallocator, crdregistration)."""
    body, deletes = body_at(life, event.time), event.verb == "delete"
    parent = part(body, "spec", "parentRef")
    if text(parent, "resource"):
        wanted = Address(parent.get("group", ""), (parent["resource"],), parent.get("name"), parent.get("namespace") or None,
                        life.key.cluster)  # fmt: skip
        return _beside(tracer.lives(wanted), event, deletes, "allocation: an IP address follows its Service")
    if life.key.resource == "apiservices":
        group = life.key.name.partition(".")[2]
        found = [x for x in tracer.lives(Address("apiextensions.k8s.io", ("customresourcedefinitions",), None, None, life.key.cluster))
                 if x.key.name.endswith("." + group)]  # fmt: skip
        return _beside(found, event, deletes, "registration: an APIService follows its CRD")
    return _owner(tracer, life, event)


def _beside(found: list[Life], event: Touch, deletes: bool, rule: str) -> Cause | str | None:
    """The create or delete nearest in time, which may be answered after what it brought about."""
    hits: list[tuple[Any, Life, Touch]] = []
    for x in found:
        for e in x.events:
            if e.ok and e.subresource is None and e.verb == ("delete" if deletes else "create") and e.received <= event.time:
                hits.append((e.order, x, e))
    if not hits:
        return "the request behind this is not in the log; it takes create and delete of services and CRDs at Metadata"
    _, owner, made = max(hits, key=lambda h: h[0])
    return Cause(owner, made, f"{owner.key} {'deleted' if deletes else 'created'}", rule, CERTAIN)


_CHANGES: dict[str, Rule] = {
    "horizontal-pod-autoscaler": _hpa,
    "deployment-controller": _rolled,
    "endpoint-controller": _followed,
    "endpointslice-controller": _followed,
    "endpointslicemirroring-controller": _followed,
    "replicaset-controller": _replicated,
    "scheduler": _bound,
    "certificate-controller": _signed,
    "service-account-controller": _namespace_made,
    "root-ca-cert-publisher": _namespace_made,
    "service-ca-cert-publisher": _namespace_made,
    "generic-garbage-collector": _collected,
    "namespace-controller": endings.by_namespace,
    "clusterrole-aggregation-controller": _aggregated,
    "apiserver": _apiserver,
}
_DELETES: dict[str, Rule] = {
    "generic-garbage-collector": endings.by_owner,
    "namespace-controller": endings.by_namespace,
    "pod-garbage-collector": endings.by_node,
    "taint-eviction-controller": endings.by_taint,
    "node-controller": endings.by_taint,
    "scheduler": endings.by_preemption,
    "kubelet": endings.by_kubelet,
    "ttl-after-finished-controller": endings.by_ttl,
    "replicaset-controller": _scaled,
    "replication-controller": _scaled,
    "statefulset-controller": _scaled,
    "daemon-set-controller": _scaled,
    "job-controller": _scaled,
    "apiserver": _apiserver,
}
# Those whose rules ask about the node of a pod.
BY_NODE = ("pod-garbage-collector", "taint-eviction-controller", "node-controller", "scheduler")
