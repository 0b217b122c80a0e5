"""The names of `import auditlens`: each a function a user needs, with what it takes, what it returns and what it raises.

Every question about a log returns an `Answer`. The examples run, in a directory that has the sample logs.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens.answers import answer as answers
from auditlens.answers import limits as limits_of
from auditlens.answers.address import address
from auditlens.answers.answer import Answer, existing
from auditlens.answers.questions import Question
from auditlens.answers.questions import questions as _questions
from auditlens.answers.window import Time, window
from auditlens.lake import Lake

if TYPE_CHECKING:
    import threading

    import polars as pl

    from auditlens.importing.batches import Filter
    from auditlens.importing.files.run import ImportReport, Progress

_LINK = ("effect", "username", "impersonator", "verb", "resource", "name", "time", "audit_id", "rule", "sure")


def import_files(
    paths: str | Path | Iterable[str | Path],
    lake: Lake | str | Path,
    *,
    cluster: str | None = None,
    format: str = "auto",
    redact: bool = True,
    redact_key: str | Path | None = None,
    max_line: int = 64 << 20,
    keep: Filter | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import files, directories, globs or `-` into a lake; what was imported before is reported as duplicates.

    Args:
        paths: one path or several; compressed or not, in whatever wrapper the events are.
        lake: the lake, or its directory; made when missing.
        cluster: the cluster the logs are from; default: what their wrapper says, else `default`.
        format: `auto`, or `audit`, `klog`, `kubectl`.
        redact: replace values of Secrets and tokens by keyed hashes.
        redact_key: file with the key; default: $AUDITLENS_REDACT_KEY, else one made in the user's configuration.
        max_line: longest line in bytes that is read whole; a longer one keeps its fields before the bodies.
        keep: leaves events out or makes them smaller, such as `policy.Filter(policy)`; what it dropped is counted.
        progress: called with the bytes read since the last call.

    Returns:
        The counts of each source, for which lines = (records - items) + continuations + blanks, and
        records = rows + duplicates + rejects + dropped.

    Raises:
        UsageError: a path names nothing, or the cluster name is not one.
        LakeError: the lake cannot be read or written.

    >>> report = import_files(["sample-logs/kubeadm", "sample-logs/apiserver"], "lake")
    >>> report.total()["rows"]["audit"], report.total()["rejects"]
    (598, 0)
    """
    from auditlens.importing.files.run import import_files as run

    return run(_several(paths), lake, cluster=cluster, format=format, redact=redact, redact_key=redact_key, max_line=max_line,
               keep=keep, progress=progress)  # fmt: skip


def follow(
    paths: str | Path | Iterable[str | Path],
    lake: Lake | str | Path,
    *,
    cluster: str | None = None,
    format: str = "auto",
    redact: bool = True,
    redact_key: str | Path | None = None,
    keep: Filter | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Import what is written to live files, each line once, across rotation and restarts, until `stop` is set.

    Args:
        paths: files, directories or globs; what appears there later is followed as well.
        lake: the lake, or its directory; made when missing.
        cluster, format, redact, redact_key, keep: as for `import_files`.
        stop: an event another thread sets; what is there by then is read before this returns.

    Raises:
        LakeError: the lake cannot be read or written.

    >>> import threading
    >>> done = threading.Event()
    >>> done.set()  # so it reads what is there, and ends
    >>> follow("sample-logs/legacy/audit.log", "followed", stop=done)
    >>> ask("followed", "top", by="verb").total > 0
    True
    """
    from auditlens.importing.files.follow import follow as run

    run(_several(paths), lake, cluster=cluster, format=format, redact=redact, redact_key=redact_key, keep=keep, stop=stop)


def _several(paths: str | Path | Iterable[str | Path]) -> list[str | Path]:
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def questions() -> Mapping[str, Question]:
    """All questions by name, each with its title, its parameters and what must be logged for it.

    >>> questions()["who-deleted"].object_form
    'KIND/NAME'
    """
    return _questions()


def ask(lake: Lake | str, question: str, /, object: str | None = None, *, timeout: float | None = None, **params: Any) -> Answer:
    """Ask a question by its name; docs/questions.md lists them, each with its parameters and columns.

    Args:
        lake: the lake, or its directory.
        question: its name.
        object: the object it is about, where it is about one: `pod/web-1`, `pod web-1`, `deploy/web-*`, `deployments.apps/web`,
            a custom kind by any name its CRD has, a kind alone, or a uid.
        timeout: seconds after which it is given up.
        params: its parameters, `-` written as `_`; times as datetime, RFC 3339, a date, or `2h`, `7d`, `end-2h`.

    Raises:
        UsageError: there is no such question, parameter or kind, or a value makes no sense.
        QueryError: it took longer than `timeout`, or DuckDB refused it.

    >>> answer = ask("lake", "who-deleted", "pod/web-1", namespace="shop", limit=1)
    >>> answer.frame["username"].to_list(), answer.total, answer.limits
    (['alice'], 2, ['only the first 1 of 2 rows are shown; --limit shows more'])
    >>> ask("lake", "who-deleted", "pod/web-1", namespace="shpo").near
    ['the log has no pods/web-1 in shpo, but pods shop/web-1']
    """
    return answers.ask(lake, question, object=object, timeout=timeout, **params)


def sql(lake: Lake | str, statement: str, *, timeout: float = 60.0) -> pl.DataFrame:
    """Run one SELECT over the tables of the lake (docs/tables.md); it can read nothing else and change nothing.

    Raises:
        QueryError: it is not one SELECT, DuckDB refused it, or it ran longer than `timeout` seconds.

    >>> sql("lake", "select count(*) > 0 as some from audit").rows()
    [(True,)]
    """
    from auditlens.locked import sql as run

    return run(lake, statement, timeout=timeout)


def history(lake: Lake | str, object: str | None = None, *, timeout: float | None = None, **params: Any) -> Answer:
    """Every request that touched an object, life by life, and what each changed: the question `history`.

    Args:
        lake: the lake, or its directory.
        object: as for `ask`.
        timeout: seconds after which the question is given up.
        params: those of the question: namespace, since, until, cluster, uid, reads, limit.

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
    return _told(lake, rows, found.limits, show, "The objects as they were", found.as_dicts(), object, namespace, cluster)


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
    return _told(lake, found.as_dicts(), limits, show, "What changed in an object", None, object, namespace, cluster)


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
    return _told(lake, rows, [], show, "Who set each field", None, object, namespace, cluster)


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
    return _told(lake, rows, found.limits, _LINK, "Why it happened", found.as_dict(), object, namespace, cluster)


def impact(lake: Lake | str, audit_id: str, *, minutes: float = 10) -> Answer:
    """Everything one request brought about within some minutes.

    Returns:
        A row an effect, in order of time; `depth` counts the steps from the request, `caused_by` is the audit id of the step
        before. `tree` is {"request", "effects", "limits"}.

    Raises:
        UsageError: the log holds no such request, or several of that id: clients may choose ids.

    >>> impact("lake", why("lake", "rs/frontend-7cd5c87d85", namespace="shop").tree["root"]["audit_id"]).total
    11
    """
    from auditlens.forensics.impact import impact as run

    found = run(existing(lake), audit_id, horizon=dt.timedelta(minutes=minutes))
    tree = found.as_dict()
    return _answer(tree["effects"], found.limits, ("depth", *_LINK, "caused_by"), "What a request brought about", tree)


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
    return _answer(rows, found.limits, show, "Whether the log can be trusted", found.as_dict())


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


def _told(
    lake: Lake, rows: list[dict[str, Any]], limits: list[str], show: tuple[str, ...], title: str, tree: Any,
    object: str | None, namespace: str | None, cluster: str | None,
) -> Answer:  # fmt: skip
    """The answer about an object; with what is near where there is none."""
    from auditlens import engine

    answer = _answer(rows, limits, show, title, tree)
    if object and not rows:
        of = engine.with_snapshot(lake, lambda con: address(con, object, namespace=namespace, cluster=cluster))
        answer.of, answer.near = of, engine.with_snapshot(lake, lambda con: limits_of.near(con, of))
    return answer


def _answer(rows: list[dict[str, Any]], limits: list[str], show: tuple[str, ...], title: str, tree: Any) -> Answer:
    """Rows of dicts as an answer; what a column holds of several types is JSON."""
    import polars as pl

    def cell(key: str, value: Any) -> Any:
        if isinstance(value, (dict, list)):
            return json.dumps(value, ensure_ascii=False)
        return str(value) if key in ("old", "new", "value") and value is not None else value

    flat = [{k: cell(k, v) for k, v in row.items()} for row in rows]
    frame = pl.DataFrame(flat, infer_schema_length=None) if flat else pl.DataFrame({c: [] for c in show}, strict=False)
    return Answer(frame, list(limits), total=frame.height, tree=tree, show=show, title=title)
