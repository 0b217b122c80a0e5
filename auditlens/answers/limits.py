"""What the log cannot say: one line for each way in which it cannot carry an answer, and why an empty answer is empty.

Cheap enough to stand under every answer; `auditlens completeness` looks closer.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from auditlens import kinds
from auditlens.answers.address import Address
from auditlens.answers.questions import LEVELS, Logged, Question
from auditlens.answers.window import Window
from auditlens.engine import pattern
from auditlens.output import time_text
from auditlens.quoting import listed, quoted

if TYPE_CHECKING:
    import duckdb

HOLE = dt.timedelta(minutes=2)  # between two files of one apiserver; shorter ones are rotations
_ANSWERED = dt.timedelta(seconds=61)  # after its start, whatever it is: kube-apiserver's --request-timeout
_EVER = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_NAMES = 50_000  # of a kind, among which those near to what was asked for are looked for
_LOGS = {  # what has to be imported for a table to hold anything
    "klog": "the apiserver's own log",
    "httplog": "the apiserver's own log, at -v=3 or more",
    "trace": "the apiserver's own log; it traces what takes longer than 500 ms",
    "kubectl": "the output of kubectl -v=6 and up",
}


def warnings(con: duckdb.DuckDBPyConnection, needed: Iterable[Logged], of: Address, when: Window) -> list[str]:
    """What the log of a window lacks: holes between files, unreadable or cut events, levels below what is needed.

    Levels are looked at for the requests that an answer about these objects rests on.
    """
    needed = list(needed)
    levels = _levels(con, needed, of, when) if of.resource or any(one.resources for one in needed) else []
    return [*_files(con, when.since, when.until), *_cut(con, when), *levels, *unanswered(con, of, when)]


def unanswered(con: duckdb.DuckDBPyConnection, of: Address, when: Window) -> list[str]:
    """Writes of some named objects that came in and of which the log does not hold what became of them."""
    if of.name is None:
        return []
    where, params = replace(of, name=None).where("a")
    inside, bounds = when.where("a.stage_time")
    # the answer of the last ones may stand behind the window, in files that are not open
    latest = when.until - _ANSWERED if when.until else _EVER
    params |= {**bounds, "name": pattern(of.name), "latest": latest}
    rows = con.execute(
        f"""
        select any_value(a.verb), min(actor(a.username, a.impersonated_username)), min(a.stage_time) as begun, a.audit_id from audit as a
        where a.verb in ('create', 'update', 'patch', 'delete', 'deletecollection')
            and coalesce(a.subresource, '') not in ('status', 'exec', 'attach', 'portforward', 'proxy', 'token')
            and (fits(a.name, $name) or a.name is null and a.verb = 'deletecollection') and {where} and {inside}
        group by a.cluster, a.audit_id
        having bool_and(a.stage = 'RequestReceived') and begun <= $latest
        order by begun, a.audit_id
        """,
        params,
    ).fetchall()
    if not rows:
        return []
    verb, who, time, audit_id = rows[-1]
    last = f"the {verb} by {who} of {time_text(time)} ({audit_id})"
    if len(rows) == 1:
        return [f"{last} came in, and what became of it is not in the log: it may have been done"]
    return [f"{last} and {len(rows) - 1:,} before it came in, and what became of them is not in the log: each may have been done"]


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


def _cut(con: duckdb.DuckDBPyConnection, when: Window) -> list[str]:
    inside, params = when.where()
    what = []
    for word in ("truncated", "partial"):  # one by one: then the files' statistics answer
        count = con.execute(f"select count(*) from audit where {word} and {inside}", params).fetchall()[0][0]
        if count:
            what.append(f"{count:,} {word}")
    return [f"the log has {' and '.join(what)} events in this window: their bodies are missing"] if what else []


def _levels(con: duckdb.DuckDBPyConnection, needed: Iterable[Logged], of: Address, when: Window) -> list[str]:
    """Events that were recorded below the level an answer needs; only where the answer is of few resources."""
    out = []
    here, params = when.where()
    if of.namespace:
        here, params["namespace"] = f"{here} and fits(namespace, $namespace)", pattern(of.namespace)
    if of.name:  # what names no object may mean any
        here, params["name"] = f"{here} and (name is null or fits(name, $name))", pattern(of.name)
    for one in needed:
        resources = _resources(one, of)
        if one.level not in LEVELS[1:] or not resources:
            continue
        verbs = f"and verb in ({listed(one.verbs)})" if one.verbs else ""
        lower = LEVELS[: LEVELS.index(one.level)]
        count = con.execute(
            f"select count(*) from audit where resource in ({listed(resources)}) {verbs} and level in ({listed(lower)}) "
            f"and stage = 'ResponseComplete' and code < 300 and coalesce(subresource, '') <> 'token' and {here}",
            params,
        ).fetchall()[0][0]
        if count:
            what = f": {one.why} may be missing" if one.why else ""
            out.append(f"{count:,} requests of {', '.join(resources)} were recorded below {one.level}{what}")
    return list(dict.fromkeys(out))


def _resources(one: Logged, of: Address) -> list[str]:
    """The resources whose requests a need is about, for some objects; none where it is about all or not about these."""
    names = {n.partition("/")[0] for _, found in one.resources for n in found}
    if of.resources and "*" not in names:
        return [r for r in of.resources if not names or r in names]
    return [] if "*" in names else sorted(names)


def empty(con: duckdb.DuckDBPyConnection, asked: Question, of: Address, when: Window) -> list[str]:
    """Why an answer has no rows, as far as the log at hand tells: what it has of what the question needs, and what it lacks."""
    if not asked.tables:  # about the imports themselves
        return ["nothing of what was asked for is among the lake's imports"]
    inside, params = when.where("seen")
    spans = {
        t: con.execute(
            f"select min(seen), max(seen), count(seen) filter (where {inside}), count(*) from (select {'stage_time' if t == 'audit' else 'time'} as seen from {t})",
            params,
        ).fetchall()[0]
        for t in asked.tables
    }
    held = [t for t, (_, _, count, _) in spans.items() if count]
    if not held and when:  # files outside the window are not opened, so the tables look empty
        last = con.execute("select max(last_time) from imports").fetchall()[0][0]
        return [f"the log holds nothing in this window; its last event is of {_second(last) if last else 'no time at all'}"]
    out = [
        f"the lake holds no {t} rows{' in this window' if when else ''}: import {_LOGS[t]}"
        for t in spans
        if t in _LOGS and t not in held
    ]
    if not held and any(s[3] for s in spans.values()):
        return [f"nothing found among {sum(s[3] for s in spans.values()):,} records, none of which has a time that can be read"]
    if not held:
        return out or ["the lake holds no audit events"]
    first, last = (f(t for s in spans.values() if (t := s[n])) for n, f in enumerate((min, max)))
    out.append(f"nothing found in the log from {_second(first)} to {_second(last)}")
    return out + (_needs(con, asked, of, when) if "audit" in held else [])


def _second(when: dt.datetime) -> str:
    return f"{when.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _needs(con: duckdb.DuckDBPyConnection, asked: Question, of: Address, when: Window) -> list[str]:
    """The requests a question needs that the log holds, and those it lacks."""
    if not asked.logged:
        return [f"to be complete, this answer needs in the log: {' '.join(asked.needs.split())}"]
    has, lacks = [], []
    for one in asked.logged:
        resources = _asked_of(one, of)
        if resources is None:
            continue
        count, whole = _counted(con, one, resources, of, when)
        what = f"{'/'.join(one.verbs) or 'any request'} of {', '.join(resources) or 'anything'}"
        if not count:
            lacks.append(what + (f" ({one.why})" if one.why else ""))
        else:
            has.append(f"{count:,} {what}" + (f", {whole:,} of them" if whole < count else "") + f" at {one.level} or more")
    out = [f"the log has what this needs of other requests: {h}" for h in dict.fromkeys(has)] if not lacks else []
    if lacks:
        out += [
            f"the log has no {what}: either nobody did it, or what wrote the log left it out" for what in dict.fromkeys(lacks)
        ]
        out.append(f"to be complete, this answer needs in the log: {' '.join(asked.needs.split())}")
    return out


def _asked_of(one: Logged, of: Address) -> list[str] | None:
    """The resources, with their subresources, of a need for some objects; empty is any, None that it is not about them."""
    named = [n for _, found in one.resources for n in found if n != "*"]
    if of.resources and named and not set(of.resources) & {n.partition("/")[0] for n in named}:
        return None
    return named or list(of.resources)


def _counted(con: duckdb.DuckDBPyConnection, one: Logged, resources: Iterable[str], of: Address, when: Window) -> tuple[int, int]:
    """The requests of a need that the log holds, and how many of them at its level or above."""
    where, params = when.where()
    parts = []
    for name in resources:
        resource, _, subresource = name.partition("/")
        parts.append(f"resource = {quoted(resource)}" + (f" and subresource = {quoted(subresource)}" if subresource else ""))
    where += f" and ({' or '.join(parts)})" if parts else ""
    where += f" and verb in ({listed(one.verbs)})" if one.verbs else ""
    where += f" and cluster = {quoted(of.cluster)}" if of.cluster else ""
    enough = LEVELS[LEVELS.index(one.level) :]
    count, whole = con.execute(
        f"select count(*), count(*) filter (where level in ({listed(enough)})) from audit where stage <> 'RequestReceived' and {where}",
        params,
    ).fetchall()[0]
    return count, whole


def near(con: duckdb.DuckDBPyConnection, of: Address, *, user: str | None = None) -> list[str]:
    """What the log has that is close to objects and people of which it has nothing: other places of a name, and near names."""
    out = []
    if not of.known:
        word = of.resource or ""
        hint = f"; did you mean {' or '.join(found)}?" if (found := kinds.suggest(word)) else ""
        out.append(f"{word} is no built-in kind and no resource of this log{hint}")
    if of.cluster:
        known = [row[0] for row in con.execute("select distinct cluster from audit order by 1").fetchall()]
        if of.cluster not in known:
            out.append(f"this lake has no cluster {of.cluster}; it has {', '.join(map(str, known)) or 'none'}")
    if of.name:
        out += _elsewhere(con, of) or _like(con, of)
    if user and not any(c in user for c in "*?"):
        out += _people(con, user)
    return out


def _elsewhere(con: duckdb.DuckDBPyConnection, of: Address) -> list[str]:
    """Where the log has objects of that name: as asked for, in other namespaces and clusters, of other kinds."""
    rows = con.execute(
        "select cluster, resource, namespace, name, count(*) as n, min(time), max(time) from audit_objects "
        "where via in ('ref', 'body', 'item') and fits(name, $name) and resource is not null group by all order by n desc, cluster, resource, namespace, name limit 50",
        {"name": pattern(of.name)},
    ).fetchall()
    out, others = [], []
    for cluster, resource, namespace, name, count, first, last in rows:
        here = (not of.resources or resource in of.resources) and of.cluster in (None, cluster)
        there = f"{resource} {namespace + '/' if namespace else ''}{name}"
        if here and (of.namespace is None or re.fullmatch(_regex(of.namespace), namespace or "")):
            out.append(
                f"the log has {count:,} requests of {there}, from {_second(first)} to {_second(last)}, but none that this asks for"
            )
        else:
            others.append(there + (f" in cluster {cluster}" if of.cluster not in (None, cluster) else ""))
    if others and not out:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        out.append(f"the log has no {of}, but {', '.join(dict.fromkeys(others[:3]))}{more}")
    return out[:3]


def _regex(glob: str) -> str:
    return re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")


def _like(con: duckdb.DuckDBPyConnection, of: Address) -> list[str]:
    """Names spelled much like one that the log does not have, or that begin with it."""
    where, params = Address(of.group, of.resources, None, of.namespace, of.cluster).where()
    names = [r[0] for r in con.execute(
        f"select distinct name from audit_objects as t where name is not null and {where} order by 1 limit {_NAMES}", params
    ).fetchall()]  # fmt: skip
    wanted = of.name or ""
    found = [n for n in names if n.startswith(wanted)] or difflib.get_close_matches(wanted, names, 3, 0.6)
    return [f"the log has no {of}; near names: {', '.join(found[:3])}"] if found else [f"the log has no {of} and no name like it"]


def _people(con: duckdb.DuckDBPyConnection, user: str) -> list[str]:
    names = [r[0] for r in con.execute(
        "select distinct username from audit where username is not null union select distinct impersonated_username from audit "
        f"where impersonated_username is not null order by 1 limit {_NAMES}"
    ).fetchall()]  # fmt: skip
    if user in names:
        return []
    found = difflib.get_close_matches(user, names, 3, 0.6)
    return [f"the log has no user {user}" + (f"; near names: {', '.join(found)}" if found else "")]
