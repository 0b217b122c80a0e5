"""What the logs themselves tell: how far they can be trusted, where a request's time went, how to repeat it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

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


def trace(lake: Lake | str, id: str) -> Answer:
    """Where the apiserver spent a request's time: its trace, step by step, in milliseconds.

    Args:
        lake: the lake, or its directory.
        id: an audit id, or the number in `Trace[...]`.

    Returns:
        A row a step: `seq` (0 is the whole), `depth`, `span`, `step`, `step_ms`, `at_ms` and `step_time` as far as they were logged.
        `tree` is a list of the blocks, the steps of each below the span they belong to; `text` the same with bars.

    Raises:
        UsageError: the lake holds no such trace; the apiserver logs one for what takes longer than 500 ms.

    >>> slow = trace("lake", "1129622713")
    >>> round(slow.tree[0]["total_ms"]), slow.tree[0]["url"]
    (3001, '/api/v1/namespaces/shop/pods')
    >>> print(slow.text.splitlines()[0])
    Trace 1129622713 List LIST /api/v1/namespaces/shop/pods
    """
    from auditlens.forensics.tracetree import trace_tree

    found = trace_tree(existing(lake), id)
    show = ("trace_id", "step", "span", "step_ms", "at_ms", "step_time", "evidence")
    return answered(found.rows(), found.limits, show, "Where a request's time went", found.as_dicts(), str(found))


def curl(request: str, lake: Lake | str) -> Answer:
    """The requests of an audit id or of a client's output as commands that repeat them.

    Args:
        request: an audit id, or a file with the output of kubectl -v=6 and up.
        lake: where an audit id is looked up.

    Returns:
        A row a request: `method`, `url`, `headers` (JSON), `body`, and `command`, shell text in which $TOKEN, $CACERT and $APISERVER
        stand for what no log should hold. `text` is all commands.

    Raises:
        UsageError: there is no such file, and the lake does not hold the request.

    >>> id = ask("lake", "who-deleted", "pod/web-1", namespace="shop").frame["audit_id"][0]
    >>> again = curl(id, "lake")
    >>> again.frame["method"].to_list(), "-X DELETE" in again.text
    (['DELETE'], True)
    """
    from auditlens.forensics.curl import curl as run

    found = run(request, lake)
    text = "\n\n".join(map(str, found)) + "\n"
    limits = dict.fromkeys(limit for one in found for limit in one.limits)
    show = ("method", "url", "notes", "audit_id", "evidence")
    return answered([r.as_dict() for r in found], limits, show, "Requests to repeat", text=text)


def evidence(lake: Lake | str, of: str | Answer, *, within: str | Path | Iterable[str | Path] = (), raw: bool = False) -> Answer:
    """The lines that rows rest on, where they stand today: a file that was rotated, renamed or compressed is still found.

    Args:
        lake: the lake, or its directory.
        of: an audit id, a `SOURCE:LINE` as answers show it, or an answer.
        within: further files and directories to look in; default: where the sources were.
        raw: the lines as they stand, with all that an import replaces; default: up to the first body, without values.

    Returns:
        A row a line: `path` and `line` of today, the line as `content`, and `state`: `there`, `renamed`, `changed` (other lines of the
        file are not what was imported, this one has the audit id), `gone`, or `no file` for what was posted to a sink or came through a
        pipe. `text` is all of it for a terminal.

    Raises:
        UsageError: the lake has no such audit id, or no row of that source and line.

    >>> answer = ask("lake", "who-deleted", "pod/web-1", namespace="shop", limit=1)
    >>> evidence("lake", answer).frame.select("line", "state").rows()
    [(21, 'there')]
    """
    from auditlens.forensics.evidence import evidence as run
    from auditlens.output import plain

    places = [within] if isinstance(within, (str, Path)) else list(within)
    found, limits = run(existing(lake), of.evidence if isinstance(of, Answer) else of, within=places, raw=raw)
    show = ("evidence", "state", "path", "content")
    text = "".join([*(f"{row}\n" for row in found), *(f"# {plain(limit)}\n" for limit in limits)])
    return answered([row.as_dict() for row in found], limits, show, "The lines, where they stand today", text=text)
