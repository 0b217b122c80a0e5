"""What happened to an object, each as the words that `why` is asked about it with: what it offers is what it answers."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.answers.address import address
from auditlens.answers.window import Time, moment
from auditlens.forensics import authors, endings
from auditlens.forensics.changes import words
from auditlens.forensics.drivers import under
from auditlens.forensics.events import Touch
from auditlens.forensics.replay import Life
from auditlens.forensics.tracer import Tracer
from auditlens.forensics.why import changed
from auditlens.lake import Lake
from auditlens.output import time_text

if TYPE_CHECKING:
    import duckdb

_SCALE = "spec.replicas"
_NEAR = ("spec", "data", "rules", "subjects", "stringData")


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened: `why(..., event=event, at=at)` is about this request; `kind` is creation, deletion, scale or change."""

    kind: str
    event: str
    at: str
    what: str
    username: str
    audit_id: str
    time: dt.datetime

    def as_dict(self) -> dict[str, Any]:
        """By its names."""
        return asdict(self)


def happenings(
    lake: Lake, object: str, *, namespace: str | None = None, cluster: str | None = None, until: Time = None
) -> list[Happening]:
    """The creations, deletions and changes of an object, the latest first; writes of status are left out.

    Raises:
        UsageError: the object is no kind and name.
    """
    end = moment(lake, until)

    def run(con: duckdb.DuckDBPyConnection) -> list[Happening]:
        tracer, wanted = Tracer(con), address(con, object, namespace=namespace, cluster=cluster)
        lives = tracer.lives(wanted)
        if not any(endings.ending(tracer, life) for life in lives):
            lives = tracer.with_absences(wanted)
        found = {(h.event, h.audit_id): h for life in lives for h in _of(tracer, life) if end is None or h.time <= end}
        return sorted(found.values(), key=lambda h: (h.time, h.kind == "deletion"), reverse=True)

    return engine.with_snapshot(lake, run, asked="")


def _of(tracer: Tracer, life: Life) -> Iterator[Happening]:
    """One life, from its creation to its end."""
    made = next((e for e in life.events if e.verb == "create" and e.subresource is None and e.ok), None)
    if made is not None:
        yield _happened("creation", "create", made, "created")
    end = endings.ending(tracer, life)
    for step in authors.steps(life.revisions):
        event, own = step.revision.event, step.by_itself()
        if event is made or not event.writes or (end is not None and event is end.event):
            continue
        own = under(own, _NEAR) or [c for c in own if c.path.partition(".")[0] != "status"]
        paths = [c.path for c in own]
        if not paths:  # no body shows it: what `why` takes for a change of spec
            seen = changed(life, _NEAR, event.time)
            paths = list(_NEAR[:1]) if seen is not None and seen.event is event else []
        about = common(paths)
        if about and (cause := changed(life, (about,), event.time)) is not None and cause.event is event:
            what = words(own, most=3) or "asked for; what it was before is not recorded"
            yield _happened("scale" if about == _SCALE else "change", about, event, what)
    if end is not None:
        yield _happened("deletion", "delete", end.event, "deleted")


def _happened(kind: str, event: str, touch: Touch, what: str) -> Happening:
    return Happening(kind, event, time_text(touch.time), what, touch.actor, touch.audit_id, touch.time)


def common(paths: list[str]) -> str:
    """The one path some fields are below; where they have none in common, that of the first that is no metadata."""
    if not paths:
        return ""
    split = [re.split(r"(?=[.\[])", p) for p in paths]
    same = [parts[0] for parts in zip(*split, strict=False) if len(set(parts)) == 1]
    shared = [a for a, b in zip(split[0], same, strict=False) if a == b]
    if shared:
        return "".join(shared)
    return min(paths, key=lambda p: (p.startswith(("metadata", "status")), p))
