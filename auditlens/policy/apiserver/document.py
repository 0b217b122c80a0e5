"""A policy's text becomes the JSON value kube-apiserver sees in it, every part of it still knowing its line and column.

The server turns YAML into JSON with sigs.k8s.io/yaml (a fork of go-yaml v2) before it decodes anything. Its rules,
not PyYAML's, say what a scalar is: `off` and `y` are booleans, `2001-01-01` is a string, `1:30` is no number.
Only the first document of a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from auditlens.policy.apiserver.errors import Position

__all__ = ["Duplicate", "Kind", "Node", "SyntaxFault", "scalar"]

Kind = Literal["object", "array", "string", "number", "bool", "null"]

MAX_DEPTH = 100  # a policy is six levels deep; the limit keeps recursion over hostile texts safe


@dataclass(slots=True)
class Node:
    """One JSON value. `text` is the string, or the literal of a number or bool; `start` and `end` are offsets.

    `entries` hold an object's (key, key position, value) in the order the server decodes them; a key may repeat
    only in JSON, where later values are decoded over earlier ones.
    """

    kind: Kind
    position: Position
    text: str = ""
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[str, Position, Node]] = field(default_factory=list)
    start: int = 0
    end: int = 0
    bad: str | None = None  # the message of a value JSON has no word for (NaN)

    def get(self, key: str) -> Node | None:
        """The last value of a key."""
        return next((value for name, _, value in reversed(self.entries) if name == key), None)

    def walk(self) -> Iterator[Node]:
        yield self
        for child in (*self.items, *(value for _, _, value in self.entries)):
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key given twice in one YAML mapping: `position` is the later one, which the server takes.

    `line` is where its value starts, which is the line the server names; `end` puts several into its order.
    """

    key: str
    position: Position
    first: Position
    line: int
    end: int


class SyntaxFault(Exception):
    """The text is no YAML, or no JSON; `message` is what the server's parser says."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


_WORDS: dict[str, tuple[Kind, str]] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], ("bool", "true")),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], ("bool", "false")),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], ("null", "")),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], ("number", "NaN")),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], ("number", "+Inf")),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], ("number", "-Inf")),
}
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"(?:[Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:\.[0-9]+)?(?:Z|[+-][0-9:]+)?)?"
)
_INT = re.compile(r"[-+]?(?:0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|[1-9][0-9]*|0)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9]+(?:[eE][-+]?[0-9]+)?")


def scalar(text: str) -> tuple[Kind, str]:
    """Say what an unquoted YAML scalar is, and its JSON literal (go-yaml v2 resolve.go).

    >>> scalar("off"), scalar("None"), scalar("0x10"), scalar("2001-01-01")
    (('bool', 'false'), ('string', 'None'), ('number', '16'), ('string', '2001-01-01'))
    """
    word = _WORDS.get(text)
    if word is not None:
        return word
    if text[0] == "." and _DOT_FLOAT.fullmatch(text):
        return "number", _go_float(text)
    if text[0] not in "+-0123456789" or _DATE.fullmatch(text):
        return "string", text
    plain = text.replace("_", "")
    if _INT.fullmatch(plain):
        return "number", str(_go_int(plain))
    if _FLOAT.fullmatch(plain):
        return "number", _go_float(plain)
    return "string", text


def _go_int(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").lower()
    if digits.startswith("0") and len(digits) > 1 and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _go_float(text: str) -> str:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return text
    return repr(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)
