"""How an object came to its end: the rules for deletions, and ends that no request about the object shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from auditlens.forensics.events import Event, collection, load
from auditlens.forensics.replay import Life
from auditlens.forensics.target import Target
from auditlens.forensics.tracer import CERTAIN, LIKELY, Cause, Tracer, body_at, driver, group_of, owners

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def by_owner(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """The garbage collector deletes what no living owner holds any more (pkg/controller/garbagecollector)."""
    refs = owners(life, event.time)
    best: Cause | None = None
    for ref in refs:
        owner = tracer.of(life, ref.get("kind", ""), group_of(ref.get("apiVersion")), ref.get("name", ""), uid=ref.get("uid"),
                          when=event.time)  # fmt: skip
        ended = ending(tracer, owner, event) if owner is not None else None
        if ended is not None and (best is None or ended.event.order > best.event.order):
            sure = CERTAIN if ended.life.uid and ended.life.uid == ref.get("uid") else LIKELY
            best = Cause(
                ended.life, ended.event, ended.effect, "owner-gc: the garbage collector deletes what its owner leaves", sure
            )
    if best is not None:
        return best
    if not refs:
        return f"no body in the log shows who owned {life.key}; it takes {life.key.resource} at RequestResponse"
    named = ", ".join(f"{r.get('kind')}/{r.get('name')}" for r in refs)
    return f"no deletion of its owner {named} is in the log; it takes delete of that resource at Metadata"


def by_namespace(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """The namespace controller empties a namespace that is being deleted, then finishes it."""
    name = life.key.name if life.key.resource == "namespaces" else life.key.namespace
    namespace = tracer.namespace(name, life.key.cluster, event.time)
    if namespace is None or namespace.deleted is None or namespace.deleted.received > event.time or namespace.deleted is event:
        return f"the deletion of namespace {name} is not in the log; it takes delete of namespaces at Metadata"
    return Cause(namespace, namespace.deleted, f"{namespace.key} deleted", "namespace: its contents go with it", CERTAIN)


def by_node(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """Pod GC deletes pods of nodes that are gone or out of service, and finished pods above a number (pkg/controller/podgc)."""
    name = _node_name(life, event)
    node = tracer.life(Target("", ("nodes",), name, None, life.key.cluster), event.time) if name else None
    if node is not None and node.deleted is not None and node.deleted.received <= event.time:
        return Cause(node, node.deleted, f"{node.key} deleted", "pod-gc: pods of a node that is gone are deleted", CERTAIN)
    taint = _tainted(node, event, lambda taint: taint.get("key") == OUT_OF_SERVICE) if node is not None else None
    if node is not None and taint is not None:
        return Cause(node, taint, f"{node.key} tainted {OUT_OF_SERVICE}", "pod-gc: pods of such a node are deleted", CERTAIN)
    return (
        "pod GC deletes pods of lost nodes and too many finished ones; no deletion of the node and no taint "
        f"{OUT_OF_SERVICE} is in the log (delete of nodes at Metadata, patch of nodes at Request)"
    )


def by_taint(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """The taint manager deletes pods from nodes with a NoExecute taint."""
    name = _node_name(life, event)
    if not name:
        return "the log does not show which node the pod was on; it takes pods/binding at Request or pods at RequestResponse"
    node = tracer.life(Target("", ("nodes",), name, None, life.key.cluster), event.time)
    if node is None:
        return f"node {name} is not in the log"
    found = _tainted(node, event, lambda taint: taint.get("effect") == "NoExecute")
    if found is None:
        return f"no NoExecute taint of {node.key} is in the log; it takes patch of nodes at Request"
    return Cause(node, found, f"{node.key} tainted NoExecute", "taint: pods that do not tolerate it are deleted", CERTAIN)


def _node_name(pod: Life, event: Event) -> str | None:
    name: str | None = (body_at(pod, event.time).get("spec") or {}).get("nodeName")
    return name


def _tainted(node: Life, before: Event, fits: Callable[[dict[str, Any]], bool]) -> Event | None:
    """The last request before an event that gave a node a taint that fits and that it did not have."""
    found, had = None, set[tuple[str | None, str | None]]()
    for r in node.revisions:
        if r.event.received > before.time:
            break
        if r.object is not None:
            taints = (r.object.get("spec") or {}).get("taints") or []
            has = {(t.get("key"), t.get("effect")) for t in taints if isinstance(t, dict) and fits(t)}
            found = r.event if has - had else found if has else None
            had = has
    return found


def by_kubelet(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """The kubelet finishes a deletion somebody else asked for."""
    asked = life.deleted
    if asked is not None and asked is not event and asked.received <= event.time:
        return Cause(life, asked, f"{life.key} deleted", "kubelet: it finishes a graceful deletion", CERTAIN)
    return "the kubelet finishes deletions others ask for; that request is not in the log (delete and pods/eviction at Metadata)"


def by_ttl(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """ttl-after-finished deletes Jobs their time after they end."""
    found = driver(life, event.time, paths=("spec.ttlSecondsAfterFinished",))
    if found is None:
        return "who set ttlSecondsAfterFinished is not in the log; it takes create, update and patch of jobs at Request"
    sure = CERTAIN if found.known else LIKELY
    return Cause(life, found.event, found.words, "ttl: finished Jobs are deleted after ttlSecondsAfterFinished", sure)


def by_preemption(tracer: Tracer, life: Life, event: Event) -> Cause | str | None:
    """The scheduler deletes victims for a pod that it nominates to their node (pkg/scheduler/framework/preemption)."""
    found = load(
        tracer.con,
        """
        select t.* from touch as t join audit as a
            on a.import_id = t.import_id and a.source = t.source and a.line = t.line and coalesce(a.item, 0) = coalesce(t.item, 0)
        where t.resource = 'pods' and t.subresource = 'status' and t.verb = 'patch' and t.via = 'ref' and t.code < 300
            and t.time between $time::timestamptz - interval 10 second and $time::timestamptz + interval 10 second
            and a.username = $user and contains(coalesce(a.request_object, ''), 'nominatedNodeName')
            and try(json_extract_string(a.request_object, '$.status.nominatedNodeName')) = $node
        """,
        {"time": event.time, "user": event.username, "node": _node_name(life, event)},
    )
    for e in sorted(found, key=lambda e: (abs(e.time - event.time), e.order)):
        if e.key == life.key:
            continue
        pod = tracer.life(Target("", ("pods",), e.key.name, e.key.namespace, e.key.cluster), event.time)
        made = next((m for m in pod.events if m.verb == "create" and m.subresource is None), None) if pod else None
        if pod is not None and made is not None:
            return Cause(pod, made, f"{pod.key} created", "preemption: a pod of higher priority took its place", LIKELY)
    return "for which pod it was preempted is not in the log; it takes patch of pods/status at Request, and the pod's node"


def ending(tracer: Tracer, life: Life, before: Event | None = None) -> Cause | None:
    """The request that ended a life: one about it, or one that ended what it was in; None if it lives on."""
    if life.deleted is not None and (before is None or life.deleted.received <= before.time):
        how = "direct: asked for"
        if life.deleted.subresource == "eviction":
            how = "eviction: asked for with pods/eviction"
        elif life.deleted.verb == "deletecollection":
            how = "collection: one of the objects a deletecollection answered"
        return Cause(life, life.deleted, f"{life.key} deleted", how, CERTAIN)
    if life.ended is not None and life.ended.ok and (before is None or life.ended.received <= before.time):
        return Cause(life, life.ended, f"{life.key} gone", "finalizer: its last finalizer was removed", LIKELY)
    return _unseen(tracer, life)


def _unseen(tracer: Tracer, life: Life) -> Cause | None:
    """Ends without a request of their own: of a custom resource with its CRD, of the contents of a namespace."""
    key, last = life.key, max(life.events, key=lambda e: e.order)
    if "." in key.group:
        crd = tracer.life(
            Target("apiextensions.k8s.io", ("customresourcedefinitions",), f"{key.resource}.{key.group}", None, key.cluster),
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


def _collection(tracer: Tracer, life: Life, namespace: Life) -> Event | None:
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


def _later(event: Event) -> dt.datetime:
    """Any time after: the life that follows is meant as well."""
    return event.time + dt.timedelta(days=36500)
