"""The write that gave an object what its controller then acted on: of the fields this one acts on, and no later than that it did."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from auditlens.forensics import authors, replay
from auditlens.forensics.authors import Step
from auditlens.forensics.changes import Change, words
from auditlens.forensics.events import Touch
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import CERTAIN, LIKELY, SURE, Cause, controller

Fits = Callable[[Change], bool]


@dataclass(frozen=True, slots=True)
class Driven:
    """The write that drove a controller."""

    event: Touch
    words: str
    known: bool  # the bodies show the change; else it is only the last write by somebody else
    limit: str | None = None  # why it cannot be told which write it was, this being the last that it may have been

    @property
    def made(self) -> bool:
        """It is the creation of the object."""
        return self.event.verb == "create" and self.event.subresource is None


def precedes(event: Touch, effect: Touch) -> bool:
    """Whether a controller can have acted on a write: it had come in, and was stored, before what the controller then did.

    What came in while a controller's request was under way cannot be what that request is about.
    """
    stored = event.rv is None or effect.rv is None or event.rv <= effect.rv
    return event is not effect and event.received <= effect.received and stored


def driver(
    life: Life, effect: Touch, *, paths: tuple[str, ...] = ("spec",), fits: Fits | None = None, since: dt.datetime | None = None
) -> Driven | None:
    """The last request before an effect that changed an object under one of some paths, or made it.

    Of changes that bodies show those count that fit. Where several people wrote without a body after the last known change,
    nobody knows whose write it was.
    """
    found: Driven | None = None
    blind: dict[str, Touch] = {}
    for found in drivers(life, effect, paths=paths, fits=fits, since=since):
        if found.known or found.made:
            blind.clear()
        else:
            blind[found.event.actor] = found.event
    if found is not None and len(blind) > 1 and found.limit is None:
        named = ", ".join(f"{e.verb} by {e.actor} ({e.audit_id})" for e in blind.values())
        return replace(found, limit=f"cannot be told: it may have been {named}; the log does not show what each of them did")
    return found


def drivers(
    life: Life, effect: Touch, *, paths: tuple[str, ...], fits: Fits | None = None, since: dt.datetime | None = None
) -> Iterator[Driven]:
    """All that `driver` chooses from, in order."""
    shown = False
    for step in authors.steps_of(life):
        event = step.revision.event
        if precedes(event, effect) and (since is None or event.received >= since):
            new = _drives(step, life, effect, paths, fits, shown)
            if new is not None:
                yield new
        shown = shown or not authors.blind(step.revision)


def _drives(step: Step, life: Life, effect: Touch, paths: tuple[str, ...], fits: Fits | None, shown: bool) -> Driven | None:
    """What one revision is to a controller that acts on some paths; None where it changed none of them."""
    event = step.revision.event
    hits = [c for c in under(step.changes, paths) if fits is None or fits(c)]
    own = [c for c in hits if step.authors[c.path].revision is step.revision]
    if event.verb == "create" and event.subresource is None and event.ok:
        return Driven(event, f"{life.key} created", not authors.blind(step.revision))
    if own and shown:
        return Driven(event, f"{life.key}: {words(own, most=3)}", True)
    if hits and shown:
        return Driven(event, f"{life.key} changed", False, step.authors[hits[0].path].limit)
    if not event.writes or not any(authors.may_touch(event, p) for p in paths):
        return None
    if step.limit is not None:
        return Driven(event, f"{life.key} changed", False, step.limit)
    if authors.blind(step.revision):
        if controller(event) in (controller(effect), "kubelet") and controller(event) and event.subresource != "scale":
            return None  # its own notes, or those of a node
        doubt = step.revision.note if step.revision.known == replay.UNKNOWN else None
        return Driven(event, f"{life.key} changed", False, doubt)
    if not shown and any(authors.asks(event, p) for p in paths):  # what it was before is not recorded
        return Driven(event, f"{life.key}: {' or '.join(paths)} asked for", False)
    return None


def under(found: list[Change], paths: tuple[str, ...]) -> list[Change]:
    """The changes at or below some paths."""
    return [c for c in found if any(c.path == p or c.path.startswith((p + ".", p + "[")) for p in paths)]


def driven(owner: Life, found: Driven | None, rule: str, sure: str = CERTAIN) -> Cause | str:
    """The cause that a driver is, or why it cannot be told."""
    if found is None:
        return f"what changed {owner.key} before is not in the log; it takes update, patch and create of {owner.key.resource} at Request"
    if found.limit is not None:
        return (
            f"what changed {owner.key} before {found.limit}"
            if found.limit.startswith("cannot")
            else f"of {owner.key}: {found.limit}"
        )
    return Cause(owner, found.event, found.words, rule, min(sure, CERTAIN if found.known else LIKELY, key=SURE.index))


def lower(change: Change) -> bool:
    """A number that became smaller."""
    return isinstance(change.new, int) and isinstance(change.old, int) and change.new < change.old


def higher(change: Change) -> bool:
    """A number that became larger, or was not there before."""
    return isinstance(change.new, int) and (not isinstance(change.old, int) or change.new > change.old)
