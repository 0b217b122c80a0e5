"""How an object came to its end: the rules for deletions, and ends that no request about the object shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from auditlens.answers.address import Address
from auditlens.forensics.bodies import items, part, text
from auditlens.forensics.drivers import driven, driver
from auditlens.forensics.events import Touch, collection, load
from auditlens.forensics.replay import Life, doubt
from auditlens.forensics.sweeps import swept
from auditlens.forensics.tracer import CERTAIN, LIKELY, SURE, Cause, Tracer, body_at, group_of, owners, owners_known

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True, slots=True)
class _Release:
    """How an owner ceased to hold its dependants, and between which moments."""

    cause: Cause
    low: dt.datetime
    high: dt.datetime

    def overlaps(self, other: _Release) -> bool:
        return self.low < other.high and other.low < self.high


def by_owner(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The garbage collector deletes what no owner holds any more: the end of the last one is the cause.

    Source: pkg/controller/garbagecollector attemptToDeleteItem: an owner holds (is solid) until it is gone, or until its deletion waits
    for its dependants (foreground).
    """
    refs, sure = owners(life, event.time), owners_known(life, event.time)
    if not refs:
        return f"no body in the log shows who owned {life.key}; it takes {life.key.resource} at RequestResponse"
    if sure is None:
        return f"which owners {life.key} still had is not in the log; it takes patch of {life.key.resource} at Request"
    found, held = [], []
    for ref in refs:
        one = released(tracer, life, ref, event)
        if one is None:
            held.append(f"{ref.get('kind')}/{ref.get('name')}")
        else:
            found.append(one)
    if held:
        rest = f"; of {len(refs)} owners the last one to go is the cause, so the others tell nothing" if found else ""
        return f"no deletion of its owner {', '.join(held)} is in the log; it takes delete of that resource at Metadata{rest}"
    return _last_release(found, sure)


def _last_release(found: list[_Release], sure: str) -> Cause:
    """The owner that went last, or one of several that went at once."""
    last = max(found, key=lambda r: (r.high, r.cause.event.order))
    rivals = [r.cause for r in found if r is not last and r.overlaps(last)]
    c = last.cause
    rule = "owner-gc: the garbage collector deletes what its owner leaves"
    if len(found) > 1:
        rule += f", the last of {len(found)}"
    cause = Cause(c.life, c.event, c.effect, rule, min(c.sure, sure, key=SURE.index), open=c.open)
    return cause.or_one_of(rivals)


def released(tracer: Tracer, life: Life, ref: dict[str, Any], event: Touch) -> _Release | None:
    """How one owner had ceased to hold an object by the time of an event; None where the log does not show that it had."""
    owner = tracer.of(life, ref.get("kind", ""), group_of(ref.get("apiVersion")), ref.get("name", ""), uid=ref.get("uid"),
                      when=event.time, ended=True)  # fmt: skip
    end = ending(tracer, owner, event) if owner is not None else None
    if owner is None or end is None:
        return None
    same = owner.uid is not None and owner.uid == ref.get("uid")
    cause = replace(end, sure=min(end.sure, CERTAIN if same else LIKELY, key=SURE.index))
    if end.event is owner.deleted and _foreground(end.event):
        return _Release(cause, end.event.received, end.event.time)
    if owner.ended is not None and owner.ended.ok and owner.ended.received <= event.time:
        return _Release(cause, owner.ended.received, owner.ended.time)
    return _Release(
        cause, end.event.received, max(end.event.time, min(event.time, owner.ended.time if owner.ended else event.time))
    )


def _foreground(deletion: Touch) -> bool:
    """Whether a deletion waits for the dependants, which frees them at once (metav1.DeletePropagationForeground)."""
    asked = deletion.request if isinstance(deletion.request, dict) else {}
    left = part(deletion.body, "metadata").get("finalizers")
    return (
        "propagationPolicy=Foreground" in deletion.uri
        or asked.get("propagationPolicy") == "Foreground"
        or (isinstance(left, list) and "foregroundDeletion" in left)
    )


def by_namespace(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The namespace controller empties a namespace that is being deleted, then finishes it."""
    name = life.key.name if life.key.resource == "namespaces" else life.key.namespace
    namespace = tracer.namespace(name, life.key.cluster, event.time)
    if namespace is None or namespace.deleted is None or namespace.deleted.received > event.time or namespace.deleted is event:
        return f"the deletion of namespace {name} is not in the log; it takes delete of namespaces at Metadata"
    return Cause(namespace, namespace.deleted, f"{namespace.key} deleted", "namespace: its contents go with it", CERTAIN)


def by_node(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """Pod GC deletes pods of nodes that are gone or out of service, and finished pods above a number (pkg/controller/podgc)."""
    name = _node_name(life, event)
    node = tracer.life(Address("", ("nodes",), name, None, life.key.cluster), event.time) if name else None
    if node is not None and node.deleted is not None and node.deleted.received <= event.time:
        return Cause(node, node.deleted, f"{node.key} deleted", "pod-gc: pods of a node that is gone are deleted", CERTAIN)
    taints = _tainted(node, event, lambda taint: taint.get("key") == OUT_OF_SERVICE) if node is not None else []
    if node is not None and taints:
        return Cause(
            node, taints[-1][1], f"{node.key} tainted {OUT_OF_SERVICE}", "pod-gc: pods of such a node are deleted", CERTAIN
        )
    return (
        "pod GC deletes pods of lost nodes and too many finished ones; no deletion of the node and no taint "
        f"{OUT_OF_SERVICE} is in the log (delete of nodes at Metadata, patch of nodes at Request)"
    )


def by_taint(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The taint manager deletes pods from nodes with a NoExecute taint."""
    name = _node_name(life, event)
    if not name:
        return "the log does not show which node the pod was on; it takes pods/binding at Request or pods at RequestResponse"
    node = tracer.life(Address("", ("nodes",), name, None, life.key.cluster), event.time)
    if node is None:
        return f"node {name} is not in the log"
    taints = _tainted(node, event, lambda taint: taint.get("effect") == "NoExecute")
    borne = items(body_at(life, event.time), "spec", "tolerations")
    found = [e for taint, e in taints if not any(_bears(t, taint) for t in borne)]
    if not found:
        return (
            f"no NoExecute taint of {node.key} is in the log that the pod does not tolerate; it takes patch of nodes at Request"
        )
    if len({e.actor for e in found}) > 1:
        named = ", ".join(f"{e.actor} ({e.audit_id})" for e in found)
        return f"{node.key} has several NoExecute taints, by {named}: for which of them the pod had to go cannot be told"
    rule = "taint: pods that do not tolerate it are deleted"
    return Cause(node, found[-1], f"{node.key} tainted NoExecute", rule, CERTAIN)


def _bears(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    """Whether a pod stays for good in spite of a taint (core/v1 Toleration.ToleratesTaint)."""
    if toleration.get("tolerationSeconds") is not None or toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") not in (None, "", taint.get("key")):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


def _node_name(pod: Life, event: Touch) -> str | None:
    return text(body_at(pod, event.time), "spec", "nodeName")


def _tainted(node: Life, before: Touch, fits: Callable[[dict[str, Any]], bool]) -> list[tuple[dict[str, Any], Touch]]:
    """The taints that fit and that a node has by an event, each with the request that gave it, in the order of these."""
    had: dict[tuple[str, str], tuple[dict[str, Any], Touch]] = {}
    for r in node.revisions:
        if r.event.received > before.time:
            break
        if r.object is not None:
            taints = items(r.object, "spec", "taints")
            has = {(str(t.get("key")), str(t.get("effect"))): t for t in taints if fits(t)}
            had = {k: had.get(k, (t, r.event)) for k, t in has.items()}
    return sorted(had.values(), key=lambda h: h[1].order)


def by_kubelet(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The kubelet finishes a deletion somebody else asked for."""
    asked = life.deleted
    if asked is not None and asked is not event and asked.received <= event.time:
        return Cause(life, asked, f"{life.key} deleted", "kubelet: it finishes a graceful deletion", CERTAIN)
    return swept(tracer, life, event) or (
        "the kubelet finishes deletions others ask for; no such request in the log tells this pod "
        "(it takes delete and pods/eviction at Metadata, deletecollection at RequestResponse)"
    )


def by_ttl(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """ttl-after-finished deletes Jobs their time after they end."""
    found = driver(life, event, paths=("spec.ttlSecondsAfterFinished",))
    if found is None:
        return "who set ttlSecondsAfterFinished is not in the log; it takes create, update and patch of jobs at Request"
    return driven(life, found, "ttl: finished Jobs are deleted after ttlSecondsAfterFinished")


def by_preemption(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The scheduler deletes victims for a pod that it nominates to their node (pkg/scheduler/framework/preemption)."""
    found = load(
        tracer.con,
        """
        select t.* from audit_objects as t join audit as a
            on a.import_id = t.import_id and a.source = t.source and a.line = t.line and coalesce(a.item, 0) = coalesce(t.item, 0)
        where t.resource = 'pods' and t.subresource = 'status' and t.verb = 'patch' and t.via = 'ref' and t.code < 300
            and t.time between $time::timestamptz - interval 10 second and $time::timestamptz + interval 10 second
            and a.username = $user and contains(coalesce(a.request_object, ''), 'nominatedNodeName')
            and try(json_extract_string(a.request_object, '$.status.nominatedNodeName')) = $node
        """,
        {"time": event.time, "user": event.username, "node": _node_name(life, event)},
    )
    rule, makers = "preemption: a pod of higher priority took its place", []
    for e in sorted(found, key=lambda e: (abs(e.time - event.time), e.order)):
        pod = tracer.life(Address("", ("pods",), e.key.name, e.key.namespace, e.key.cluster), event.time)
        made = next((m for m in pod.events if m.verb == "create" and m.subresource is None), None) if pod else None
        if pod is not None and made is not None and e.key != life.key:
            makers.append(Cause(pod, made, f"{pod.key} created", rule, LIKELY))
    if makers:
        return makers[0].or_one_of(makers[1:])
    return "for which pod it was preempted is not in the log; it takes patch of pods/status at Request, and the pod's node"


def ending(tracer: Tracer, life: Life, before: Touch | None = None) -> Cause | None:
    """The request that ended a life: one about it, or one that ended what it was in; None if it lives on."""
    if life.deleted is not None and (before is None or life.deleted.received <= before.time):
        how = asked_how(life.deleted.verb, life.deleted.subresource)
        return Cause(life, life.deleted, f"{life.key} deleted", how, CERTAIN)
    if life.ended is not None and life.ended.ok and (before is None or life.ended.received <= before.time):
        rule = "finalizer: its last finalizer was removed"
        return Cause(life, life.ended, f"{life.key} gone", rule, LIKELY, f"who asked for the deletion of {life.key} is not in the log; it takes "
                     "delete of its resource at Metadata", open=True)  # fmt: skip
    return _given_up(life, before) or _unseen(tracer, life) or _missed(tracer, life, before)


def _missed(tracer: Tracer, life: Life, before: Touch | None) -> Cause | None:
    """The end of an object that was not there any more: a collection that it was in, if its items were not recorded."""
    gone = life.ended or life.followed
    if gone is None or (before is not None and gone.received > before.time):
        return None
    return swept(tracer, life, gone)


def asked_how(verb: str, subresource: str | None) -> str:
    """The rule of a request that asks for the end of an object itself."""
    if subresource == "eviction":
        return "eviction: asked for with pods/eviction"
    if verb == "deletecollection":
        return "collection: one of the objects a deletecollection answered"
    return "direct: asked for"


def _given_up(life: Life, before: Touch | None) -> Cause | None:
    """A deletion whose outcome the log does not hold, of an object that was gone afterwards."""
    gone = life.ended or life.followed
    asked = [e for e in life.maybe if e.verb in ("delete", "deletecollection") and gone is not None and e.time < gone.received]
    if gone is None or not asked or (before is not None and gone.received > before.time):
        return None
    limit = f"{doubt(asked[-1])}; it was gone by {gone.received:%Y-%m-%dT%H:%M:%SZ} ({gone.audit_id})"
    return Cause(life, asked[-1], f"{life.key} gone", "direct: asked for, and gone afterwards", LIKELY, limit)


def _unseen(tracer: Tracer, life: Life) -> Cause | None:
    """Ends without a request of their own: of a custom resource with its CRD, of the contents of a namespace."""
    key, last = life.key, max(life.events, key=lambda e: e.order)
    if "." in key.group:
        crd = tracer.life(
            Address("apiextensions.k8s.io", ("customresourcedefinitions",), f"{key.resource}.{key.group}", None, key.cluster),
            _later(last),
        )
        if crd is not None and crd.deleted is not None and crd.deleted.order > last.order:
            return Cause(crd, crd.deleted, f"{crd.key} deleted", "crd: the apiserver deletes the instances with it", CERTAIN)
    if key.namespace and key.resource != "namespaces":
        namespace = tracer.namespace(key.namespace, key.cluster, _later(last))
        if (
            namespace is not None
            and namespace.ended is not None
            and namespace.ended.order > last.order
            and namespace.deleted is not None
        ):
            bare = _collection(tracer, life, namespace)
            if bare is not None:
                return Cause(life, bare, f"{key} deleted", "collection: a deletecollection whose items were not recorded", LIKELY)
            return Cause(namespace, namespace.deleted, f"{namespace.key} deleted", "namespace: its contents go with it", CERTAIN)
    return None


def _collection(tracer: Tracer, life: Life, namespace: Life) -> Touch | None:
    """A deletecollection of the resource in the namespace while it was being deleted, recorded without its items."""
    deleted = namespace.deleted
    rows = tracer.con.execute(
        "select audit_id, source, line from audit where verb = 'deletecollection' and code < 300 and stage = 'ResponseComplete' "
        "and namespace = ? and resource = ? and stage_time >= ?::timestamptz and not coalesce(dry_run, false) order by stage_time, audit_id limit 1",
        [life.key.namespace, life.key.resource, deleted.received if deleted else None],
    ).fetchall()
    if not rows:
        return None
    return collection(tracer.con, life.key, *rows[0])


def _later(event: Touch) -> dt.datetime:
    """Any time after: the life that follows is meant as well."""
    return event.time + dt.timedelta(days=36500)
