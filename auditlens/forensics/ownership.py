"""Whose wish a controller carries out: its controlling owner, and the write of that owner's spec that it acts on."""

from __future__ import annotations

import datetime as dt

from auditlens import kinds
from auditlens.answers.address import Address
from auditlens.forensics import endings
from auditlens.forensics.drivers import Fits, driven, driver, drivers, precedes
from auditlens.forensics.events import Touch
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, GUESS, LIKELY, SURE, Cause, Tracer, controller, group_of, owners, refs_of

RECONCILED = dt.timedelta(
    minutes=5
)  # how long after a change of its custom resource what an operator does is taken to be for that


def owner_life(tracer: Tracer, life: Life, event: Touch) -> tuple[Life, str] | str:
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


def ending_owner(owner: Life, event: Touch, sure: str) -> Cause | None:
    """An owner that was being deleted when a controller deleted what is its."""
    if event.verb not in ("delete", "deletecollection") or owner.deleted is None or owner.deleted.received > event.received:
        return None
    return Cause(owner, owner.deleted, f"{owner.key} deleted", "owner-deleted: its owner was being deleted", sure)


def by_spec(
    tracer: Tracer, life: Life, event: Touch, *paths: str, fits: Fits | None = None, rule: str = "the controller carries out its owner's spec"
) -> Cause | str:  # fmt: skip
    """A controller makes or changes what its owner asks for in some fields."""
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    owner, sure = found
    change = driver(owner, event, paths=paths or ("spec",), fits=fits)
    return ending_owner(owner, event, sure) or driven(owner, change, f"owner: {rule}", sure)


def by_owner(tracer: Tracer, life: Life, event: Touch) -> Cause | str | None:
    """What a controller does to an object of an owner whose fields it acts on are not declared here: makes it, changes it, deletes it."""
    if not owners(life, event.time):
        return None
    if event.verb not in ("delete", "deletecollection"):
        return by_spec(tracer, life, event)
    found = owner_life(tracer, life, event)
    if isinstance(found, str):
        return found
    why = f"{found[0].key} was not being deleted, and what made its controller delete {life.key} no request shows"
    return ending_owner(found[0], event, found[1]) or why


def again(tracer: Tracer, life: Life, event: Touch) -> Cause | None:
    """The end of the object of that name and owner before, which a controller made again."""
    owner = [r.get("uid") for r in refs_of(event.body)[:1]] or [r.get("uid") for r in owners(life, event.time)[:1]]
    before = [
        x for x in tracer.lives(tracer.exactly(life.key))
        if x.uid != life.uid and x.first.order < event.order and event not in x.events
    ]  # fmt: skip
    if not before or [r.get("uid") for r in owners(before[-1], event.time)[:1]] != owner:
        return None
    end = endings.ending(tracer, before[-1], event)
    if end is None or not precedes(end.event, event):
        return None
    rule = "replacement: the one of that name went"
    return Cause(end.life, end.event, end.effect, rule, min(end.sure, LIKELY, key=SURE.index), end.limit, open=end.open)


def operator(tracer: Tracer, life: Life, event: Touch) -> Cause | None:
    """An operator (a service account outside the control plane) makes or changes what a custom resource owns right after that was changed.

    Only where one person alone did, and the object was not there before: what an operator does later, or again, is its own doing.
    """
    wrote = event.verb in ("create", "update", "patch") and event.subresource in (None, "scale")
    if not wrote or event.impersonated or controller(event) or not (event.username or "").startswith("system:serviceaccount:"):
        return None
    ref = next(iter(refs_of(event.body) or owners(life, event.time)), {})
    group = group_of(ref.get("apiVersion"))
    if not ref.get("controller") or "." not in group or kinds.resource_of(group, ref.get("kind", "")):
        return None
    owner = tracer.of(life, ref["kind"], group, ref["name"], uid=ref.get("uid"), when=event.time)
    if owner is None or owner.uid is None or owner.uid != ref.get("uid"):
        return None
    if event.verb == "create" and any(
        x.uid != life.uid and x.first.order < event.order for x in tracer.lives(tracer.exactly(life.key))
    ):
        return None
    last = max((e.received for e in life.events if e.order < event.order and e.writes and e.ok), default=None)
    since = max(filter(None, (last, event.received - RECONCILED)))
    found = list(drivers(owner, event, paths=("spec",), since=since))
    if (
        not found
        or {d.event.actor for d in found} - {event.actor} != {found[-1].event.actor}
        or not found[-1].known
        or found[-1].limit
    ):
        return None
    rule = "operator: it carries out a custom resource that was changed just before"
    return Cause(owner, found[-1].event, found[-1].words, rule, LIKELY)
