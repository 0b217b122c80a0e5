"""Which request changed each field of an object, as far as the log tells: where several may have, or bodies cannot be compared, none.

Bodies are compared within one apiVersion only: a conversion renames, moves and defaults fields (autoscaling/v1 has no spec.metrics),
so a field that differs between two versions was not changed by anybody. Metadata is the same in all versions (meta/v1 ObjectMeta).
A write without a body, or of unknown outcome, may have changed what the next body shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from auditlens.forensics import replay
from auditlens.forensics.changes import Change, changes, flatten
from auditlens.forensics.events import Touch
from auditlens.forensics.replay import Life, Revision

META = "metadata"

_steps: WeakKeyDictionary[Life, list[Step]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Author:
    """Who set a field: `revision` None where that cannot be told, for the reason in `limit`; it was there in `seen` at the latest.

    With a revision, `limit` is what else has to be known: that a webhook set it within the request.
    """

    revision: Revision | None
    seen: Revision
    limit: str | None = None


@dataclass(slots=True)
class Step:
    """One revision: what it shows changed, the author of each change by its path, and what cannot be compared."""

    revision: Revision
    changes: list[Change] = field(default_factory=list)
    authors: dict[str, Author] = field(default_factory=dict)
    limit: str | None = None

    def by_itself(self) -> list[Change]:
        """The changes that the revision's own request made for certain."""
        return [c for c in self.changes if self.authors[c.path].revision is self.revision]


@dataclass(slots=True)
class _Part:
    """A part of the object as last seen in one version of the API, and the writes since that may have changed it."""

    body: dict[str, Any]
    since: list[Revision] = field(default_factory=list)


def steps(revisions: Iterable[Revision], *, noise: bool = False) -> Iterator[Step]:
    """What each revision of one life changed, in order."""
    parts: dict[str, _Part] = {}
    for r in revisions:
        if blind(r):
            for part in parts.values():
                part.since.append(r)
            yield Step(r)
        else:
            yield _step(parts, r, noise)


def steps_of(life: Life) -> list[Step]:
    """The steps of a life, worked out once: the rules ask for those of an owner again for each thing it owned."""
    if life not in _steps:
        _steps[life] = list(steps(life.revisions))
    return _steps[life]


def blind(r: Revision) -> bool:
    """Whether a revision shows nothing of the object as it was by then."""
    return r.object is None or r.known in (replay.METADATA, replay.UNKNOWN)


def version_of(body: dict[str, Any] | None) -> str:
    return str((body or {}).get("apiVersion") or "")


def _step(parts: dict[str, _Part], r: Revision, noise: bool) -> Step:
    step, body, version = Step(r), r.object or {}, version_of(r.object)
    first = not parts
    pieces = {META: {META: body.get(META)}, version: {k: v for k, v in body.items() if k != META}}
    for name, piece in pieces.items():
        before = parts.get(name)
        if before is not None:
            for change in changes(before.body, piece, noise=noise):
                step.changes.append(change)
                step.authors[change.path] = _author(r, change, before.since)
        elif first or name == META:
            limit = None if _made(r.event) else "it was there before the log begins"
            for change in changes({}, piece, noise=noise):
                step.changes.append(change)
                step.authors[change.path] = Author(None, r, limit) if limit else Author(r, r, _by_webhook(r.event, change))
        else:
            _other_version(step, parts, piece, version, noise)
        parts[name] = _Part(piece)
    for name, part in parts.items():
        if name not in pieces:
            part.since.append(r)
    step.changes.sort(key=lambda c: c.path)
    return step


def _other_version(step: Step, parts: dict[str, _Part], piece: dict[str, Any], version: str, noise: bool) -> None:
    """A first body in another version of the API: only what its request asked to be different is known to be a change."""
    r = step.revision
    others = [name for name in parts if name != META]
    step.limit = f"cannot be told: the revisions are in different API versions ({', '.join(sorted(others))} and {version})"
    known = flatten(parts[others[-1]].body, noise=noise)
    asked = _asked(r.event)
    for path, value in flatten(piece, noise=noise).items():
        if path in known and path in asked and asked[path] == value and known[path] != value:
            step.changes.append(Change(path, known[path], value, "changed"))
            step.authors[path] = Author(r, r)
        else:
            step.authors[path] = Author(None, r, step.limit)


def _author(r: Revision, change: Change, since: list[Revision]) -> Author:
    """Who made a change that a body shows: the request it answers, unless others since the body before may have."""
    others = [x for x in since if x.event.writes and _reaches(x.event, change.path) and _names(x.event, change.path)]
    own = r.event.writes and _reaches(r.event, change.path)
    if own and (not others or _asked(r.event).get(change.path, ...) == change.new):
        return Author(r, r, _by_webhook(r.event, change))
    if not others:
        return Author(None, r, "no request in the log changed it")
    named = ", ".join(f"{x.event.verb} by {x.event.actor} ({x.event.audit_id})" for x in [*others, *([r] if own else [])])
    return Author(None, r, f"cannot be told: it may have been {named}; the log does not show what each of them did")


def _by_webhook(event: Touch, change: Change) -> str | None:
    """That a mutating webhook set a field in a request that did not ask for it."""
    if not event.patched or flatten(event.request, noise=True).get(change.path, ...) == change.new:
        return None
    names = [name for name, op in event.patched if isinstance(op.get("path"), str) and _meet(_dotted(op["path"]), change.path)]
    return f"set by the admission webhook {names[-1]}: the request did not ask for it" if names else None


def _made(event: Touch) -> bool:
    return event.verb == "create" and event.subresource is None


def _asked(event: Touch) -> dict[str, Any]:
    """The fields a patch names, by path."""
    return flatten(event.request, noise=True) if event.verb == "patch" and isinstance(event.request, dict) else {}


def may_touch(event: Touch, path: str) -> bool:
    """Whether a write can have changed a field, or what is below it."""
    return _reaches(event, path) and _names(event, path)


def asks(event: Touch, path: str) -> bool:
    """Whether a patch, or a write of scale, says in so many words what a field is to be."""
    if not event.writes or not event.ok:
        return False
    if event.subresource == "scale":
        return _meet("spec.replicas", path)
    applied = isinstance(event.request, dict) and any(_meet(p, path) for p in flatten(event.request, noise=True))
    return (
        event.verb == "patch" and _reaches(event, path) and (applied or (isinstance(event.request, list) and _names(event, path)))
    )


def _reaches(event: Touch, path: str) -> bool:
    """Whether the subresource written to has the field; what is in metadata the server may change with any write."""
    part = re.split(r"[.\[]", path, maxsplit=1)[0]
    if part == META:
        return True
    if event.subresource == "status":
        return part == "status"
    return event.subresource != "scale" or _meet("spec.replicas", path) or part == "status"


def _names(event: Touch, path: str) -> bool:
    """Whether a patch names the field; any other write has all of them. Server-side apply takes away what it does not name."""
    asked = event.request
    if event.verb != "patch" or path.startswith((META, "status")):
        return True
    if isinstance(asked, dict):
        applies = "fieldManager" in event.uri and {"kind", "apiVersion", META} <= asked.keys()
        return applies or any(_meet(p, path) for p in flatten(asked, noise=True))
    if isinstance(asked, list):
        named = [str(op[k]) for op in asked if isinstance(op, dict) for k in ("path", "from") if op.get(k)]
        return any(_meet(_dotted(p), path) for p in named)
    return True


def _dotted(pointer: str) -> str:
    """A JSON pointer as a path."""
    return pointer.strip("/").replace("/", ".").replace("~1", "/").replace("~0", "~")


def _meet(a: str, b: str) -> bool:
    """Whether one of two paths is the other or above it; of lists their items all count."""
    a, b = a.partition("[")[0], b.partition("[")[0]
    x, y = a.split("."), b.split(".")
    n = min(len(x), len(y))
    return x[:n] == y[:n]
