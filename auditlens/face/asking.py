"""Logs come in, and questions are asked by name or in SQL; what a word means in them is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlens.answers import answer as answers
from auditlens.answers.answer import Answer
from auditlens.answers.questions import Question
from auditlens.answers.questions import questions as _questions
from auditlens.answers.window import Time, window
from auditlens.errors import UsageError
from auditlens.lake import Lake

if TYPE_CHECKING:
    import threading

    import polars as pl

    from auditlens.importing.batches import Filter
    from auditlens.importing.files.run import ImportReport, Progress


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


def find(
    lake: Lake | str, words: str, /, *, since: Time = None, until: Time = None, cluster: str | None = None, limit: int = 50
) -> Answer:
    """What some words are in the log: an object, a user, a request, an address, a credential, or a question that can be asked.

    Args:
        lake: the lake, or its directory.
        words: a name or a part of one, `KIND/NAME`, a uid, a user, an audit id or its beginning, an IP address, the id of a
            credential, the name of a question. They are text: nothing in them acts.
        since, until, cluster: only there.
        limit: rows at most.

    Returns:
        A row for each thing that fits, exact ones first: `what` it is, its `value`, how it fits (`match`), how many requests name it,
        from when to when, and the latest line that does. Of objects also api_group, resource, namespace and name.

    Raises:
        UsageError: there is no word, or it is longer than any name; or a time is none.

    >>> find("lake", "frontend").frame.select("what", "value", "match").rows()[0]
    ('object', 'deployments.apps/frontend', 'exact')
    >>> find("lake", "alice").frame["what"].to_list()[0]
    'user'
    """
    from auditlens import engine
    from auditlens.forensics.find import find as run

    if limit < 1:
        raise UsageError(f"limit {limit} makes no sense; it is 1 or more")
    lake = answers.existing(lake)
    when = window(lake, since, until)
    return engine.with_snapshot(lake, lambda con: run(con, words, when, cluster, limit), since=when.since, until=when.until)


def sql(lake: Lake | str, statement: str, *, timeout: float = 60.0) -> pl.DataFrame:
    """Run one SELECT over the tables of the lake (docs/tables.md); it can read nothing else and change nothing.

    Raises:
        QueryError: it is not one SELECT, DuckDB refused it, or it ran longer than `timeout` seconds.

    >>> sql("lake", "select count(*) > 0 as some from audit").rows()
    [(True,)]
    """
    from auditlens.locked import sql as run

    return run(lake, statement, timeout=timeout)
