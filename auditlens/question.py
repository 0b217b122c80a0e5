"""Questions are .sql files: declared in their opening comment, answered from the lake, never without saying what is unknown.

A file `questions/who-deleted.sql` is the question `who-deleted`. Its opening comment is TOML:

    /*
    title = "Who deleted an object"
    needs = "..."            # what must be logged for the answer to be complete, in words
    logged = [{level = "RequestResponse", verbs = ["delete"]}]  # the same for the policy tools; see Logged
    params.name = "name of the object; globs"
    */

The SQL uses each declared parameter as `$name`; loading fails when declared and used parameters differ. What SQL cannot tell a
function adds that the file names as `finish`.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from auditlens import coverage, engine, kinds
from auditlens.errors import AuditlensError, UsageError
from auditlens.lake import Lake
from auditlens.times import parse_time

if TYPE_CHECKING:
    import duckdb
    import polars as pl

# Parameters that mean the same in every question; a file names them without saying it again.
COMMON = {
    "since": "from this time on: RFC 3339, a date, or 2h, 7d, end-2h",
    "until": "up to this time",
    "cluster": "only this cluster",
    "limit": "at most this many rows",
    "kind": "kind of the object, as kubectl takes it: pod, deploy, deployments.apps",
    "resource": "plural resource name, such as pods; kinds and short names are understood too",
    "api_group": "API group of the resource, as in services.serving.knative.dev",
    "namespace": "namespace; globs",
    "name": "name of the object; globs",
    "uid": "uid of the object",
    "user": "user name, authenticated or impersonated; globs",
    "audit_id": "audit id of a request",
}
_TIMES = ("since", "until")
_FLAGS = "boolean"  # type of a parameter whose text begins with this word and a colon
_NUMBERS = "integer"
_OBJECT = ("resource", "namespace", "name")


class QuestionError(AuditlensError):
    """A question file is not what it should be."""


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a question: `type` is text, time, integer or boolean."""

    name: str
    type: str
    doc: str
    default: Any = None


@dataclass(frozen=True, slots=True)
class Logged:
    """Requests that must be in the log for an answer to be complete: these verbs on these resources (none named: any).

    `resources` are (API group, resources) as in an audit policy's rule. Of the requests, those that ended with one of
    `codes` (403, or "4xx") are needed; none named: all. `stages` are needed where a request comes to them; Panic always.
    """

    level: str = "Metadata"  # or Request, RequestResponse
    verbs: tuple[str, ...] = ()
    resources: tuple[tuple[str, tuple[str, ...]], ...] = ()
    stages: tuple[str, ...] = ("ResponseStarted", "ResponseComplete")
    codes: tuple[str, ...] = ()
    managed_fields: bool = False  # metadata.managedFields of the bodies too
    why: str = ""  # what of the answer hangs on it


EVERYTHING = (Logged(),)  # what a question needs that does not say what it needs


@dataclass(frozen=True, slots=True)
class Question:
    """A question as declared in its file."""

    name: str
    title: str
    needs: str  # what must be logged
    sql: str
    params: tuple[Param, ...]
    group: str = ""
    show: tuple[str, ...] = ()  # the columns of the table on a terminal; all others with --wide
    logged: tuple[Logged, ...] | None = None  # `needs` for the policy tools; None is not declared
    finish: str = ""  # `module:function(con, frame, values)` that makes the answer of the rows, where SQL alone cannot

    @property
    def takes_object(self) -> bool:
        """Whether it can be asked of KIND/NAME."""
        return {"resource", "name"} <= {p.name for p in self.params}


@dataclass(slots=True)
class Answer:
    """A frame, and what it cannot know."""

    question: Question
    frame: pl.DataFrame
    params: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)


def load(path: Traversable) -> Question:
    """Read a question file. Raises QuestionError naming the file."""
    import duckdb

    text = path.read_text(encoding="utf-8")
    match = re.match(r"\s*/\*(.*?)\*/", text, re.DOTALL)
    if match is None:
        raise QuestionError(f"{path}: a question begins with a comment that declares it")
    try:
        head = tomllib.loads(match[1])
        params = tuple(_param(name, doc) for name, doc in head.get("params", {}).items())
        logged = tuple(map(_logged, head["logged"])) if "logged" in head else None
        name, title, needs, group = path.name.removesuffix(".sql"), head["title"], head["needs"], head.get("group", "")
        question = Question(name, title, needs, text, params, group, tuple(head.get("show", ())), logged, head.get("finish", ""))
    except (tomllib.TOMLDecodeError, KeyError, ValueError) as e:
        raise QuestionError(f"{path}: {e}") from e
    used = set(duckdb.extract_statements(text)[0].named_parameters)
    if used != {p.name for p in params}:
        odd = ", ".join(sorted(used ^ {p.name for p in params}))
        raise QuestionError(f"{path}: parameters declared and used differ: {odd}")
    return question


def _logged(entry: Any) -> Logged:
    """One entry of `logged`; ValueError for a word that is none."""
    fields: dict[str, Any] = dict(entry)
    unknown = set(fields) - set(Logged.__slots__)
    if unknown:
        raise ValueError(f"logged: unknown {', '.join(sorted(unknown))}; known are {', '.join(Logged.__slots__)}")
    fields["resources"] = tuple((r.get("group", ""), tuple(r["resources"])) for r in fields.get("resources", ()))
    fields["codes"] = tuple(map(str, fields.get("codes", ())))
    for name in ("verbs", "stages"):
        if name in fields:
            fields[name] = tuple(fields[name])
    logged = Logged(**fields)
    if logged.level not in ("Metadata", "Request", "RequestResponse"):
        raise ValueError(f"logged: level {logged.level!r} is not Metadata, Request or RequestResponse")
    if odd := set(logged.stages) - {"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}:
        raise ValueError(f"logged: there is no stage {', '.join(sorted(odd))}")
    if odd := {c for c in logged.codes if not re.fullmatch("[1-5]([0-9]{2}|xx)", c)}:
        raise ValueError(f'logged: {", ".join(sorted(odd))} is no HTTP status; write 403 or "4xx"')
    return logged


def _param(name: str, doc: Any) -> Param:
    default = None
    if isinstance(doc, dict):
        default, doc = doc.get("default"), doc.get("doc", "")
    doc = str(doc) or COMMON.get(name, "")
    if not doc:
        raise ValueError(f"parameter {name} is not described")
    if name in _TIMES:
        return Param(name, "time", doc, default)
    kind, colon, rest = doc.partition(":")
    if colon and kind in (_FLAGS, _NUMBERS):
        return Param(name, kind, rest.strip(), default)
    return Param(name, _NUMBERS if isinstance(default, int) and not isinstance(default, bool) else "text", doc, default)


@cache
def questions() -> Mapping[str, Question]:
    """All questions by name."""
    found = sorted((f for f in files("auditlens.questions").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return {q.name: q for q in map(load, found)}


def find(name: str) -> Question:
    """The question of a name; UsageError suggests the nearest."""
    known = questions()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `auditlens ask` lists them"
        raise UsageError(f"there is no question {name!r}{hint}")
    return known[name]


def ask(lake: Lake | str, name: str, /, **params: Any) -> pl.DataFrame:
    """Ask a question by name; the frame of its answer. See `answer` for what the frame cannot know."""
    return answer(lake, name, **params).frame


def answer(
    lake: Lake | str, question: str, /, *, object: str | None = None, timeout: float | None = None, **params: Any
) -> Answer:
    """Ask a question by name.

    Args:
        lake: the lake, or its directory.
        question: its name.
        object: `KIND/NAME`, instead of the parameters resource and name.
        timeout: seconds after which it is given up.
        params: its parameters; times as datetime or as text.

    Raises:
        UsageError: there is no such question or parameter, or a value makes no sense.
        QueryError: it took longer than `timeout`, or DuckDB refused it.
    """
    asked = find(question)
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    if not lake.exists():
        raise UsageError(f"{lake.path}: there is no lake here; `auditlens import` makes one, --lake or $AUDITLENS_LAKE names it")
    values = _values(asked, lake, object, params)

    def run(con: duckdb.DuckDBPyConnection) -> Answer:
        bound = {k: _bound(k, v) for k, v in values.items()}
        if word := bound.get("resource"):
            bound["resource"] = _resource(con, word)
            if "." in word and "api_group" in bound:
                bound["api_group"] = bound["api_group"] or kinds.parse_object(f"{word}/x").api_group
        frame = engine.query(con, asked.sql, bound, timeout=timeout)
        if asked.finish:
            module, _, function = asked.finish.partition(":")
            frame = getattr(import_module(module), function)(con, frame, values)
        result = Answer(asked, frame, values)
        result.notes += _notes(con, result)
        return result

    if asked.finish:  # what led to a row may be older than the window
        return engine.with_snapshot(lake, run)
    return engine.with_snapshot(lake, run, since=values.get("since"), until=values.get("until"))


def _values(question: Question, lake: Lake, object: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
    declared = {p.name: p for p in question.params}
    values = {p.name: p.default for p in question.params}
    if object is not None:
        if not question.takes_object:
            raise UsageError(f"{question.name} is not asked of an object; it takes {', '.join(declared)}")
        kind, slash, _ = object.partition("/")
        params = {"resource": kind, **({"name": _name_of(object)} if slash else {}), **params}
    for key, value in params.items():
        if key not in declared:
            near = difflib.get_close_matches(key, declared, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(declared)}"
            raise UsageError(f"{question.name} has no parameter {key!r}{hint}")
        if value is not None:
            values[key] = value
    if values.get("limit") is not None and values["limit"] < 1:
        raise UsageError(f"limit {values['limit']} makes no sense; it is 1 or more")
    end = None
    if any(isinstance(values.get(t), str) and "end" in values[t] for t in _TIMES):
        end = last_time(lake)
    for key in _TIMES:
        if isinstance(values.get(key), str):
            values[key] = parse_time(values[key], now=dt.datetime.now(dt.UTC), end=end)
    return values


def _name_of(object: str) -> str:
    try:
        return kinds.parse_object(object).name
    except ValueError as e:
        raise UsageError(str(e)) from e


def _bound(name: str, value: Any) -> Any:
    return engine.pattern(value) if isinstance(value, str) and name not in ("resource", *_TIMES) else value


def _resource(con: duckdb.DuckDBPyConnection, word: str) -> str:
    """The plural resource name a word means: built in, or seen in the log."""
    known = kinds.find(word)
    if known:
        return known[0].resource
    wanted = kinds.parse_object(f"{word}/x").resources
    for candidate in (word, *wanted):
        if con.execute("select 1 from audit_objects where resource = ? limit 1", [candidate]).fetchall():
            return candidate
    return wanted[0]


def last_time(lake: Lake) -> dt.datetime | None:
    """The last stage time of the whole lake, from its files' statistics."""
    times = [f.max_time for f in lake.snapshot().files("audit") if f.max_time]
    return max(times, default=None)


def _unknown(con: duckdb.DuckDBPyConnection, params: Mapping[str, Any], resource: str | None) -> list[str]:
    """Which of the words asked for mean nothing here, for an answer of no rows."""
    notes, word, cluster = [], params.get("resource"), params.get("cluster")
    if (
        word
        and not kinds.find(word)
        and not con.execute("select 1 from audit_objects where resource = ? limit 1", [resource]).fetchall()
    ):
        near = kinds.suggest(word)
        notes.append(
            f"{word} is no built-in kind and no resource of this log" + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    if cluster:
        known = [row[0] for row in con.execute("select distinct cluster from audit order by 1").fetchall()]
        if cluster not in known:
            notes.append(f"this lake has no cluster {cluster}; it has {', '.join(known) or 'none'}")
    return notes


_RFC3339 = "'%Y-%m-%dT%H:%M:%SZ'"


def _notes(con: duckdb.DuckDBPyConnection, result: Answer) -> list[str]:
    """What the reader of this answer must know besides its rows."""
    notes = []
    limit = result.params.get("limit")
    if limit is not None and result.frame.height >= limit:
        notes.append(f"only the first {limit:,} rows are shown; --limit shows more")
    since, until, resource = (result.params.get(p) for p in ("since", "until", "resource"))
    if resource:
        resource = _resource(con, str(resource))
    namespace, name = (engine.pattern(result.params.get(p)) for p in ("namespace", "name"))
    notes += coverage.warnings(
        con, result.question.logged or (), since=since, until=until, resource=resource, namespace=namespace, name=name
    )
    if result.frame.height:
        return notes
    first, last, inside = con.execute(
        f"select strftime(min(stage_time), {_RFC3339}), strftime(max(stage_time), {_RFC3339}), "
        "count(*) filter (where ($a is null or stage_time >= $a) and ($b is null or stage_time <= $b)) from audit",
        {"a": since, "b": until},
    ).fetchall()[0]
    if (since or until) and not inside:
        whole = con.execute(f"select strftime(max(last_time), {_RFC3339}) from imports").fetchall()[0][0]
        notes.append(f"the log holds nothing in this window; its last event is of {last or whole or 'no time at all'}")
    elif first is None:
        notes.append("the lake holds no audit events")
    else:
        notes.append(f"nothing found in the log from {first} to {last}")
    notes += _unknown(con, result.params, resource)
    notes.append(f"to be complete, this answer needs in the log: {' '.join(result.question.needs.split())}")
    return notes
