"""JSON text becomes Nodes with positions, refused in the words of Go's encoding/json.

A policy file that starts with a brace is JSON to the server, never YAML
(apimachinery pkg/runtime/serializer/recognizer and pkg/util/yaml IsJSONBuffer).
"""

from __future__ import annotations

import re

from auditlens.policy.apiserver.document import MAX_DEPTH, Node, SyntaxFault
from auditlens.policy.apiserver.errors import Position

__all__ = ["is_json", "read"]

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]*)?(?:[eE][+-]?[0-9]*)?")
_CHUNK = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE = re.compile(r"u[0-9a-fA-F]{4}")


def is_json(text: str) -> bool:
    """True if the server takes the file for JSON."""
    return text.lstrip(" \t\r\n\v\f\x85\xa0").startswith("{")


def read(text: str) -> Node:
    """Read one JSON value and nothing behind it; raises SyntaxFault."""
    reader = _Reader(text)
    node = reader.value(0)
    reader.space()
    if reader.at < len(text):
        raise reader.invalid("after top-level value")
    return node


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._line = 0

    def position(self) -> Position:
        while self._line + 1 < len(self._lines) and self._lines[self._line + 1] <= self.at:
            self._line += 1
        return Position(self._line + 1, self.at - self._lines[self._line] + 1)

    def invalid(self, where: str) -> SyntaxFault:
        if self.at >= len(self.text):
            return SyntaxFault("unexpected end of JSON input", self.position())
        return SyntaxFault(f"invalid character {_quoted(self.text[self.at])} {where}", self.position())

    def space(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # it matches the empty text

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Node:
        self.space()
        if depth > MAX_DEPTH:
            raise SyntaxFault("exceeded max depth", self.position())
        node = Node("null", self.position(), start=self.at)
        first = self.peek()
        if first == "{":
            node.kind = "object"
            self.object(node, depth)
        elif first == "[":
            node.kind = "array"
            self.array(node, depth)
        elif first == '"':
            node.kind = "string"
            node.text = self.string()
        elif first in ("-", *"0123456789") and first:
            node.kind = "number"
            node.text = self.number()
        else:
            self.literal(node, first)
        node.end = self.at
        return node

    def literal(self, node: Node, first: str) -> None:
        word = {"t": "true", "f": "false", "n": "null"}.get(first)
        if word is None:
            raise self.invalid("looking for beginning of value")
        for place, letter in enumerate(word):
            if self.peek() != letter:
                raise self.invalid(f"in literal {word} (expecting {_quoted(word[place])})")
            self.at += 1
        if word != "null":
            node.kind, node.text = "bool", word

    def number(self) -> str:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            self.at += 1
            raise self.invalid("in numeric literal")
        self.at = match.end()
        if match[0].endswith("."):
            raise self.invalid("after decimal point in numeric literal")
        if match[2] == "." or match[0][-1] in "eE+-":
            raise self.invalid("in exponent of numeric literal")
        return match[0]

    def object(self, node: Node, depth: int) -> None:
        self.at += 1
        self.space()
        while self.peek() != "}" or node.entries:
            if self.peek() != '"':
                raise self.invalid("looking for beginning of object key string")
            position = self.position()
            key = self.string()
            self.space()
            if self.peek() != ":":
                raise self.invalid("after object key")
            self.at += 1
            node.entries.append((key, position, self.value(depth + 1)))
            self.space()
            if self.peek() == "}":
                break
            if self.peek() != ",":
                raise self.invalid("after object key:value pair")
            self.at += 1
            self.space()
        self.at += 1

    def array(self, node: Node, depth: int) -> None:
        self.at += 1
        self.space()
        while self.peek() != "]" or node.items:
            node.items.append(self.value(depth + 1))
            self.space()
            if self.peek() == "]":
                break
            if self.peek() != ",":
                raise self.invalid("after array element")
            self.at += 1
        self.at += 1

    def string(self) -> str:
        self.at += 1
        parts = []
        while True:
            match = _CHUNK.match(self.text, self.at)
            assert match is not None  # the pattern matches the empty text
            parts.append(match[0])
            self.at = match.end()
            mark = self.peek()
            if mark == '"':
                self.at += 1
                joined = "".join(parts).encode("utf-16", "surrogatepass")
                return joined.decode("utf-16", "replace")  # as Go does with half a surrogate pair
            if mark != "\\":
                raise self.invalid("in string literal")
            self.at += 1
            parts.append(self.escape())

    def escape(self) -> str:
        letter = self.peek()
        if letter in _ESCAPES and letter:
            self.at += 1
            return _ESCAPES[letter]
        match = _UNICODE.match(self.text, self.at)
        if match is None:
            raise self.invalid("in string escape code")
        self.at = match.end()
        return chr(int(match[0][1:], 16))


def _quoted(letter: str) -> str:
    if letter == "'":
        return r"'\''"
    if letter == '"':
        return "'\"'"
    if letter in "\\\n\r\t":
        return repr(letter)
    return f"'{letter}'" if letter.isprintable() else f"'\\x{ord(letter):02x}'"
