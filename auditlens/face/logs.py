"""What the logs themselves tell: how far they can be trusted, where a request's time went, how to repeat it."""

from __future__ import annotations

from auditlens.answers.answer import Answer, existing
from auditlens.answers.window import Time, window
from auditlens.face.rows import answered
from auditlens.lake import Lake


def completeness(lake: Lake | str, *, since: Time = None, until: Time = None, cluster: str | None = None) -> Answer:
    """Whether the log can be trusted for a window: gaps, losses, cuts, duplicates, rejects.

    Returns:
        A row a finding: `kind`, `what`, `count`, and where. `tree` is {"first", "last", "events", "findings", "levels",
        "limits"}; its levels say what was recorded of each resource and verb.

    Raises:
        UsageError: a time is none, or the window is backwards.

    >>> completeness("lake").tree["events"]
    598
    """
    from auditlens.forensics.completeness import completeness as run

    lake = existing(lake)
    when = window(lake, since, until)
    found = run(lake, since=when.since, until=when.until, cluster=cluster)
    show = ("kind", "what", "count", "source", "first", "last", "audit_id", "line")
    rows = [f.as_dict() for f in found.findings]
    return answered(rows, found.limits, show, "Whether the log can be trusted", found.as_dict())


def trace(lake: Lake | str, id: str) -> str:
    """Where the apiserver spent a request's time: its trace as a tree with bars, one line a step, milliseconds.

    Args:
        lake: the lake, or its directory.
        id: an audit id, or the number in `Trace[...]`.

    Raises:
        UsageError: the lake holds no such trace; the apiserver logs one for what takes longer than 500 ms.

    >>> print(trace("lake", "1129622713").splitlines()[0])
    Trace 1129622713 List LIST /api/v1/namespaces/shop/pods
    """
    from auditlens.forensics.tracetree import trace_tree

    return trace_tree(existing(lake), id)


def curl(request: str, lake: Lake | str) -> str:
    """Shell text that repeats a request; $TOKEN, $CACERT and $APISERVER stand for what no log should hold.

    Args:
        request: an audit id, or a file with the output of kubectl -v=6 and up.
        lake: where an audit id is looked up.

    Raises:
        UsageError: there is no such file, and the lake does not hold the request.

    >>> id = ask("lake", "who-deleted", "pod/web-1", namespace="shop").frame["audit_id"][0]
    >>> "-X DELETE" in curl(id, "lake")
    True
    """
    from auditlens.forensics.curl import curl as run

    return run(request, lake)
