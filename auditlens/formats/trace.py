"""utiltrace blocks of every release: one row for the block, one for each step and each span nested in it.

k8s.io/utils/trace and apiserver's copies of it. A block is known by its number until its END, which may be missing; its
lines may stand among those of other blocks. The field list is not quoted and its values hold commas: it is split before
known keys only.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .durations import duration_ms

__all__ = ["Block", "Step", "Traces", "is_trace"]

_KEYS = (
    "url", "user-agent", "audit-id", "client", "accept", "protocol", "resource", "scope", "verb", "api-group",
    "api-version", "name", "subresource", "namespace", "key", "type", "group", "resource-version", "resourceVersion",
    "resourceVersionMatch", "limit", "continue", "count", "len", "err", "size", "writer", "method", "mediaType", "encoder",
    "configuration", "webhook", "operation", "UID", "event-count", "identifier", "fieldSelector", "field-selector",
    "label-selector", "timeout", "error", "provider.name", "keyID", "object", "version", "path",
)  # fmt: skip
_SPLIT = re.compile(r",(?=(?:" + "|".join(map(re.escape, _KEYS)) + "):)")
_FIELDS = re.compile(r"[\w.-]+:")

# Trace[14]: "Create" url:/x,client:1.2.3.4 (started: 2018-… | 23-Nov-2026 04:58:10.724) (total time: 3000ms):
_HEAD = re.compile(r'Trace\[(?P<id>\d+)\]: "(?P<name>[^"]*)"(?P<fields>.*) \((?:started: )?(?P<start>[^()]*)\) '
                   r"\(total time: (?P<total>[^)]+)\):?\s*", re.DOTALL)  # fmt: skip
# Trace "Create /x" (started 2017-06-01 10:00:00.1 +0000 UTC):
_HEAD_0 = re.compile(r'Trace "(?P<name>[^"]*)" \(started:? (?P<start>[^()]*)\):?\s*')
_LINE = re.compile(r"Trace\[(\d+)\]:( *)(.*)", re.DOTALL)
_END = re.compile(r'(?:"(?P<name>[^"]*)" )?\[(?P<total>[^\]\s]+)\] \[[^\]\s]+\] END\s*')
# ["cacher.Get" key:/x 1499ms (04:58:50.327)   and its closing brackets
_SPAN = re.compile(
    r'\["(?P<name>[^"]*)"(?P<fields>.*) (?P<ms>\d+)ms \((?P<clock>\d\d:\d\d:\d\d\.\d{3})\)(?P<close>\]*)\s*', re.DOTALL
)
_STEP = re.compile(
    r'---"(?P<name>[^"]*)"(?P<fields>.*) (?P<ms>\d+)ms \((?P<clock>\d\d:\d\d:\d\d\.\d{3})\)(?P<close>\]*)\s*', re.DOTALL
)
_OLD_STEP = re.compile(r"\[(?P<at>[^\]\s]+)\] \[(?P<ms>[^\]\s]+)\] (?P<name>.*)", re.DOTALL)
_OLD_FIELDS = re.compile(r" (?=(?:count|len|err|size):)")

_MAX_OPEN = 1000  # blocks whose END is waited for
_MAX_STEPS = 10_000  # steps of one block that are kept
_MONTHS = {m: i for i, m in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)}
_STARTED_NEW = re.compile(r"(\d\d)-([A-Z][a-z]{2})-(\d{4}) (\d\d:\d\d:\d\d\.\d+)")
_STARTED_OLD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?)\d* ([+-]\d{4}) ?\S*(?: m=\S+)?")


@dataclass(slots=True)
class Step:
    """A step, or with `span` a nested trace. `ms` is the step's own time, or the span's whole; `at_ms` since the block began."""

    name: str
    ms: float | None
    depth: int  # 1 is directly in the block
    span: bool = False
    at_ms: float | None = None
    clock_us: int | None = None  # since midnight, where the log names it
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Block:
    """One trace. `start_local` has the process's zone unless `zoned`."""

    id: str
    line: int = 0  # index of its first line within the entry
    name: str | None = None
    total_ms: float | None = None
    start: dt.datetime | None = None
    zoned: bool = False  # the start names its zone
    fields: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    ended: bool = False


def is_trace(message: str) -> bool:
    """Whether the text begins a block."""
    return message.startswith(("Trace[", 'Trace "'))


def fields_of(text: str) -> dict[str, str]:
    """`accept:a, b,audit-id:x` as {"accept": "a, b", "audit-id": "x"}; keys without a value are left out."""
    text = text.strip()
    if not _FIELDS.match(text):
        return {"": text} if text else {}
    pairs = (part.partition(":") for part in _SPLIT.split(text))
    return {key: value for key, _, value in pairs if value}


def started(text: str) -> tuple[dt.datetime | None, bool]:
    """The moment a block began, and whether its zone is known; without zone it is the process's own."""
    try:
        if match := _STARTED_NEW.match(text):
            day, month, year, clock = match.groups()
            time = dt.time.fromisoformat(clock[:12])
            return dt.datetime.combine(dt.date(int(year), _MONTHS.get(month, 0), int(day)), time, dt.UTC), False
        if match := _STARTED_OLD.match(text):
            return dt.datetime.fromisoformat(match[1] + match[2]), True
    except ValueError:
        pass
    return None, False


def _clock(text: str) -> int:
    hour, minute, second = text.split(":")
    return ((int(hour) * 60 + int(minute)) * 60_000 + round(float(second) * 1000)) * 1000


class Traces:
    """Puts the blocks of one stream together: `feed` takes the message of each entry, in order."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Block, object]] = {}

    @property
    def idle(self) -> bool:
        """Whether no block waits for its END."""
        return not self._open

    def feed(self, message: str, origin: object) -> Iterator[tuple[Block, object]]:
        """Blocks that end in this entry, each with the `origin` given with its first line."""
        lines = _joined(message)
        if lines and (match := _HEAD_0.fullmatch(lines[0])):
            yield _oldest(match, lines[1:]), origin
            return
        for number, text in enumerate(lines):
            head = _HEAD.fullmatch(text)
            line = None if head else _LINE.fullmatch(text)
            if head is None and line is None:
                continue
            name = head["id"] if head else line[1]  # type: ignore[index]  # one of them matched
            if head:
                if name in self._open:  # the same number again: another block
                    yield self._open.pop(name)
                start, zoned = started(head["start"])
                block = Block(name, number, head["name"], duration_ms(head["total"]), start, zoned, fields_of(head["fields"]))
                self._open[name] = block, origin
            else:
                if name not in self._open:  # its head is in what was rotated away
                    self._open[name] = Block(name, number), origin
                block = self._open[name][0]
                if line is not None and _add(block, len(line[2]), line[3]):
                    yield self._open.pop(name)
        while len(self._open) > _MAX_OPEN:
            yield self._open.pop(next(iter(self._open)))

    def close(self) -> Iterator[tuple[Block, object]]:
        """Blocks whose END never came."""
        while self._open:
            yield self._open.pop(next(iter(self._open)))


def _joined(message: str) -> list[str]:
    """The lines of the blocks; text behind a newline inside a field's value is joined to its line."""
    lines: list[str] = []
    for line in message.split("\n"):
        if not lines or line.startswith(("Trace", '["', "[", '"')):
            lines.append(line)
        elif line.strip():
            lines[-1] += "\n" + line
    return lines


def _add(block: Block, spaces: int, text: str) -> bool:
    """Take one line of a block; whether it was the last."""
    if end := _END.fullmatch(text):
        total = duration_ms(end["total"])
        block.total_ms = total if total is not None else block.total_ms
        block.ended = True
        return True
    if len(block.steps) >= _MAX_STEPS:
        return False
    depth = max(spaces, 1)
    match = _STEP.fullmatch(text) or _SPAN.fullmatch(text)
    if match:
        block.steps.append(
            Step(
                match["name"], float(match["ms"]), depth, text[0] == "[", None, _clock(match["clock"]), fields_of(match["fields"])
            )
        )
    elif match := _OLD_STEP.fullmatch(text):
        at = duration_ms(match["at"])
        name, rest = match["name"].strip(), ""
        cut = _OLD_FIELDS.search(name)
        if cut:
            name, rest = name[: cut.start()], name[cut.end() :]
        block.steps.append(Step(name, duration_ms(match["ms"]), depth, at_ms=at, fields=fields_of(rest)))
    elif text.strip():
        block.steps.append(Step(text.strip(), None, depth))
    return False


def _oldest(head: re.Match[str], lines: list[str]) -> Block:
    """The form up to 1.7, which has no number: the entry is the block."""
    start, zoned = started(head["start"])
    block = Block("", 0, head["name"], None, start, zoned)
    for line in lines:
        if _add(block, 1, line):
            break
    return block
