"""The lives of one object and its revisions, rebuilt from what each request answered or asked.

The order of revisions is that of resource versions (etcd's), times decide only where the log has none. A revision is `exact` when a
response held the whole object at it, `derived` when a request was applied to an earlier one, `metadata` when only names, times
and metadata are known, `exists` when only that it was there, `unknown` when a write may or may not have been done and nothing later
tells.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from auditlens.forensics.bodies import part, text
from auditlens.forensics.derive import derive
from auditlens.forensics.events import Key, Touch

EXACT, DERIVED, METADATA, EXISTS, UNKNOWN = "exact", "derived", "metadata", "exists", "unknown"
# How long after it was given up a write may still reach the store: its context is cancelled, what is on its way is not.
LANDING = dt.timedelta(seconds=10)

# Subresources of which a write changes nothing of the object itself (core/v1 pod connect and token subresources).
INERT = ("exec", "attach", "portforward", "proxy", "log", "token")


@dataclass
class Revision:
    """The object after one event. `object` is None where only its existence is known; `known` is how well it is known."""

    event: Touch
    known: str
    object: dict[str, Any] | None
    note: str | None = None

    @property
    def rv(self) -> int | None:
        return self.event.rv


@dataclass(eq=False)
class Life:
    """One object from creation to its end; `uid` is None where the log never tells it."""

    key: Key
    uid: str | None
    events: list[Touch] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    ended: Touch | None = None  # the request with which it was gone
    over: dt.datetime | None = None  # the first time at which one of its events says so; kept while events are sorted into lives
    deleted: Touch | None = None  # the first request that asked for its deletion
    maybe: list[Touch] = field(default_factory=list)  # writes whose outcome the log does not hold
    followed: Touch | None = None  # the first sight of another object of that name, by which this one was gone

    @property
    def first(self) -> Touch:
        return self.events[0]


def lives(events: Iterable[Touch]) -> list[Life]:
    """The lives of one key, oldest first; events that changed nothing and happened to none of them are in no life."""
    ordered = sorted((e for e in events if not e.about_many), key=lambda e: e.order)
    found: list[Life] = []
    for event in ordered:
        life = _life(found, event)
        if life is not None:
            life.events.append(event)
            if gone(event) and (life.over is None or event.time < life.over):
                life.over = event.time
    for life in found:
        _replay(life)
    known = [life for life in found if life.revisions or life.maybe]
    ordered_lives = sorted(known, key=lambda life: life.first.order)
    for life, after in pairwise(ordered_lives):
        life.followed = after.first if after.revisions else None
    return ordered_lives


def _life(found: list[Life], event: Touch) -> Life | None:
    """The life an event belongs to; a new one where it proves one."""
    if event.uid and event.ok:
        for life in found:
            if life.uid == event.uid:
                return life
        if (
            found
            and found[-1].uid is None
            and not _over(found[-1], event)
            and not (event.verb == "create" and not event.subresource)
        ):
            found[-1].uid = event.uid
            return found[-1]
        found.append(Life(event.key, event.uid))
        return found[-1]
    creates = event.verb == "create" and not event.subresource
    if creates and (event.ok or uncertain(event)):
        if found and uncertain(event) and not _over(found[-1], event):
            return found[-1]
        found.append(Life(event.key, None))
        return found[-1]
    if found and (not _over(found[-1], event) or not event.ok):
        return found[-1]
    if event.ok and not (event.verb == "delete" and event.response_kind == "Status"):
        found.append(Life(event.key, None))
        return found[-1]
    return None


def _over(life: Life, event: Touch) -> bool:
    """Whether a life had ended before an event came in, as its events so far tell."""
    return life.over is not None and life.over < event.received


def uncertain(event: Touch) -> bool:
    """Whether a write may have happened although it was not answered with success: timeouts, panics, lost completions."""
    if event.dry_run or not event.writes or event.subresource in INERT:
        return False
    return (
        event.code in (None, 0, 499, 504)
        or event.stage == "Panic"
        or (event.code == 500 and event.reason in (None, "Timeout", "ServerTimeout"))
    )


def gone(event: Touch) -> bool:
    """Whether the object was gone with this event's answer.

    Source: apiserver/pkg/registry/rest/delete.go (BeforeDelete, markAsDeleting) and generic/registry/store.go
    (deletionFinalizers, ShouldDeleteDuringUpdate): an object goes when no finalizer is left and its grace period is 0; a Status
    answers a deletion that is complete, the object one that waits, except where the store returns deleted objects (pods,
    services, serviceaccounts and others).
    """
    if not event.ok:
        return event.outcome == "not_found" and event.subresource is None and _absent(event)
    body = event.body
    if event.verb == "delete" and event.subresource is None:
        if body is None:
            asked = event.request if isinstance(event.request, dict) else {}
            waits = event.key.resource in ("pods", "namespaces") and asked.get("gracePeriodSeconds") != 0
            return event.response_kind == "Status" or (event.response_text is None and (not waits or _kubelet(event)))
        return not _waits(event, body)
    if event.verb == "deletecollection" and event.via == "item":
        if body is None or body["metadata"].get("finalizers"):
            return False
        return event.key.resource != "pods" or not _graceful(event, body)
    if event.verb in ("update", "patch") and body is not None and body["metadata"].get("deletionTimestamp"):
        return not _waits(event, body)
    return False


def _waits(event: Touch, body: dict[str, Any]) -> bool:
    meta = part(body, "metadata")
    if meta.get("finalizers") or (event.key.resource == "namespaces" and part(body, "spec").get("finalizers")):
        return True
    asked = event.request if event.verb == "delete" and isinstance(event.request, dict) else {}
    if not meta.get("deletionTimestamp"):
        return False
    return bool(meta.get("deletionGracePeriodSeconds")) and asked.get("gracePeriodSeconds") != 0


def _let_go(event: Touch, after: Revision) -> bool:
    body = after.object or {}
    return event.verb in ("update", "patch") and bool(part(body, "metadata").get("deletionTimestamp")) and not _waits(event, body)


def _graceful(event: Touch, body: dict[str, Any]) -> bool:
    """A pod of a collection is asked to stop first, unless it is on no node or has finished (registry/core/pod/strategy.go)."""
    asked = event.request if isinstance(event.request, dict) else {}
    if asked.get("gracePeriodSeconds") == 0 or not part(body, "spec").get("nodeName"):
        return False
    return part(body, "status").get("phase") not in ("Failed", "Succeeded")


def _kubelet(event: Touch) -> bool:
    return (event.username or "").startswith("system:node:")


def _absent(event: Touch) -> bool:
    """A 404 that proves the object was not there.

    Not one read from a cache, which may lag (any resourceVersion), and not one of an API that is not served.
    """
    cached = event.verb == "get" and re.search(r"[?&]resourceVersion=[^&]", event.uri)
    unserved = "could not find the requested resource" in (event.message or "")
    return event.reason == "NotFound" and event.via == "ref" and not cached and not unserved and event.verb != "create"


def _there(event: Touch) -> bool:
    """A refused create that proves an object of that name was there."""
    return event.verb == "create" and event.subresource is None and event.code == 409 and event.outcome == "already_exists"


def sequence(events: Sequence[Touch]) -> list[Touch]:
    """Events in the order they took effect: those with resource versions by these, in the places they take by time."""
    out = list(events)
    places = [i for i, e in enumerate(out) if e.rv is not None and e.ok and not gone(e)]
    by_version = sorted((out[i] for i in places), key=lambda e: (e.rv, not e.writes, e.order))
    for place, event in zip(places, by_version, strict=True):
        out[place] = event
    for event in [e for e in out if e.subresource == "binding" and e.ok]:
        _before_it_shows(out, event)
    return out


def _before_it_shows(out: list[Touch], binding: Touch) -> None:
    """Put a binding, which tells no resource version, before the first body with its node: others saw it before it was answered."""
    node, place = text(binding.request, "target", "name"), out.index(binding)
    first = next((i for i, e in enumerate(out[:place]) if node and text(e.body, "spec", "nodeName") == node), None)
    if first is not None:
        out.insert(first, out.pop(place))


def _replay(life: Life) -> None:
    """Fill in what the events of a life made of it."""
    run = _Run(life)
    for event in sequence(life.events):
        if uncertain(event):
            run.doubt(event)
        elif gone(event) and not event.ok:
            run.missing(event)
        elif _there(event):
            run.there(event)
        elif event.ok and event.subresource not in INERT:
            run.apply(event)
    if life.ended is None and life.deleted is not None and not life.revisions:
        life.ended = life.deleted


@dataclass
class _Run:
    """A life as far as its events have been gone through."""

    life: Life
    now: Revision | None = None
    high: int = -1  # the newest resource version seen

    def keep(self, revision: Revision) -> None:
        self.now = revision
        self.life.revisions.append(revision)
        self.high = max(self.high, revision.event.rv or -1)

    def doubt(self, event: Touch) -> None:
        """A write that may have been done."""
        self.life.maybe.append(event)
        if self.now is not None:
            self.keep(Revision(event, UNKNOWN, self.now.object, doubt(event)))

    def missing(self, event: Touch) -> None:
        """It was not there any more: it ended before, unseen; a write given up moments ago may still have come after."""
        begun = self.now.event.time if self.now is not None else None
        if begun is None and self.life.maybe and self.life.maybe[-1].time + LANDING < event.received:
            begun = self.life.maybe[-1].time
        if begun is not None and begun < event.received and self.life.ended is None:
            self.life.ended = event

    def there(self, event: Touch) -> None:
        """A create of the same name was refused since it was there, which tells nothing but that."""
        if self.now is None and self.life.maybe:
            seen = f"{doubt(self.life.maybe[-1])}, and {event.actor} was told that it exists ({event.audit_id})"
            self.keep(Revision(event, EXISTS, None, seen))

    def apply(self, event: Touch) -> None:
        life, now = self.life, self.now
        if life.deleted is None and (event.verb in ("delete", "deletecollection") or event.subresource == "eviction"):
            life.deleted = event
        over = gone(event)
        if over and (life.ended is None or event.order > life.ended.order):
            life.ended = event
        step = None if over and now is not None else _step(now, event, self.high)
        if step is not None and step.known == DERIVED and now is not None and _let_go(event, step):
            life.ended, step = event, None  # the answer is not recorded, but this took the last finalizer
        if step is not None:
            self.keep(step)


def doubt(event: Touch) -> str:
    """Both readings of a write whose outcome the log does not hold, in words."""
    code = f"answered {event.code}" if event.code else "answered nothing that is in the log"
    return f"{event.verb} by {event.actor} ({event.audit_id}) was {code}: it may have been done, or not"


def _step(now: Revision | None, event: Touch, high: int) -> Revision | None:
    """The revision after an event; None where it tells nothing new."""
    body = event.body
    if body is not None and event.rv is not None and (event.rv < high or _read_before(now, event, high)):
        return None  # an older version, read late
    if body is not None and event.whole and not (event.verb == "deletecollection" and event.via == "item"):
        known = now is not None and not event.writes and event.rv == now.rv and now.known == EXACT
        return None if known else Revision(event, EXACT, body)
    return _written(now, event, body) if event.writes else _read(now, event, body, high)


def _read_before(now: Revision | None, event: Touch, high: int) -> bool:
    """Whether a read shows what was there before the last write, of which only the request is known: the version is the same."""
    if now is None or now.known != DERIVED or now.rv is not None or event.writes or event.rv != high:
        return False
    return event.received <= now.event.time or now.event.subresource == "binding"  # others may have left all as it was


def _read(now: Revision | None, event: Touch, body: dict[str, Any] | None, high: int) -> Revision | None:
    """What a read tells that does not show the whole object."""
    if now is None:
        return Revision(event, METADATA if body else EXISTS, body)
    if event.rv is None or event.rv == now.rv or (now.known in (EXACT, DERIVED) and event.rv <= high):
        return None
    if now.object is not None:
        seen = f"it was at resource version {event.rv} by then ({event.audit_id}), which no body in the log shows"
        return Revision(event, METADATA, body or now.object, seen)
    return Revision(event, METADATA if body else EXISTS, body)


def _written(now: Revision | None, event: Touch, body: dict[str, Any] | None) -> Revision:
    """A write whose answer does not show the whole object, applied to what was there before."""
    made, note = derive(now.object if now else None, event, known=now.known if now else None)
    if made is None:
        return Revision(event, METADATA, body, note)
    if now is not None and now.known in (METADATA, UNKNOWN) and event.verb != "create":
        return Revision(event, now.known, made, f"{note}; {now.note}" if now.note and now.known == UNKNOWN else note)
    return Revision(event, DERIVED, made, note)


def at(life: Life) -> Revision | None:
    """The last revision of a life that has not ended; None for one that has."""
    return None if life.ended is not None or not life.revisions else life.revisions[-1]


def window(life: Life) -> tuple[dt.datetime, dt.datetime | None]:
    """When it was first seen and when it was gone."""
    return life.first.time, life.ended.time if life.ended else None
