"""Objects over time: what happened to them, how they were, who set what and why."""

from __future__ import annotations

import datetime as dt
from typing import Any

from auditlens.answers import answer as answers
from auditlens.answers.answer import Answer, existing
from auditlens.answers.window import Time
from auditlens.face.rows import answered, told
from auditlens.lake import Lake

_LINK = ("effect", "username", "impersonator", "verb", "time", "audit_id", "rule", "sure")  # the effect names the object


def history(lake: Lake | str, object: str | None = None, *, timeout: float | None = None, **params: Any) -> Answer:
    """Every request that touched an object, life by life, and what each changed: the question `history`.

    Args:
        lake: the lake, or its directory.
        object: as for `ask`.
        timeout: seconds after which the question is given up.
        params: those of the question: namespace, since, until, cluster, uid, user, reads, limit.

    Returns:
        A row a request, in order of time. Beside the question's columns: `life` (1 for the first object of that name),
        `changed` in words, `no_op` (a write that left the version as it was), `ends`; null where the log does not tell.

    Raises:
        UsageError, QueryError: as for `ask`.

    >>> history("lake", "deploy/frontend", namespace="shop").frame["changed"].to_list()[-1]
    'spec.replicas 100 → 3'
    """
    return answers.ask(lake, "history", object=object, timeout=timeout, **params)


def state(
    lake: Lake | str, object: str | None = None, *, at: Time = None, namespace: str | None = None, cluster: str | None = None
) -> Answer:
    """The objects of a kind, of a name, or all, as they were at a time (default: the end of the log).

    Returns:
        A row an object: resource, namespace, name, uid, `fidelity` (exact, derived, metadata, exists, unknown), the request it rests
        on. `tree` is a list of the same with the objects themselves.

    Raises:
        UsageError: the object is no kind or name, or the time is none.

    >>> state("lake", "deploy", namespace="shop").frame.select("name", "fidelity").rows()
    [('frontend', 'derived')]
    """
    from auditlens.forensics.state import state as run

    lake = existing(lake)
    found = run(lake, object, at=at, namespace=namespace, cluster=cluster)
    rows = [
        {**k.as_dict()["ref"], "fidelity": k.fidelity, "time": k.event.time, "audit_id": k.event.audit_id, "cluster": k.key.cluster,
         "source": k.event.source, "line": k.event.line, "note": k.note} for k in found.objects
    ]  # fmt: skip
    show = ("resource", "namespace", "name", "fidelity", "time", "audit_id", "note")
    return told(lake, rows, found.limits, show, "The objects as they were", found.as_dicts(), object, namespace, cluster)


def diff(
    lake: Lake | str,
    object: str,
    *,
    since: Time = None,
    until: Time = None,
    audit_id: str | None = None,
    noise: bool = False,
    namespace: str | None = None,
    cluster: str | None = None,
) -> Answer:
    """What changed in one object between two times (default: its first and last version), or by one request.

    Returns:
        A row a field: `path`, `op`, `old` and `new` as JSON, and who set it when, with which request; null where the log
        does not hold the request. `noise` adds managedFields, versions and heartbeats.

    Raises:
        UsageError: the name fits several objects, the times are backwards, or the request did not touch it.

    >>> "spec.replicas" in diff("lake", "deploy/frontend", namespace="shop").frame["path"].to_list()
    True
    """
    from auditlens.forensics.diff import diff as run

    lake = existing(lake)
    found = run(lake, object, namespace=namespace, since=since, until=until, audit_id=audit_id, noise=noise, cluster=cluster)
    limits = found.limits or ([] if found.changes else ["nothing differs"])
    show = ("path", "old", "new", "username", "time", "audit_id", "limit")
    return told(lake, found.as_dicts(), limits, show, "What changed in an object", None, object, namespace, cluster)


def blame(
    lake: Lake | str,
    object: str,
    *,
    at: Time = None,
    noise: bool = False,
    namespace: str | None = None,
    cluster: str | None = None,
) -> Answer:
    """Who set each field of an object as it was at a time (default: its last version).

    Returns:
        A row a field: `path`, `value` as JSON, and the request that set it; `seen_in` instead where it was there before the
        log began.

    Raises:
        UsageError: the object is no kind and name, or the time is none.

    >>> by = blame("lake", "deploy/frontend", namespace="shop").frame
    >>> by.filter(by["path"] == "spec.replicas")["username"].to_list()
    ['alice']
    """
    from auditlens.forensics.diff import blame as run

    lake = existing(lake)
    rows = run(lake, object, namespace=namespace, at=at, noise=noise, cluster=cluster)
    several = tuple(c for c in ("cluster", "namespace", "name") if len({r[c] for r in rows}) > 1)
    show = (*several, "path", "value", "username", "time", "audit_id", "seen_in", "limit")
    return told(lake, rows, [], show, "Who set each field", None, object, namespace, cluster)


def why(
    lake: Lake | str,
    object: str,
    *,
    event: str | None = None,
    at: Time = None,
    namespace: str | None = None,
    cluster: str | None = None,
) -> Answer:
    """The chain from what happened to an object to whoever began it: effect first, root last.

    Args:
        lake: the lake, or its directory.
        object: KIND/NAME, as for `ask`; a glob is fine where one object fits.
        event: `delete`, `scale`, `create`, or the path of a field; default: its deletion, else its last change.
        at: what had happened by then; default: the end of the log.
        namespace, cluster: only there.

    Returns:
        A row a link: who did what, the `rule` that ties it to the one before, how `sure` that is. `tree` is
        {"links", "root", "limits"}; its root is None where the log does not lead to one.

    Raises:
        UsageError: the object is no kind and name, or several objects fit.

    >>> why("lake", "rs/frontend-7cd5c87d85", namespace="shop").tree["root"]["username"]
    'bob'
    """
    from auditlens.forensics.why import why as run

    lake = existing(lake)
    found = run(lake, object, namespace=namespace, event=event, at=at, cluster=cluster)
    rows = [x.as_dict() for x in found.links]
    return told(lake, rows, found.limits, _LINK, "Why it happened", found.as_dict(), object, namespace, cluster)


def impact(lake: Lake | str, audit_id: str, *, minutes: float = 10) -> Answer:
    """Everything one request brought about within some minutes.

    Returns:
        A row an effect, in order of time; `depth` counts the steps from the request, `caused_by` is the audit id of the step
        before. `tree` is {"request", "effects", "limits"}.

    Raises:
        UsageError: the log holds no such request, or several of that id: clients may choose ids.

    >>> impact("lake", why("lake", "rs/frontend-7cd5c87d85", namespace="shop").tree["root"]["audit_id"]).total
    7
    """
    from auditlens.forensics.impact import impact as run

    found = run(existing(lake), audit_id, horizon=dt.timedelta(minutes=minutes))
    tree = found.as_dict()
    return answered(tree["effects"], found.limits, ("depth", *_LINK, "caused_by"), "What a request brought about", tree)
