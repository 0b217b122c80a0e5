"""One line for each way in which a window of the log cannot carry an answer: cheap enough to stand under every answer.

`auditlens completeness` looks closer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from auditlens.output import time_text

if TYPE_CHECKING:
    import duckdb

LEVELS = ("Metadata", "Request", "RequestResponse")
HOLE = dt.timedelta(minutes=2)  # between two files of one apiserver; shorter ones are rotations


class Needed(Protocol):
    """Requests an answer rests on; see question.Logged."""

    @property
    def level(self) -> str: ...
    @property
    def verbs(self) -> tuple[str, ...]: ...
    @property
    def resources(self) -> tuple[tuple[str, tuple[str, ...]], ...]: ...
    @property
    def why(self) -> str: ...


def warnings(
    con: duckdb.DuckDBPyConnection,
    needed: Iterable[Needed],
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    resource: str | None = None,
    namespace: str | None = None,
    name: str | None = None,
) -> list[str]:
    """What the log of a window lacks: holes between files, unreadable or cut events, levels below what is needed.

    Levels are looked at for the requests that an answer about `resource`, `namespace` and `name` rests on (patterns as `fits`
    takes them).
    """
    window, params = _window(since, until)
    levels: list[str] = []
    if resource or any(one.resources for one in needed):
        levels = _levels(con, needed, (resource, namespace, name), window, params)
    return [*_files(con, since, until), *_cut(con, window, params), *levels]


def _window(since: dt.datetime | None, until: dt.datetime | None) -> tuple[str, dict[str, Any]]:
    params: dict[str, Any] = {}
    parts = ["true"]
    if since is not None:
        parts.append("stage_time >= $since")
        params["since"] = since
    if until is not None:
        parts.append("stage_time <= $until")
        params["until"] = until
    return " and ".join(parts), params


def _files(con: duckdb.DuckDBPyConnection, since: dt.datetime | None, until: dt.datetime | None) -> list[str]:
    """Holes between the files of one apiserver, and sources that were not read to the end."""
    rows = con.execute(
        "select instance, epoch_us(first_time), epoch_us(last_time), rejects, error from imports "
        "where first_time is not null and ($a is null or last_time >= $a) and ($b is null or first_time <= $b) order by all",
        {"a": since, "b": until},
    ).fetchall()
    out: list[str] = []
    holes: list[tuple[int, int]] = []
    ends: dict[str, int] = {}
    for instance, first, last, _, _ in rows:
        end = ends.get(instance)
        if end is not None and first - end > HOLE.total_seconds() * 1e6:
            holes.append((end, first))
        ends[instance] = max(last, end or last)
    if holes:
        a, b = (time_text(dt.datetime.fromtimestamp(t / 1e6, dt.UTC)) for t in holes[0])
        more = f", and {len(holes) - 1} more like it" if len(holes) > 1 else ""
        out.append(f"the log has a hole from {a} to {b}{more}; `auditlens completeness` shows them")
    rejects, errors = sum(r[3] or 0 for r in rows), sum(1 for r in rows if r[4])
    if rejects:
        out.append(f"{rejects:,} records of the log could not be read; they are in the table rejects")
    if errors:
        out.append(f"{errors:,} sources were damaged or unfinished and read in part; the table imports says which")
    return out


def _cut(con: duckdb.DuckDBPyConnection, window: str, params: dict[str, Any]) -> list[str]:
    what = []
    for word in ("truncated", "partial"):  # one by one: then the files' statistics answer
        count = con.execute(f"select count(*) from audit where {word} and {window}", params).fetchall()[0][0]
        if count:
            what.append(f"{count:,} {word}")
    return [f"the log has {' and '.join(what)} events in this window: their bodies are missing"] if what else []


def _levels(
    con: duckdb.DuckDBPyConnection,
    needed: Iterable[Needed],
    asked: tuple[str | None, str | None, str | None],
    window: str,
    params: dict[str, Any],
) -> list[str]:
    """Events that were recorded below the level an answer needs; only where the answer is of few resources."""
    out = []
    resource, namespace, name = asked
    here, params = window, dict(params)
    if namespace:
        here, params["namespace"] = f"{here} and fits(namespace, $namespace)", namespace
    if name:  # what names no object may mean any
        here, params["name"] = f"{here} and (name is null or fits(name, $name))", name
    for one in needed:
        names = {n for _, found in one.resources for n in found}
        if one.level not in LEVELS[1:] or "*" in names or not (resource or names):
            continue
        plain = {n.partition("/")[0] for n in names}
        if resource and plain and resource not in plain:
            continue
        of = [resource] if resource else sorted(plain)
        verbs = f"and verb in ({_list(one.verbs)})" if one.verbs else ""
        lower = LEVELS[: LEVELS.index(one.level)]
        count = con.execute(
            f"select count(*) from audit where resource in ({_list(of)}) {verbs} and level in ({_list(lower)}) "
            f"and stage = 'ResponseComplete' and code < 300 and coalesce(subresource, '') <> 'token' and {here}",
            params,
        ).fetchall()[0][0]
        if count:
            what = f": {one.why} may be missing" if one.why else ""
            out.append(f"{count:,} requests of {', '.join(of)} were recorded below {one.level}{what}")
    return list(dict.fromkeys(out))


def _list(words: Iterable[str]) -> str:
    return ", ".join("'" + w.replace("'", "''") + "'" for w in words)
