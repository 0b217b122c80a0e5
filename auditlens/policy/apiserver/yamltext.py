"""YAML text becomes Nodes by parser events, without recursion, with go-yaml v2's reading of tags, merges and aliases.

Sources: sigs.k8s.io/yaml yaml.go and its goyaml.v2 fork (decode.go, resolve.go). go-yaml is a port of libyaml, so
PyYAML's libyaml parser finds the same faults in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from auditlens.policy.apiserver.document import MAX_DEPTH, Duplicate, Kind, Node, SyntaxFault, scalar
from auditlens.policy.apiserver.errors import Position

__all__ = ["YamlDocument", "read"]

_MAX_NODES = 100_000  # behind aliases; go-yaml refuses "excessive aliasing" as well
_TAG = "tag:yaml.org,2002:"
_GUARDED = {f"{_TAG}{name}": name for name in ("bool", "int", "float", "null", "timestamp")}
_KIND_OF_TAG: dict[str, Kind] = {"bool": "bool", "int": "number", "float": "number", "null": "null"}


@dataclass(slots=True)
class YamlDocument:
    root: Node
    duplicates: list[Duplicate]
    next_document: Position | None  # where a second document starts, which the server never reads


@dataclass(slots=True)
class _Open:
    """A collection not closed yet; a mapping's children are keys and values by turns."""

    node: Node
    anchor: str | None
    children: list[Node | _Key] = field(default_factory=list)


@dataclass(slots=True)
class _Key:
    text: str
    position: Position
    merge: bool
    fault: str | None = None  # go-yaml's complaint about such a key


def read(text: str) -> YamlDocument:
    """Read the first document of a YAML text; an empty text is null.

    Raises SyntaxFault in go-yaml's words ("yaml: line 3: did not find expected key").
    """
    try:
        return _Reader(text).read()
    except yaml.MarkedYAMLError as error:
        raise _fault(error) from error
    except yaml.reader.ReaderError as error:
        seen = text[: error.position]
        position = Position(seen.count("\n") + 1, len(seen) - seen.rfind("\n"))
        raise SyntaxFault("yaml: control characters are not allowed", position) from error


def _parser(text: str) -> Any:
    try:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs call it private
    except ImportError:  # PyYAML was built without libyaml: other words for faults, the same values
        return yaml.SafeLoader(text)
    return CParser(text)


class _Reader:
    def __init__(self, text: str) -> None:
        self._parser = _parser(text)
        self._anchors: dict[str, Node | _Open] = {}
        self._duplicates: list[Duplicate] = []
        self._nodes = 0
        self._faults: list[SyntaxFault] = []  # of values; go-yaml parses everything before it looks at any

    def read(self) -> YamlDocument:
        stack: list[_Open] = []
        root: Node | None = None
        while root is None:
            event = self._parser.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return YamlDocument(Node("null", Position(1, 1)), [], None)
            done = self._event(event, stack)
            if done is None:
                continue
            if not stack:
                root = done
            else:
                stack[-1].children.append(self._as_key(done, event) if _wants_key(stack[-1]) else done)
        self._parser.get_event()  # the document's end: what cannot stand behind the root is a fault of it
        if self._faults:
            raise self._faults[0]
        return YamlDocument(root, sorted(self._duplicates, key=lambda d: d.end), self._second())

    def _event(self, event: Any, stack: list[_Open]) -> Node | None:
        """Take one event; return the node it completes."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.ScalarEvent):
            node, fault = _scalar_node(event)
            if fault:
                self._faults.append(SyntaxFault(fault, node.position))
            if event.anchor:
                self._anchors[event.anchor] = node
            return node
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if len(stack) >= MAX_DEPTH:
                raise SyntaxFault(f"yaml: exceeded max depth of {MAX_DEPTH}", _position(event))
            kind: Kind = "array" if isinstance(event, yaml.SequenceStartEvent) else "object"
            opened = _Open(_node(kind, event), event.anchor)
            if event.anchor:
                self._anchors[event.anchor] = opened
            stack.append(opened)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            opened = stack.pop()
            opened.node.end = event.end_mark.index  # type: ignore[union-attr]  # parsers always set it
            self._close(opened)
            if opened.anchor:
                self._anchors[opened.anchor] = opened.node
            return opened.node
        return None

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise SyntaxFault(f"yaml: unknown anchor '{event.anchor}' referenced", _position(event))
        if isinstance(node, _Open):
            fault = f"yaml: anchor '{event.anchor}' value contains itself"
            self._faults.append(SyntaxFault(fault, _position(event)))
            return _node("null", event)
        self._nodes += sum(1 for _ in node.walk())
        if self._nodes > _MAX_NODES:
            raise SyntaxFault("yaml: document contains excessive aliasing", _position(event))
        return node

    def _as_key(self, node: Node, event: Any) -> _Key:
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        merge = node.kind == "string" and node.text == "<<" and plain
        fault = None
        if node.kind in ("array", "object"):
            fault = "yaml: invalid map key: a list or mapping"
        elif node.kind == "null":
            fault = "Unsupported map key of type: %!s(<nil>), key: <nil>"
        return _Key(node.text, node.position, merge, fault)

    def _close(self, opened: _Open) -> None:
        if opened.node.kind == "array":
            opened.node.items = [child for child in opened.children if isinstance(child, Node)]
            return
        taken: dict[str, tuple[str, Position, Node]] = {}
        pairs = zip(opened.children[::2], opened.children[1::2], strict=True)
        for key, value in cast("list[tuple[_Key, Node]]", list(pairs)):
            if key.fault:
                tail = ", value: <nil>" if value.kind == "null" and not key.fault.startswith("yaml") else ""
                self._faults.append(SyntaxFault(key.fault + tail, key.position))
            for name, position, node in self._merged(key, value) if key.merge else [(key.text, key.position, value)]:
                if name in taken:
                    first, line = taken[name][1], node.position.line
                    self._duplicates.append(Duplicate(name, position, first, line, node.end))
                taken[name] = (name, position, node)
        # The server re-writes the mapping as JSON, which sorts the keys; faults are told in that order.
        opened.node.entries = sorted(taken.values(), key=lambda entry: entry[0].encode())

    def _merged(self, key: _Key, value: Node) -> list[tuple[str, Position, Node]]:
        if value.kind == "object":
            return value.entries
        if value.kind == "array" and all(item.kind == "object" for item in value.items):
            return [entry for item in reversed(value.items) for entry in item.entries]
        fault = "yaml: map merge requires map or sequence of maps as the value"
        self._faults.append(SyntaxFault(fault, key.position))
        return []

    def _second(self) -> Position | None:
        try:
            event = self._parser.get_event()
            while not isinstance(event, (yaml.DocumentStartEvent, yaml.StreamEndEvent)):
                event = self._parser.get_event()
        except yaml.YAMLError:
            return None  # whatever stands there, the server does not look at it
        return _position(event) if isinstance(event, yaml.DocumentStartEvent) else None


def _wants_key(opened: _Open) -> bool:
    return opened.node.kind == "object" and len(opened.children) % 2 == 0


def _position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


def _node(kind: Kind, event: Any, text: str = "") -> Node:
    return Node(kind, _position(event), text, start=event.start_mark.index, end=event.end_mark.index)


def _scalar_node(event: Any) -> tuple[Node, str | None]:
    plain = event.implicit[0]
    wanted = _GUARDED.get(event.tag or "") if not plain else None
    if not plain and wanted is None:
        return _node("string", event, event.value), None  # quoted, !!str, or a tag go-yaml has no opinion on
    kind, literal = scalar(event.value)
    node = _node(kind, event, literal)
    if kind == "number" and literal in ("NaN", "+Inf", "-Inf"):
        node.bad = f"json: unsupported value: {literal}"
    if wanted is not None and wanted != "timestamp" and _KIND_OF_TAG[wanted] != kind:
        return node, f"yaml: cannot decode !!{_tag_of(kind)} `{event.value}` as a !!{wanted}"
    return node, None


def _tag_of(kind: Kind) -> str:
    return {"string": "str", "number": "int", "bool": "bool", "null": "null"}.get(kind, kind)


def _fault(error: yaml.MarkedYAMLError) -> SyntaxFault:
    """Number the line as go-yaml does: from 1 for the scanner, from 0 for the parser, and never line 0 (decode.go fail)."""
    problem = error.problem_mark
    context = error.context_mark
    mark = problem or context
    line = 0
    if problem is not None and problem.line:
        line = problem.line + (1 if isinstance(error, yaml.scanner.ScannerError) else 0)
    elif context is not None and context.line:
        line = context.line
    where = f"line {line}: " if line else ""
    position = Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)
    return SyntaxFault(f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}", position)
