"""Which request made a control-plane component act: one rule each, named, with what it rests on.

Source: Kubernetes controllers (pkg/controller/*): each acts on its owner object, its namespace or its node; who wrote that one is
the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from auditlens import kinds
from auditlens.answers.address import Address
from auditlens.forensics import endings, workloads
from auditlens.forensics.bodies import items, part, text
from auditlens.forensics.drivers import driven, driver
from auditlens.forensics.events import Key, Touch
from auditlens.forensics.ownership import again, by_owner, ending_owner, owner_life
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, LIKELY, Cause, Tracer, body_at, group_of, owners, refs_of

Rule = Callable[[Tracer, Life, Touch], "Cause | str | None"]


def cause(tracer: Tracer, life: Life, event: Touch, who: str) -> Cause | str | None:
    """What made the controller `who` send `event` about an object; a text where the log cannot tell, None where no rule fits."""
    if event.subresource == "status" and who != "certificate-controller":
        return f"{who} reports in the status what it found; no request made it do so"
    deletes = event.verb in ("delete", "deletecollection")
    if life.key.resource in ("events", "leases") and not deletes:  # they go with their namespace or owner as all else does
        return f"{who} keeps its own {life.key.resource}; no request made it do so"
    rule = (_DELETES if deletes else _CHANGES).get(who)
    found = rule(tracer, life, event) if rule is not None else by_owner(tracer, life, event)
    named = text(event.body, "metadata", "generateName") is None  # a name that was made up comes once
    if event.verb != "create" or event.subresource is not None or not named:
        return found
    before = again(tracer, life, event)
    return found if before is None or (isinstance(found, Cause) and found.event.order > before.event.order) else before


def _followed(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """Endpoints are made and deleted with their Service, and change with its pods, or with it."""
    service = _service(tracer, life, event)
    if event.verb not in ("update", "patch"):
        return by_owner(tracer, life, event) if service is None else _with_service(service, event)
    last = max((r.event.received for r in life.revisions if r.event.order < event.order), default=None)
    change = driver(service, event, since=last) if service is not None and last is not None else None
    if service is not None and change is not None and change.known and not change.made:
        return driven(service, change, "endpoints: their Service was changed just before", LIKELY)
    return "endpoints follow pods and their readiness; which of them made this change no request shows"


def _service(tracer: Tracer, life: Life, event: Touch) -> Life | None:
    """The Service of an Endpoints, which has its name, or of an EndpointSlice, which it owns."""
    if life.key.resource == "endpoints":
        return tracer.life(Address("", ("services",), life.key.name, life.key.namespace, life.key.cluster), event.received)
    found = owner_life(tracer, life, event)
    return None if isinstance(found, str) or found[0].key.resource != "services" else found[0]


def _with_service(service: Life, event: Touch) -> Cause | str:
    if event.verb == "create":
        return driven(service, driver(service, event), "owner: endpoints are made with their Service")
    return ending_owner(service, event, CERTAIN) or f"{service.key} was not being deleted"


def _hpa(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The autoscaler acts on the HorizontalPodAutoscaler whose scaleTargetRef names the object; of several on the one that allows the number."""
    found = list(_autoscalers(tracer, life, event))
    replicas = part(event.request, "spec").get("replicas")
    meant = [hpa for hpa in found if _allows(hpa, event, replicas)] or found
    if not meant:
        return (
            "no HorizontalPodAutoscaler in the log targets it; it takes create and update of horizontalpodautoscalers at Request"
        )
    if len(meant) > 1:
        named = ", ".join(str(hpa.key) for hpa in meant)
        return f"several HorizontalPodAutoscalers target it ({named}): which of them wanted this number cannot be told"
    hpa, bound = meant[0], _bound_of(meant[0], event, replicas)
    spec = part(body_at(hpa, event.received), "spec")
    change = driver(hpa, event, paths=(bound, "spec.scaleTargetRef") if bound else ("spec",))
    out = driven(hpa, change, f"hpa: it keeps between {spec.get('minReplicas')} and {spec.get('maxReplicas')}")
    if isinstance(out, str) or bound:
        return out
    return Cause(out.life, out.event, out.effect, out.rule, LIKELY, "the metrics that led to this number are in no audit log")


def _autoscalers(tracer: Tracer, life: Life, event: Touch) -> Iterator[Life]:
    """Those that target an object when an event comes in."""
    for hpa in tracer.lives(Address("autoscaling", ("horizontalpodautoscalers",), None, life.key.namespace, life.key.cluster)):
        if hpa.first.received > event.received or (hpa.ended is not None and hpa.ended.time < event.received):
            continue
        ref = part(body_at(hpa, event.received), "spec", "scaleTargetRef")
        resource = kinds.resource_of(group_of(text(ref, "apiVersion")), text(ref, "kind") or "")
        if ref.get("name") == life.key.name and resource in (None, life.key.resource):
            yield hpa


def _allows(hpa: Life, event: Touch, replicas: Any) -> bool:
    """Whether an autoscaler may want a number."""
    low, high = (part(body_at(hpa, event.received), "spec").get(b) for b in ("minReplicas", "maxReplicas"))
    return not isinstance(replicas, int) or not (
        (isinstance(low, int) and replicas < low) or (isinstance(high, int) and replicas > high)
    )


def _bound_of(hpa: Life, event: Touch, replicas: Any) -> str | None:
    """The bound of an autoscaler that a number is, by its path."""
    spec = part(body_at(hpa, event.received), "spec")
    return next((f"spec.{b}" for b in ("minReplicas", "maxReplicas") if replicas is not None and spec.get(b) == replicas), None)


def _bound(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    if life.key.resource != "pods":
        return None
    return _made_by(life, "scheduling: the scheduler binds pods that are created")


def _made_by(life: Life, rule: str) -> Cause | str:
    """The creation of an object, which a component then acts on."""
    made = next((e for e in life.events if e.verb == "create" and e.subresource is None and e.ok), None)
    if made is None:
        return f"who created {life.key} is not in the log; it takes create of {life.key.resource} at Metadata"
    return Cause(life, made, f"{life.key} created", rule, CERTAIN)


def _signed(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The signer signs what was approved (KEP-1513); the approver approves what is asked for."""
    if event.subresource == "approval":
        return _made_by(life, "csr: it approves what a node may ask for")
    for e in reversed(life.events):
        if e.subresource == "approval" and e.ok and e.received <= event.time:
            return Cause(life, e, f"{life.key} approved", "csr: the signer signs what is approved", CERTAIN)
    return "the approval is not in the log; it takes update of certificatesigningrequests/approval at Metadata"


def _namespace_made(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """Controllers that put an object into every new namespace, and put it right when somebody changed it."""
    if event.verb in ("update", "patch"):
        change = driver(life, event, paths=("data",))
        if change is None or change.made:
            return f"nobody changed {life.key} before in the log; its controller puts into it what is right now"
        return driven(life, change, "namespace-made: it is put right when somebody changes it", LIKELY)
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
        if len(found) < len(refs):
            return f"it let go of {len(refs)} owners of {life.key} at once: which end made it act cannot be told"
        rule = "owner-gc: the garbage collector unties dependants"
        return Cause(last.life, last.event, last.effect, rule, last.sure, open=last.open).or_one_of(r.cause for r in found)
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
        change = driver(role, event, paths=("rules", "metadata.labels"))
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


def _node_kept(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The node controller taints nodes for their conditions, which no request asks for, and those that are cordoned."""
    before = next((r for r in reversed(life.revisions) if r.event.order < event.order and r.object is not None), None)
    after = next((r for r in life.revisions if r.event is event and r.object is not None), None)
    had, has = (
        {(t.get("key"), t.get("effect")) for t in items(r.object if r else None, "spec", "taints")} for r in (before, after)
    )
    if before is not None and after is not None and {key for key, _ in had ^ has} == {"node.kubernetes.io/unschedulable"}:
        rule = "cordon: the node controller taints what is unschedulable"
        return driven(life, driver(life, event, paths=("spec.unschedulable",)), rule)
    return (
        "the node controller acts on the conditions of a node, which its kubelet reports or ceases to; no request made it do so"
    )


def _kubelet(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    if life.key.resource == "pods" and event.verb == "create":
        return "the kubelet shows a static pod, which it read from a file of its node"
    return None


def _reclaimed(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """A volume that is not to be kept goes when its claim has gone (pkg/controller/volume/persistentvolume)."""
    ref = part(body_at(life, event.received), "spec", "claimRef")
    if not text(ref, "name"):
        return f"no body in the log shows whose {life.key} was; it takes persistentvolumes at RequestResponse"
    key = Key(life.key.cluster, "", "persistentvolumeclaims", text(ref, "namespace"), ref["name"])
    claim = tracer.life(tracer.exactly(key), event.received, text(ref, "uid"), ended=True)
    return _with(tracer, claim, key, event, "reclaim: the volume of a claim that is gone is deleted")


def _token(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The tokens controller deletes token Secrets of ServiceAccounts that are gone (pkg/controller/serviceaccount)."""
    notes = part(body_at(life, event.received), "metadata", "annotations")
    name, uid = text(notes, "kubernetes.io/service-account.name"), text(notes, "kubernetes.io/service-account.uid")
    if name is None:
        return f"no body in the log shows of which ServiceAccount {life.key} was; it takes secrets at RequestResponse"
    key = Key(life.key.cluster, "", "serviceaccounts", life.key.namespace, name)
    account = tracer.life(tracer.exactly(key), event.received, uid, ended=True)
    return _with(tracer, account, key, event, "token: the Secrets of a ServiceAccount that is gone are deleted")


def _with(tracer: Tracer, life: Life | None, key: Key, event: Touch, rule: str) -> Cause | str:
    """The end of an object that another one goes with."""
    end = endings.ending(tracer, life, event) if life is not None else None
    if end is None or end.event.received > event.received:
        return f"no deletion of {key} is in the log; it takes delete of {key.resource} at Metadata"
    return Cause(end.life, end.event, end.effect, rule, end.sure, end.limit, open=end.open)


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
    return by_owner(tracer, life, event)


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
    "deployment-controller": workloads.rolled,
    "endpoint-controller": _followed,
    "endpointslice-controller": _followed,
    "endpointslicemirroring-controller": _followed,
    "replicaset-controller": workloads.replicas,
    "replication-controller": workloads.replicas,
    "statefulset-controller": workloads.ordered,
    "daemon-set-controller": workloads.each_node,
    "job-controller": workloads.runs,
    "cronjob-controller": workloads.scheduled,
    "scheduler": _bound,
    "certificate-controller": _signed,
    "service-account-controller": _namespace_made,
    "root-ca-cert-publisher": _namespace_made,
    "service-ca-cert-publisher": _namespace_made,
    "generic-garbage-collector": _collected,
    "namespace-controller": endings.by_namespace,
    "clusterrole-aggregation-controller": _aggregated,
    "apiserver": _apiserver,
    "kubelet": _kubelet,
    "node-controller": _node_kept,
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
    "replicaset-controller": workloads.fewer,
    "replication-controller": workloads.fewer,
    "statefulset-controller": workloads.ordinal,
    "daemon-set-controller": workloads.daemon,
    "job-controller": workloads.stopped,
    "deployment-controller": workloads.outdated,
    "cronjob-controller": workloads.kept,
    "apiserver": _apiserver,
    "persistent-volume-binder": _reclaimed,
    "tokens-controller": _token,
}
# Those whose rules ask about the node of a pod.
BY_NODE = ("pod-garbage-collector", "taint-eviction-controller", "node-controller", "scheduler")
