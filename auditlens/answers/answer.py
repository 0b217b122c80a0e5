"""Whatever is asked, the answer is an `Answer`: what was found, where it stands in the logs, and what the logs cannot say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.answers import limits
from auditlens.answers.address import Address, address
from auditlens.answers.questions import TIMES, Question, find
from auditlens.answers.window import Window, window
from auditlens.errors import UsageError
from auditlens.lake import Lake

if TYPE_CHECKING:
    import duckdb
    import polars as pl

EVIDENCE = ("audit_id", "source", "line", "item")  # the columns that lead from a row to the lines it rests on

# What is looked at, in times the limit and at least, before all there is is counted, which costs as much as the answer.
_AHEAD, _FEW = 4, 2000


@dataclass(slots=True)
class Answer:
    """What was found, and what it cannot know.

    Attributes:
        frame: the rows, one a finding; times are UTC, columns that end in `_ms` milliseconds, in `bytes` bytes.
        limits: what the log cannot say about it, each in one line; read them before trusting a row that is missing.
        near: what the log has close to what was asked for, where it has nothing of it: other namespaces, near names.
        total: the rows there are, of which `limit` may have left some out of the frame.
        tree: the whole answer as nested dicts and lists, where rows cannot carry it (`why`, `state`, `impact`, `completeness`,
            `trace`, those about policies); None elsewhere. It is what `-o json` prints.
        text: the answer as a terminal shows it, where that is no table (`trace`, `curl`, `recommend`); it says its limits itself.
        show: the columns for a terminal; empty is all.
        title: what was asked.
        params: with what.
        of: the objects it is about.
        question: the question file behind it, if one is.
    """

    frame: pl.DataFrame
    limits: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    total: int = 0
    tree: Any = None
    text: str = ""
    show: tuple[str, ...] = ()
    title: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    of: Address = field(default_factory=Address)
    question: Question | None = None

    @property
    def notes(self) -> list[str]:
        """The limits, then what is near: all that is to be read besides the rows."""
        return [*self.limits, *self.near]

    @property
    def evidence(self) -> pl.DataFrame:
        """The lines the rows rest on, each once: audit_id, source, line and item, as far as the answer has them."""
        return self.frame.select([c for c in EVIDENCE if c in self.frame.columns]).unique(maintain_order=True)

    def __len__(self) -> int:
        return self.frame.height

    def __str__(self) -> str:
        return self.text or "\n".join([self.title, str(self.frame), *self.notes])


def existing(lake: Lake | str) -> Lake:
    """The lake at a path.

    Raises:
        UsageError: there is none.
    """
    lake = lake if isinstance(lake, Lake) else Lake(lake)
    if not lake.exists():
        raise UsageError(f"{lake.path}: there is no lake here; `auditlens import` makes one, --lake or $AUDITLENS_LAKE names it")
    return lake


def ask(lake: Lake | str, question: str, /, *, object: str | None = None, timeout: float | None = None, **params: Any) -> Answer:
    """Ask a question by name.

    Args:
        lake: the lake, or its directory.
        question: its name.
        object: the object, as `address` takes it, instead of the parameters resource and name.
        timeout: seconds after which it is given up.
        params: its parameters; times as datetime or as text.

    Raises:
        UsageError: there is no such question or parameter, or a value makes no sense.
        QueryError: it took longer than `timeout`, or DuckDB refused it.
    """
    asked = find(question)
    if object is not None and not asked.takes_kind:
        raise UsageError(f"{asked.name} is not asked of an object; it takes {', '.join(p.name for p in asked.params)}")
    values = _values(asked, params)
    lake = existing(lake)
    when = window(lake, values.get("since"), values.get("until"))
    values |= {k: v for k, v in (("since", when.since), ("until", when.until)) if k in values}

    def run(con: duckdb.DuckDBPyConnection) -> Answer:
        of = _address(con, asked, object, values)
        frame, total = _rows(con, asked, _bound(asked, of, values), timeout)
        if asked.finish:
            module, _, function = asked.finish.partition(":")
            frame = getattr(import_module(module), function)(con, frame, of)
        answer = Answer(frame, total=total, show=asked.show, title=asked.title, params=values, of=of, question=asked)
        answer.limits = _limits(con, answer, when)
        if not frame.height:
            answer.near = limits.near(con, of, user=values.get("user"))
        return answer

    # what led to a row that is finished elsewhere may be older than the window
    opened = {} if asked.finish else {"since": when.since, "until": when.until}
    return engine.with_snapshot(lake, run, asked=asked.sql, **opened)


def _values(question: Question, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with their defaults; UsageError for one that does not exist."""
    declared = {p.name: p for p in question.params}
    values = {p.name: p.default for p in question.params}
    for key, value in params.items():
        if key not in declared:
            near = difflib.get_close_matches(key, declared, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(declared)}"
            raise UsageError(f"{question.name} has no parameter {key!r}{hint}")
        if value is not None:
            values[key] = value
    if values.get("limit") is not None and values["limit"] < 1:
        raise UsageError(f"limit {values['limit']} makes no sense; it is 1 or more")
    return values


def _address(con: duckdb.DuckDBPyConnection, asked: Question, object: str | None, values: dict[str, Any]) -> Address:
    """The objects asked for; what the address says stands in `values` then."""
    of = address(con, object or values.get("resource"), namespace=values.get("namespace"), cluster=values.get("cluster"))
    if asked.of and of.resource and of.resource not in asked.of:
        raise UsageError(f"{asked.name} is asked of {' and '.join(asked.of)}, not of {of.resource}")
    if object is not None and of.name and not asked.takes_object:
        raise UsageError(f"{asked.name} is asked of a kind, not of one object: {object.replace('/', ' ').split()[0]}")
    given = {"name": of.name, "namespace": of.namespace, "uid": of.uid}
    for key, value in given.items():
        if value is not None and key in values and values[key] is None:
            values[key] = value
    group = values.get("api_group") or of.group
    return Address(
        group, of.resources or asked.of, values.get("name"), of.namespace, of.cluster, None, of.uid or values.get("uid"), of.known
    )


def _bound(asked: Question, of: Address, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the SQL takes them: globs as patterns, the address's plural and group for the words of a person."""
    bound = {k: engine.pattern(v) if isinstance(v, str) and k not in ("resource", *TIMES) else v for k, v in values.items()}
    if "resource" in bound:
        bound["resource"] = None if of.resources == asked.of else of.resource  # all it is about
        if "api_group" in bound and of.resource:
            bound["api_group"] = of.group
    return bound


def _rows(
    con: duckdb.DuckDBPyConnection, asked: Question, bound: dict[str, Any], timeout: float | None
) -> tuple[pl.DataFrame, int]:
    """The rows up to the limit, and how many there are without it: counted only where some more than the limit are there."""
    limit = bound.get("limit")
    if limit is None:
        frame = engine.query(con, asked.sql, bound, timeout=timeout)
        return frame, frame.height
    ahead = max(limit * _AHEAD, _FEW)
    frame = engine.query(con, asked.sql, bound | {"limit": ahead + 1}, timeout=timeout)
    if frame.height <= ahead:
        return frame.head(limit), frame.height
    rest = {k: v for k, v in bound.items() if k != "limit"}
    counted = engine.query(con, f"select count(*) as n from ({asked.unsorted})", rest, timeout=timeout)
    return frame.head(limit), int(counted["n"][0])


def _limits(con: duckdb.DuckDBPyConnection, answer: Answer, when: Window) -> list[str]:
    """What the reader of this answer must know besides its rows."""
    asked, height = answer.question, answer.frame.height
    assert asked is not None
    out = [] if answer.total == height else [f"only the first {height:,} of {answer.total:,} rows are shown; --limit shows more"]
    if answer.of.uid and not asked.takes("uid"):
        out.append(
            f"this is about every object of that name, not only the one with uid {answer.of.uid}: `auditlens history` tells them apart"
        )
    out += limits.warnings(con, asked.logged or (), answer.of if asked.takes_kind else Address(), when)
    return out if height else out + limits.empty(con, asked, answer.of, when)
