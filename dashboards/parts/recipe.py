"""An answer's recipe: the command line and the SQL that give the same answer elsewhere."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections.abc import Mapping
from typing import Any

from auditlens import engine
from auditlens.answers.address import Address
from auditlens.answers.questions import Question
from auditlens.output import plain, time_text
from auditlens.quoting import quoted


def command(question: Question, params: Mapping[str, Any], lake: str) -> str:
    """`auditlens ask …` as a shell takes it."""
    words = ["auditlens", "ask", question.name]
    given = {k: v for k, v in params.items() if v not in (None, "", False)}
    defaults = {p.name: p.default for p in question.params}
    if question.takes_object and given.get("resource") and given.get("name"):
        words.append(f"{given.pop('resource')}/{given.pop('name')}")
    for name, value in given.items():
        if value == defaults.get(name):
            continue
        flag = "-n" if name == "namespace" else f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, time_text(value) if isinstance(value, dt.datetime) else str(value)]
    words += ["--lake", lake]
    return " ".join(map(_word, words))


def _word(text: str) -> str:
    """A shell word; characters that act are written as bash's escapes."""
    if plain(text) == text:
        return shlex.quote(text)
    return "$'" + plain(text.replace("\\", "\\\\")).replace("'", "\\'") + "'"


def sql(question: Question, params: Mapping[str, Any], of: Address) -> str:
    """The question's SELECT with its parameters filled in, for `auditlens sql`; `of` are the objects as the answer read them."""
    body = question.sql.partition("*/")[2].strip()
    values = {p.name: params.get(p.name) for p in question.params}
    if values.get("resource"):
        values |= {k: v for k, v in (("resource", of.resource), ("api_group", of.group)) if k in values}
    types = {p.name: p.type for p in question.params}
    return re.sub(r"\$([a-z_]+)", lambda m: _value(values[m[1]], types[m[1]], m[1]) if m[1] in values else m[0], body)


def _value(value: Any, kind: str, name: str) -> str:
    if value is None or value == "":
        return "null::" + {"time": "timestamptz", "integer": "bigint", "boolean": "boolean"}.get(kind, "varchar")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return f"timestamptz {quoted(time_text(value))}"
    if isinstance(value, int):
        return str(value)
    text = engine.pattern(str(value)) if name != "resource" else str(value)
    assert text is not None
    return quoted(text, "".join(c for c in set(text) if plain(c) != c))  # no character acts where it is pasted
