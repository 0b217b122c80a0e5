"""Scenarios that share a lake: each in a namespace of its own, with the roots that must be named for what happened in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from auditlens.forensics.why import why
from auditlens.lake import Lake

from .made import GROUPS, KINDS, Log

Expected = list[tuple[str, str, str | None]]  # object, event, audit id of the root or None where nobody may be named
EACH = 50  # seconds, and requests, of a scenario
GOING = {"deletionTimestamp": "2026-11-23T11:00:00Z", "deletionGracePeriodSeconds": 30}


class Scene(Log):
    """Requests in one namespace; objects of the same name in two scenes have two uids."""

    def __call__(self, user: str, verb: str, object: str, body: dict[str, Any] | None = None, **more: Any) -> str:
        """One request, as `Log` makes it."""
        more["uid"] = more.get("uid") or self.uid(object.split("/")[1])
        return super().__call__(user, verb, object, body, **more)

    def gone(self, user: str, object: str, *, uid: str | None = None, **more: Any) -> str:
        """A deletion that was complete."""
        return super().gone(user, object, uid=uid or self.uid(object.split("/")[1]), **more)

    def uid(self, name: str) -> str:
        return f"{self.namespace}-{name}"

    def of(self, owner: str, body: dict[str, Any] | None = None, *, uid: str | None = None) -> dict[str, Any]:
        """A body whose controlling owner is `resource/name`."""
        resource, name = owner.split("/")
        group = GROUPS.get(resource)
        ref = {"apiVersion": f"{group}/v1" if group else "v1", "kind": KINDS[resource], "name": name, "uid": uid or self.uid(name),
               "controller": True}  # fmt: skip
        body = body or {}
        return {**body, "metadata": {**body.get("metadata", {}), "ownerReferences": [ref]}}

    def drop(self, user: str, object: str, body: dict[str, Any] | None = None, **more: Any) -> str:
        """A deletion that gives a pod time: answered with the pod."""
        body = body or {}
        going = {**body, "metadata": {**body.get("metadata", {}), **GOING}}
        return self(user, "delete", object, going, request={"kind": "DeleteOptions"}, **more)

    def evict(self, user: str, pod: str, **more: Any) -> str:
        """An eviction that was granted."""
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.namespace}}
        return self(user, "create", f"pods/{pod}/eviction", request=asked, answer=answer, **more)


class Scenes:
    """The scenarios of a module, in the order they are written."""

    def __init__(self) -> None:
        self.made: dict[str, Callable[[Scene], Expected]] = {}

    def __call__(self, make: Callable[[Scene], Expected]) -> Callable[[Scene], Expected]:
        self.made[make.__name__] = make
        return make

    def lines(self) -> tuple[list[bytes], dict[str, tuple[str, Expected]]]:
        """The log of all of them, in any order, and the namespace and what is expected of each."""
        lines, expected = [], {}
        for i, (name, make) in enumerate(self.made.items()):
            scene = Scene(f"s{i:02}", EACH * i)
            scene.version = 1000 * (i + 1)
            expected[name] = (scene.namespace, make(scene))
            assert len(scene.lines) <= EACH, name
            lines += scene.lines
        random.Random(7).shuffle(lines)
        return lines, expected


def wrong(lake: Lake, namespace: str, expected: Expected) -> list[str]:
    """What is told otherwise than expected."""
    found = []
    for object, event, id in expected:
        wide = object.split("/")[0] in ("node", "csr", "pv", "ns")
        chain = why(lake, object, namespace=None if wide else namespace, event=event)
        told = chain.root.event.audit_id if chain.root else None
        if told != id:
            links = [f"{x.event.actor} {x.event.audit_id} {x.rule} {x.sure}" for x in chain.links]
            found.append(f"{event} of {object}: {told}, not {id}; {links} {chain.limits}")
    return found
