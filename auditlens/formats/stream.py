"""The lines of one stream become records: log entries and documents that span lines are put together here."""

from __future__ import annotations

import re
from collections.abc import Callable

from . import csvdoc, glue, http, jsonlog, klog, native, prefixes, registry, yamldoc
from .documents import Documents
from .ledger import Ledger
from .legacy import LEGACY
from .line import MAX_RECORD, Line

__all__ = ["Stream"]

_COLOUR = re.compile(rb"\x1b\[[\d;]*[mK]")
_MAX_PASSED = 16  # audit lines that may stand between the lines of one log entry
_MAX_WEAK = 1024  # prefixes remembered
_MAX_GLUED = 100  # records of different kinds on one line


class OpenEntry:
    """A log entry whose further lines may still come."""

    __slots__ = ("blanks", "item", "line", "lines", "passed", "quoting", "size")

    def __init__(self, line: Line, text: bytes, item: int | None) -> None:
        self.line, self.item, self.lines, self.size = line, item, [text], len(text)
        self.blanks = self.passed = 0
        self.quoting = text.endswith(b"=<")  # inside a value of several lines, indented by a tab (klog 2.40)

    def add(self, text: bytes) -> None:
        """A further line, and the blank ones before it."""
        self.lines += [b""] * self.blanks
        self.blanks = self.passed = 0
        self.lines.append(text)
        self.size += len(text)
        if self.quoting or text.endswith(b"=<"):
            self.quoting = text.startswith(b"\t") or text.endswith(b"=<")


class Stream:
    """What is open in one stream: at most one JSON or YAML document, one request head, or one log entry."""

    def __init__(self, ledger: Ledger, route: Callable[[Line], Stream | None]) -> None:
        self.ledger, self.route = ledger, route  # for records, and for lines that a wrapper held
        self.json = Documents(self, ledger)
        self.entry: OpenEntry | None = None
        self.yaml: yamldoc.Document | None = None
        self.csv: csvdoc.Document | None = None
        self.in_head = False  # of an HTTP request
        self.yaml_next = False  # behind a --- line
        self.pieces: list[bytes] = []  # of a line that its wrapper cut up
        self.pieces_size = 0
        self.first_piece: Line | None = None
        self.again: list[Line] = []  # what else begins on the line just read
        self.strong: registry.Wrapper | None = None  # a wrapper that cannot be mistaken is tried first
        self.learned = prefixes.Learned()
        self.below: Stream | None = None  # where the last line went that a prefix was cut from
        self.weak: set[tuple[registry.Wrapper, str]] = set()  # one that can is believed again if it held before

    @property
    def idle(self) -> bool:
        """Whether nothing waits for a further line."""
        return not (self.entry or self.json.splitter or self.yaml or self.csv or self.in_head or self.pieces)

    @property
    def entry_only(self) -> bool:
        """Whether nothing waits but a log entry."""
        entry, self.entry = self.entry, None
        try:
            return self.idle
        finally:
            self.entry = entry

    # -- in

    def take(self, line: Line) -> None:
        """A line as its wrapper gave it: pieces are joined first."""
        if not (line.partial or self.pieces):
            self.push(line)
            return
        if self.pieces and not line.continues and registry.begins_record(line.text) and self._pieces_are_whole():
            self.push(self._joined())  # the last piece only lacked its newline
        if self.first_piece is None:
            self.first_piece = line
        self.pieces.append(line.text)
        self.pieces_size += len(line.text)
        if not line.partial or line.cut or self.pieces_size > MAX_RECORD:
            self.push(self._joined(line.cut))

    def _pieces_are_whole(self) -> bool:
        text = b"".join(self.pieces)
        return text[:1] != b"{" or registry.is_json(text)

    def _joined(self, cut: bool = False) -> Line:
        first = self.first_piece
        assert first is not None
        first.text, first.partial, first.cut = b"".join(self.pieces), False, first.cut or cut
        self.pieces, self.pieces_size, self.first_piece = [], 0, None
        return first

    def push(self, line: Line) -> None:
        """One whole logical line, and what turns out to begin in its middle."""
        self._read(line)
        turns = 0
        while self.again:
            turns += 1
            if turns > _MAX_GLUED:
                line = self.again.pop()
                self.ledger.reject(line, f"more than {_MAX_GLUED} records glued together on one line", line.text)
            else:
                self._read(self.again.pop())

    def _read(self, line: Line) -> None:
        text = line.text
        if text[:1] == b"\x1b":
            text = line.text = _COLOUR.sub(b"", text)
        if self.json.splitter is not None:
            self.json.go_on(line)
            return
        if self.yaml is not None:
            if self.yaml.add(line):
                self._found(self.yaml)
                return
            self.end_document()
        elif self.csv is not None:
            if self.csv.open or not self._ends_csv(text):
                self.csv.add(line)
                self._found(self.csv)
                return
            self.end_document()
        if text.startswith(native.AUDIT_START):
            # a bare second start was appended to a torn line
            if (
                text.endswith(b"}")
                and not glue.several_documents(text)
                and not line.cut
                and not line.last
                and (text.find(native.AUDIT_START, 1) < 0)
            ):
                self._pass_entry()
                self.ledger.emit(line, text)
            else:
                self.json.read(line)
            return
        if self.strong is not None:
            inner = self.strong(line)
            if inner is not None:
                self.below = self.route(inner)
                return
        if not text or text.isspace():
            self.blank()
        elif self.in_head and http.is_header(text):
            return
        else:
            self.in_head = False
            self._fresh(line)

    def blank(self) -> None:
        """A white-space-only line: it ends a request's head and may stand inside an entry or a YAML document."""
        self.in_head = False
        if self.entry is not None:
            self.entry.blanks += 1
        elif self.yaml is not None or self.csv is not None:
            (self.yaml or self.csv).blank()  # type: ignore[union-attr]  # one of them is open

    def settle(self) -> bool:
        """A log entry's header follows: whether an entry begins there. If so the open one is complete."""
        if self.json.splitter or self.yaml or self.csv or self.in_head or self.pieces:
            return False
        self.yaml_next = False
        self.end_entry()
        return True

    def close(self) -> None:
        """The source ends."""
        if self.pieces:
            self.push(self._joined(cut=True))
        self.json.close()
        self.end_document()
        self.end_entry()
        self.in_head = False

    # -- what a line is

    def _fresh(self, line: Line) -> None:
        text = line.text
        if text[:1] == b"{" and self._json_line(line):
            return
        if klog.begins_entry(text):
            self._entries(line)
        elif b" AUDIT: id=" in text and LEGACY.match(text.lstrip()):
            self.end_entry()
            self._legacy(line, text.strip())
        elif klog.is_structure(text) or text in (b"]", b"],"):
            self.end_entry()
            self._end_below()
            self.ledger.headed(text)
        elif self._unwrapped(line) or (text[:1] == b"[" and self.json.read(line)):
            return
        elif not self._begins_document(line):
            if self.entry is not None:
                self._entries(line)
            else:
                self._unknown(line)
                return
        self.yaml_next = self.yaml_next and yamldoc.is_separator(text)

    def _json_line(self, line: Line) -> bool:
        """An object on a line of its own; False when it is no JSON. What is plainly a record is not decoded."""
        text = line.text
        if text.endswith(b"}") and not glue.several_documents(text) and not line.cut and not line.last:
            if jsonlog.starts_entry(text):
                self.end_entry()
                self.ledger.emit(line, text, self.ledger.log_format)
                return True
            if native.ITEM_START.match(text) and b'_audit_level":"' not in text:
                self._pass_entry()
                self.ledger.emit(line, text)
                return True
        return self.json.read(line)

    def _begins_document(self, line: Line) -> bool:
        """Whether a request, CSV or YAML begins; YAML does not inside a log entry."""
        text = line.text
        if http.is_start(text):
            self.in_head = True
        elif yamldoc.is_separator(text):
            self.yaml_next = True
        elif self.entry is None and (yamldoc.is_start(text) or (self.yaml_next and yamldoc.is_key(text))):
            self.yaml = yamldoc.Document(line)
            self.yaml.add(line)
        elif (head := csvdoc.columns(text, self.entry is not None)) is not None:
            self.csv = csvdoc.Document(line, *head)
        else:
            return False
        self.end_entry()
        return True

    def _unwrapped(self, line: Line) -> bool:
        for wrapper, strong in registry.wrappers(line.text[0]):
            inner = wrapper(line)
            if inner is None:
                continue
            if strong:
                self.strong = wrapper
                self.end_entry()
            elif (wrapper, inner.stream) not in self.weak:
                if not registry.begins_record(inner.text):
                    continue
                if len(self.weak) < _MAX_WEAK:
                    self.weak.add((wrapper, inner.stream))
                self.end_entry()
            self.below = self.route(inner)
            return True
        return False

    def _unknown(self, line: Line) -> None:
        """No format begins like this: perhaps one begins behind a prefix nobody knows."""
        text = line.text
        before = klog.split(text)[0]
        if len(before) < len(text) and not prefixes.is_one(before) and glue.event_in(before) < 0:
            self.ledger.reject(line, "text line of no known format, a log entry glued to it", before)
            self.again.append(line.same(text[len(before) :]))
            return
        at = registry.embedded(text)
        if at and not self.learned.is_prefix(text[:at]):
            self.ledger.reject(line, "text line of no known format, a record glued to it", text[:at])
        inner = self.learned.learn(line, at) if at else self.learned.cut(line)
        if inner is not None:
            self.below = self.route(inner)
        elif (below := self._open_below()) is not None:  # the tool put its prefix before the first line of an entry only
            below._entries(line)
        else:
            self.ledger.reject(line, "text line of no known format", text)

    def _open_below(self) -> Stream | None:
        """The stream inside the last line's wrappers, if an entry is open there."""
        stream = self.below
        while stream is not None and stream.entry is None:
            stream = stream.below
        return stream

    def _end_below(self) -> None:
        """What is open inside wrappers ends as well: the next line does not follow the last one."""
        while (stream := self._open_below()) is not None:
            stream.end_entry()

    def _legacy(self, line: Line, text: bytes) -> None:
        """A legacy audit line, and what was glued to its end."""
        ends = (glue.event_in(text), next((at for at in klog.headers(text) if klog.unquoted(text[:at])), -1))
        stop = min((at for at in ends if at > 0), default=0)
        if stop:
            self.again.append(line.same(text[stop:]))
            line = line.same(text[:stop])
            line.cut = False
            text = line.text.rstrip()
        self.ledger.legacy(line, text)

    # -- log entries

    def _entries(self, line: Line) -> None:
        """A line of log text: it goes on with the open entry, begins one, or several glued together."""
        quoted = self.entry is not None and self.entry.quoting and line.text.startswith(b"\t")
        glued = -1 if quoted else glue.event_in(line.text)
        if glued > 0:
            self.again.append(line.same(line.text[glued:]))
            line = line.same(line.text[:glued].rstrip())
            line.cut = line.last = False  # the end of the line is the event's
        for index, text in enumerate(klog.split(line.text)):
            if index or klog.begins_entry(text):
                self._open_entry(line, text)
            else:
                self.append(text)
        if line.cut:
            self.end_entry(cut=True)

    def _pass_entry(self) -> None:
        """An audit line between the lines of an entry: stdout and stderr in one file interleave by the line."""
        entry = self.entry
        if entry is not None:
            entry.passed += 1
            if entry.passed > _MAX_PASSED:
                self.end_entry()

    def _open_entry(self, line: Line, text: bytes) -> None:
        self.end_entry()
        self.entry = OpenEntry(line, text, self.ledger.claim(line))

    def append(self, text: bytes) -> None:
        """A further line of the open entry."""
        entry = self.entry
        assert entry is not None
        entry.add(text)
        if entry.size > MAX_RECORD:
            self.end_entry(cut=True)

    def end_entry(self, cut: bool = False) -> None:
        """The open entry is complete."""
        entry = self.entry
        if entry is not None:
            self.entry = None
            text = entry.lines[0] if len(entry.lines) == 1 else b"\n".join(entry.lines)
            self.ledger.put(entry.line, text, self.ledger.log_format, entry.item, cut)

    # -- YAML and CSV

    def _ends_csv(self, text: bytes) -> bool:
        """Whether something begins that is no row: the next document of a file that was put together, or a head again."""
        return text.startswith((b'{"', b'[{"')) or klog.begins_entry(text) or csvdoc.columns(text, True) is not None

    def _found(self, document: yamldoc.Document | csvdoc.Document) -> None:
        for found in document.ready:
            if found.reason is not None:
                self.ledger.reject(found.line, found.reason, found.text)
            else:
                self.route(found.line.inner(found.text))
        document.ready.clear()

    def end_document(self) -> None:
        """The open YAML or CSV document is complete."""
        for document in (self.yaml, self.csv):
            if document is not None:
                self.yaml = self.csv = None
                document.end()
                self._found(document)
