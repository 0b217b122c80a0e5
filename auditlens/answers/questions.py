"""Questions are .sql files that declare themselves: nothing about a question is told anywhere else.

A file `questions/who-deleted.sql` is the question `who-deleted`. Its opening comment is TOML:

    /*
    title = "Who deleted an object"
    needs = "..."            # what must be logged for the answer to be complete, in words
    logged = [{level = "RequestResponse", verbs = ["delete"]}]  # the same for the policy tools; see Logged
    of = ["pods"]            # the only kinds of object it is about
    params.name = "name of the object; globs"
    */

The SQL uses each declared parameter as `$name`; loading fails when declared and used parameters differ. What SQL cannot tell a
function adds that the file names as `finish`; what drowns the rest on a terminal a function leaves out, `brief`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from auditlens.errors import AuditlensError, UsageError

LEVELS = ("Metadata", "Request", "RequestResponse")

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
TIMES = ("since", "until")
_FLAGS = "boolean"  # type of a parameter whose text begins with this word and a colon
_NUMBERS = "integer"
_LOGS = ("klog", "httplog", "trace", "kubectl")
_AUDIT = ("audit", "ended", "requests", "stages", "writes")  # how tables, views and macros of audit events begin


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
    finish: str = ""  # `module:function(con, frame, address)`: columns that SQL alone cannot make; it keeps the rows
    brief: str = ""  # `module:function(frame)`: the rows for a terminal without its noise, and in words what was left out
    of: tuple[str, ...] = ()  # the only resources it is about; of several, a parameter `resource` chooses

    def takes(self, param: str) -> bool:
        """Whether it has a parameter of that name."""
        return any(p.name == param for p in self.params)

    @property
    def takes_kind(self) -> bool:
        """Whether it can be asked of a kind."""
        return self.takes("resource") or bool(self.of)

    @property
    def takes_object(self) -> bool:
        """Whether it can be asked of KIND/NAME."""
        return self.takes_kind and self.takes("name")

    @property
    def object_form(self) -> str:
        """How an object is written for it, such as pod/NAME; empty where it is about none."""
        if not self.takes_kind:
            return ""
        kind = "|".join(w.removesuffix("s") for w in self.of) if 0 < len(self.of) <= 3 else "KIND"
        return f"{kind}/NAME" if self.takes_object else kind

    @property
    def unsorted(self) -> str:
        """Its SQL without order and limit, to count the rows: with a limit of null DuckDB would sort them all."""
        return self.sql[: self.sql.rindex("\norder by ")]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of the lake it reads, `audit` for all views and macros over it."""
        read = set(re.findall(r"\b(?:from|join)\s+(\w+)", self.sql, re.IGNORECASE))
        return (*(("audit",) if any(t.startswith(_AUDIT) for t in read) else ()), *(t for t in _LOGS if t in read))


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
        show, of = tuple(head.get("show", ())), tuple(head.get("of", ()))
        finish, brief = head.get("finish", ""), head.get("brief", "")
        question = Question(name, title, needs, text, params, group, show, logged, finish, brief, of)
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
    if logged.level not in LEVELS:
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
    if name in TIMES:
        return Param(name, "time", doc, default)
    kind, colon, rest = doc.partition(":")
    if colon and kind in (_FLAGS, _NUMBERS):
        return Param(name, kind, rest.strip(), default)
    return Param(name, _NUMBERS if isinstance(default, int) and not isinstance(default, bool) else "text", doc, default)


@cache
def questions() -> Mapping[str, Question]:
    """All questions by name."""
    found = sorted((f for f in (files("auditlens") / "questions").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return {q.name: q for q in map(load, found)}


def find(name: str) -> Question:
    """The question of a name; UsageError suggests the nearest."""
    known = questions()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `auditlens ask` lists them"
        raise UsageError(f"there is no question {name!r}{hint}")
    return known[name]
