"""Why workload controllers make and delete pods, ReplicaSets and Jobs: the field each acts on, and what a pod came in place of.

Source: pkg/controller/{deployment,replicaset,statefulset,daemon,job,cronjob}. A controller makes pods again that went, and deletes
pods that failed, without anybody asking: then nobody is named.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from auditlens.answers.address import Address
from auditlens.forensics import authors
from auditlens.forensics.bodies import items, part, text
from auditlens.forensics.changes import Change
from auditlens.forensics.drivers import driven, driver, higher, lower, precedes
from auditlens.forensics.events import Touch
from auditlens.forensics.ownership import by_owner, by_spec, ending_owner, owner_life
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import LIKELY, Cause, Tracer, body_at, controller, refs_of

_TEMPLATE = ("spec.template", "spec.updateStrategy")
_DESIRED = "deployment.kubernetes.io/desired-replicas"


def fewer(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """A controller deletes pods because it is to have fewer (replicasets, replicationcontrollers)."""
    return _removed(tracer, life, event, ("spec.replicas",))


def stopped(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The job controller deletes pods of a Job that is suspended or is to run fewer; those of one that failed by itself."""
    return _removed(tracer, life, event, ("spec.suspend", "spec.parallelism", "spec.completions"))


def ordinal(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The StatefulSet controller deletes the ordinals above the number, and others for a new template."""
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    spec = part(body_at(found[0], event.received), "spec")
    number, first, size = life.key.name.rpartition("-")[2], part(spec, "ordinals").get("start", 0), spec.get("replicas")
    if not number.isdigit() or not isinstance(size, int) or not isinstance(first, int):
        return _removed(tracer, life, event, ("spec.replicas", "spec.ordinals", *_TEMPLATE))
    within = first <= int(number) < first + size
    return _removed(tracer, life, event, _TEMPLATE if within else ("spec.replicas", "spec.ordinals"))


def daemon(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The DaemonSet controller deletes pods of an older template, and those whose node they no longer fit."""
    out = _removed(tracer, life, event, _TEMPLATE)
    node = _node(tracer, life, event)
    if isinstance(out, Cause) or node is None:
        return out
    change = driver(node, event, paths=("metadata.labels", "spec.taints"), since=_born(life))
    if change is None or change.made or controller(change.event) is not None:
        return out
    return driven(node, change, "daemon: pods leave a node that does not fit them any more", LIKELY)


def _removed(tracer: Tracer, life: Life, event: Touch, paths: tuple[str, ...]) -> Cause | str:
    """The change of an owner by which a pod is not to be any more; its creation is no such change."""
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    ended = ending_owner(owner, event, sure)
    if ended is not None:
        return ended
    # a template rids of pods that were made before it; while pods are made in numbers, fewer may be asked for
    change = driver(owner, event, paths=paths, fits=_takes_away, since=_born(life) if paths == _TEMPLATE else None)
    if change is None and _born(life) is None:
        return driven(owner, None, "")
    if change is None or change.made:
        return f"nothing in the log asks {owner.key} for fewer or other pods: its controller also deletes pods that failed or do not fit, which no request shows"
    return driven(owner, change, "scale-down: the controller deletes pods its owner no longer asks for", sure)


def _takes_away(change: Change) -> bool:
    """Whether a change is a reason to delete pods: fewer, suspended, another template, a lower partition."""
    if change.path == "spec.suspend":
        return change.new is True
    if change.path in ("spec.replicas", "spec.parallelism", "spec.completions") or change.path.endswith("partition"):
        return lower(change)
    if change.path.startswith("spec.updateStrategy"):
        return change.path.endswith("type") and change.new == "RollingUpdate"
    return True


def _born(life: Life) -> Any:
    """When an object was created; None where the log does not show it."""
    return next((e.received for e in life.events if e.verb == "create" and e.subresource is None and e.ok), None)


def replicas(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """replicaset-controller and replication-controller make pods: for more replicas, or in place of those that went."""
    if event.verb != "create":
        return tied(tracer, life, event)
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    change = driver(owner, event, paths=("spec.replicas",), fits=higher)
    if change is None or change.limit is not None:
        return driven(owner, change, "")
    out = driven(owner, change, "owner: the controller makes the pods its owner asks for", sure)
    own, instead = _places(tracer, owner, controller(event)).get(event.audit_id, (True, []))
    return _stands_for(owner, out if own else None, instead)


def _places(tracer: Tracer, owner: Life, who: str | None) -> dict[str, tuple[bool, list[_Went]]]:
    """Of each pod an owner got, by its creation: whether it is one that was asked for, and the pods that it may be in place of.

    Asked for are as many as the number grew by, and no more of them when it became smaller again.
    """
    known: dict[str, tuple[bool, list[_Went]]] | None = tracer.memo.get(("places", owner.uid))
    if known is not None:
        return known
    made, gone = _pods(tracer, owner, who)
    steps: list[tuple[Any, int, Any]] = [(when, 0, more) for when, more in _sizes(owner)]
    steps += [(w.event.received, 1, w) for w in gone] + [(m.received, 2, m) for m in made]
    left: int | None = 0  # of those that were asked for; None where the log does not tell how many were
    pool: list[_Went] = []
    open_, found = 0, {}
    for _, kind, step in sorted(steps, key=lambda s: s[:2]):
        if kind == 0:
            left = None if step is None or left is None else max(0, left + step)
        elif kind == 1:
            pool, open_ = [*pool, step], open_ + 1
        else:
            found[step.audit_id] = (left is None or left > 0, pool)
            if left:
                left -= 1
            elif left == 0 and open_:
                open_ -= 1
                pool = pool if open_ else []
    tracer.memo["places", owner.uid] = found
    return found


def _pods(tracer: Tracer, owner: Life, who: str | None) -> tuple[list[Touch], list[_Went]]:
    """The creations of an owner's pods, and those that it lost, in order."""
    known: tuple[list[Touch], list[_Went]] | None = tracer.memo.get(("pods", owner.uid))
    if known is None:
        pods = tracer.siblings(owner)
        made = sorted((m for pod in pods if (m := _made(pod))), key=lambda m: m.order)
        gone = sorted((w for pod in pods for w in _went(pod, who)), key=lambda w: w.event.order)
        known = tracer.memo["pods", owner.uid] = (made, gone)
    return known


def _sizes(owner: Life) -> Iterator[tuple[dt.datetime, int | None]]:
    """By how much the number of an owner's pods grew, and when; None where the log does not tell."""
    before: int | None = None
    for r in owner.revisions:
        size = part(r.object, "spec").get("replicas", 1)
        if authors.blind(r) or not isinstance(size, int):
            if r.event.writes and authors.may_touch(r.event, "spec.replicas"):
                yield r.event.received, None
            continue
        if before is not None:
            yield r.event.received, size - before
        elif r.event.verb == "create" and r.event.subresource is None:
            yield r.event.received, size
        else:
            yield r.event.received, None if authors.asks(r.event, "spec.replicas") else 0
        before = size


@dataclass(frozen=True, slots=True)
class _Went:
    """A pod that its owner lost by somebody's request."""

    life: Life
    event: Touch
    words: str


def _stands_for(owner: Life, asked: Cause | str | None, gone: list[_Went]) -> Cause | str:
    """What was asked for, or one of the pods that went."""
    if not gone:
        more = f"{owner.key} got more pods than were asked for: one before failed, or went in a way that no request shows"
        return asked or more
    rule = "replacement: a pod of the same owner went"
    instead = [Cause(w.life, w.event, w.words, rule, LIKELY) for w in gone]
    if isinstance(asked, str):
        return asked
    return asked.or_one_of(instead) if asked else instead[0].or_one_of(instead)


def _made(pod: Life) -> Touch | None:
    return next((e for e in pod.events if e.verb == "create" and e.subresource is None and e.ok), None)


def _went(pod: Life, who: str | None) -> list[_Went]:
    """How a pod was lost by a request that was not its controller's: deleted, or relabelled so that it was let go of."""
    if pod.deleted is not None and controller(pod.deleted) != who:
        return [_Went(pod, pod.deleted, f"{pod.key} deleted")]
    for r in pod.revisions:
        if controller(r.event) == who and r.event.verb in ("patch", "update") and r.object and not refs_of(r.object):
            label = driver(pod, r.event, paths=("metadata.labels",))
            if label is not None and not label.made and label.limit is None:
                return [_Went(pod, label.event, label.words)]
    return []


def runs(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The job controller makes pods that are asked for, one after another, and in place of those that somebody deleted."""
    if event.verb != "create":
        return tied(tracer, life, event)
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    change = driver(owner, event, paths=("spec.parallelism", "spec.completions", "spec.suspend"),
                    fits=lambda c: c.new is not True if c.path == "spec.suspend" else higher(c))  # fmt: skip
    out = driven(owner, change, "owner: the controller makes the pods its owner asks for", sure)
    if change is None or isinstance(out, str):
        return out
    made, lost = _pods(tracer, owner, controller(event))
    earlier = bisect_left(made, event.order, key=lambda m: m.order)
    last = made[earlier - 1] if earlier else change.event
    gone = [w for w in lost if w.event.order > last.order and precedes(w.event, event)]
    return _stands_for(owner, None, gone) if gone else out


def each_node(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The DaemonSet controller makes a pod for every node: for a new DaemonSet or node, or in place of the one before."""
    if event.verb != "create":
        return tied(tracer, life, event)
    found = owner_life(tracer, life, event)
    if isinstance(found, str) or life.key.resource != "pods":
        return by_owner(tracer, life, event)
    owner, sure = found
    change = driver(owner, event, paths=("spec.template", "spec.selector"))
    name = node_of(life)
    before = [p for p in _on_node(tracer, owner).get(name or "", ()) if p.uid != life.uid and p.first.order < event.order]
    if before:
        last = max(before, key=lambda pod: pod.first.order)
        if last.deleted is not None and precedes(last.deleted, event):
            return Cause(last, last.deleted, f"{last.key} deleted", "replacement: the pod on that node went", LIKELY)
        if change is None or change.made or change.event.order < last.first.order:
            return f"the pod of {owner.key} on node {name} before went in a way that no request shows"
        return driven(owner, change, "surge: the pod of the new template comes before the old one goes", sure)
    node = _node(tracer, life, event)
    came = _made(node) if node is not None else None
    if node is not None and came is not None and precedes(came, event) and (change is None or came.order > change.event.order):
        return Cause(node, came, f"{node.key} created", "daemon: every node gets a pod", LIKELY)
    return driven(owner, change, "owner: the controller makes the pods its owner asks for", sure)


def _on_node(tracer: Tracer, owner: Life) -> dict[str, list[Life]]:
    """The pods an owner has or had, by node."""
    known: dict[str, list[Life]] | None = tracer.memo.get(("nodes", owner.uid))
    if known is None:
        known = tracer.memo["nodes", owner.uid] = {}
        for pod in tracer.siblings(owner):
            if name := node_of(pod):
                known.setdefault(name, []).append(pod)
    return known


def node_of(pod: Life) -> str | None:
    """The node that a pod is on, or that a DaemonSet made it for."""
    body = body_at(pod)
    terms = items(body, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    asked = [v for t in terms for f in items(t, "matchFields") if f.get("key") == "metadata.name" for v in f.get("values") or ()]
    return text(body, "spec", "nodeName") or next((v for v in asked if isinstance(v, str)), None)


def _node(tracer: Tracer, pod: Life, event: Touch) -> Life | None:
    name = node_of(pod)
    return tracer.life(Address("", ("nodes",), name, None, pod.key.cluster), event.received) if name else None


def ordered(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The StatefulSet controller makes pods for a number, and what records its template for that."""
    if event.verb != "create":
        return tied(tracer, life, event)
    if life.key.resource == "controllerrevisions":
        return by_spec(tracer, life, event, "spec.template")
    if life.key.resource == "persistentvolumeclaims":
        return _claimed(tracer, life, event)
    return by_spec(tracer, life, event, "spec.replicas", "spec.ordinals", fits=lambda c: not lower(c))


def _claimed(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The StatefulSet whose claim this is, as its name TEMPLATE-SET-ORDINAL tells: nothing else of it does."""
    for owner in tracer.lives(Address("apps", ("statefulsets",), None, life.key.namespace, life.key.cluster)):
        over = owner.ended is not None and owner.ended.received <= event.received
        templates = [text(t, "metadata", "name") for t in items(body_at(owner, event.received), "spec", "volumeClaimTemplates")]
        if not over and life.key.name.rpartition("-")[0] in [f"{name}-{owner.key.name}" for name in templates]:
            change = driver(owner, event, paths=("spec.replicas", "spec.ordinals"), fits=lambda c: not lower(c))
            return driven(owner, change, "owner: the controller makes the claims its StatefulSet asks for", LIKELY)
    return f"no StatefulSet in the log has a claim template for {life.key}; it takes statefulsets at RequestResponse"


def tied(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """A workload controller takes in a pod that its selector chooses, or lets go of one that it does not."""
    if life.key.resource != "pods":
        return by_owner(tracer, life, event)
    before = next((r for r in reversed(life.revisions) if r.event.order < event.order and r.object is not None), None)
    after = next((r for r in life.revisions if r.event is event and r.object is not None), None)
    who = controller(event) or "its controller"
    if before is None or after is None or refs_of(before.object) == refs_of(after.object):
        return f"{who} keeps its own marks on {life.key}; no request made it do so"
    label = driver(life, event, paths=("metadata.labels",))
    if label is not None and label.made:
        label = None
    if len(refs_of(after.object)) > len(refs_of(before.object)):
        found = owner_life(tracer, life, event)
        if isinstance(found, str):
            return found
        made = driver(found[0], event, paths=("spec.selector",))
        if label is None or (made is not None and made.event.order > label.event.order):
            return driven(found[0], made, "adoption: its selector chooses the pod", found[1])
    rule = "selection: whether a selector chooses a pod follows from its labels"
    return driven(life, label, rule) if label is not None else f"no change of the labels of {life.key} is in the log"


def rolled(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The deployment controller makes a ReplicaSet for a template, and sizes all of them for the template or the replicas.

    When it sizes them for the replicas it notes the new number in an annotation (deployment/util SetReplicasAnnotations,
    sync.go isScalingEvent): a size that changed with the same note belongs to the rollout.
    """
    if life.key.resource == "deployments":
        change = driver(life, event, paths=("spec.template",))
        return driven(life, change, "rollout: the controller notes which revision of the template it is")
    found = owner_life(tracer, life, event)
    if isinstance(found, str) or life.key.resource != "replicasets":
        return by_owner(tracer, life, event)
    owner, sure = found
    rule = "owner: the controller carries out its owner's spec"
    template = driver(owner, event, paths=("spec.template", "spec.paused", "spec.rollbackTo"), fits=_rolls)
    if event.verb == "create":
        return driven(owner, template, rule, sure)
    size = driver(owner, event, paths=("spec.replicas",))
    before = next((r for r in reversed(life.revisions) if r.event.order < event.order and r.object is not None), None)
    after = next((r for r in life.revisions if r.event is event and r.object is not None), None)
    if size is None or template is None or size.event is template.event or before is None or after is None:
        return driven(owner, max((d for d in (size, template) if d), key=lambda d: d.event.order, default=None), rule, sure)
    noted = [part(r.object, "metadata", "annotations").get(_DESIRED) for r in (before, after)]
    since = [d for d in (size, template) if d.event.order > before.event.order]
    if part(before.object, "spec").get("replicas") == 0 and template in since:
        return driven(owner, template, rule, sure)  # an old one that a template brings back
    if None not in noted:
        return driven(owner, size if noted[0] != noted[1] else template, rule, sure)
    if len({d.event.actor for d in since}) > 1:
        named = " and ".join(f"{d.words} by {d.event.actor} ({d.event.audit_id})" for d in since)
        return f"{owner.key} was changed twice before, {named}: which of them sized {life.key} cannot be told"
    return driven(owner, max((size, template), key=lambda d: d.event.order), rule, sure)


def _rolls(change: Change) -> bool:
    return change.path != "spec.paused" or change.new is not True


def outdated(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The deployment controller drops old ReplicaSets when a rollout has made them too many, or fewer are to be kept."""
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    change = driver(owner, event, paths=("spec.template", "spec.revisionHistoryLimit"), fits=_drops)
    if change is not None and change.made:
        return f"nothing in the log made {life.key} one too many for {owner.key}"
    return ending_owner(owner, event, sure) or driven(owner, change, "history: old revisions above the limit are deleted", sure)


def _drops(change: Change) -> bool:
    return change.path != "spec.revisionHistoryLimit" or lower(change) or change.old is None


def scheduled(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The CronJob controller makes Jobs by the schedule."""
    return by_spec(tracer, life, event, "spec.schedule", "spec.timeZone", "spec.suspend", fits=_resumes)


def _resumes(change: Change) -> bool:
    return change.path != "spec.suspend" or change.new is not True


def kept(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """The CronJob controller deletes finished Jobs above its limits, and running ones that the next is to replace."""
    limits = ("spec.successfulJobsHistoryLimit", "spec.failedJobsHistoryLimit", "spec.concurrencyPolicy")
    return by_spec(tracer, life, event, *limits, fits=lambda c: lower(c) or c.old is None or c.new == "Replace",
                   rule="its CronJob keeps so many Jobs")  # fmt: skip
