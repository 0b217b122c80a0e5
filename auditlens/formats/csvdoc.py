"""CSV becomes JSON, a row an object: exports of Logs Insights, Log Analytics, Splunk, Kibana, Cloud Logging, whatever their columns.

RFC 4180 with commas, semicolons or tabs. Quoted cells may hold lines. What is no row is a reject, and a quote that nothing
ends costs its own line only: the lines behind it are read again.
"""

from __future__ import annotations

import re
from collections import deque

import msgspec

from . import salvage
from .line import Line, Sample, array, members
from .yamldoc import Found

__all__ = ["SAMPLES", "Document", "columns"]

_ONE = {"@message", "_raw", "log_s", "auditid", "protopayload_auditlog", "protopayload.methodname", "textpayload"}
_SOME = {"message", "log", "msg", "_source", "event", "body", "content", "line", "data", "attributes", "jsonpayload.message"}
_NAME = re.compile(r"[\w@.$/ ()\[\]:-]{1,128}")
_UNIT = re.compile(r" \[(?:UTC|Local Time)\]\Z")  # Azure's portal
_NESTED = re.compile(r"(protoPayload|jsonPayload|resource|operation|sourceLocation|labels)\.(.+)\Z")  # Cloud Logging's console
_CELLS = {
    delimiter: re.compile(rb'"((?:[^"]|"")*+)"(?=[%b\r\n]|\Z)|([^"%b][^%b]*+|)' % ((delimiter,) * 3))
    for delimiter in (b",", b";", b"\t")
}
_MAX_OPEN = 16 << 20  # bytes of lines that one row may be of before its quote is taken for a stray one


def columns(text: bytes, sure: bool) -> tuple[bytes, list[str]] | None:
    """Delimiter and names of a CSV head that has a column for events or log lines; with `sure`, for nothing else."""
    for delimiter in _CELLS:
        cells = _cells(text, delimiter)
        if cells is None or not all(_NAME.fullmatch(cell) and cell == cell.strip() for cell in cells):
            continue
        lower = {cell.lower() for cell in cells}
        if not _ONE.isdisjoint(lower) or (not sure and len(cells) > 1 and not _SOME.isdisjoint(lower)):
            return delimiter, [_UNIT.sub("", cell) for cell in cells]
    return None


class Document:
    """One CSV document behind its head, line by line. `ready` holds what is complete."""

    def __init__(self, head: Line, delimiter: bytes, names: list[str]) -> None:
        self._head: Line | None = head  # until a row follows
        self.ready: list[Found] = []
        self._delimiter, self._names = delimiter, names
        self._lines: list[Line | None] = []  # of the open row; None is a blank one
        self._size = 0

    @property
    def open(self) -> bool:
        """Whether a quoted cell goes on in the next line."""
        return bool(self._lines)

    def add(self, line: Line) -> None:
        """Take a further line."""
        self._head = None
        self._take(deque([line]))

    def blank(self) -> None:
        """A blank line is part of a quoted cell, or of nothing."""
        if self._lines:
            self._lines.append(None)

    def end(self) -> None:
        """The document ends; what a row left open is told."""
        while self._lines:
            self._take(self._stray())
        if self._head is not None:
            self.ready.append(Found(self._head, self._head.text, "CSV without rows"))

    def _take(self, queue: deque[Line | None]) -> None:
        while queue:
            line = queue.popleft()
            if line is None:
                self.blank()
                continue
            opens = bool(line.text.count(b'"') % 2)
            self._lines.append(line)
            self._size += len(line.text)
            if opens == (len(self._lines) > 1) or line.cut:
                queue.extendleft(reversed(self._row()))
            elif self._size > _MAX_OPEN:
                queue.extendleft(reversed(self._stray()))

    def _row(self) -> deque[Line | None]:
        """The open row is complete; what is to be read again when it is none."""
        first = self._lines[0]
        assert first is not None
        text = b"\n".join(b"" if line is None else line.text for line in self._lines)
        cells = _cells(text, self._delimiter)
        if cells is None or first.cut:
            return self._stray()
        if len(cells) == len(self._names):
            self.ready.append(Found(first, _object(self._names, cells)))
        elif len(self._lines) > 1:
            return self._stray()
        else:
            self.ready.append(Found(first, text, f"CSV row of {len(cells)} cells under {len(self._names)} columns"))
        self._lines, self._size = [], 0
        return deque()

    def _stray(self) -> deque[Line | None]:
        """The open row is no row: its first line is told, the others are to be read again."""
        first, *rest = self._lines
        assert first is not None
        self._lines, self._size = [], 0
        event = salvage.remains(first.text.replace(b'""', b'"'))
        if event is not None:
            first.cut = True
        self.ready.append(Found(first, event or first.text, None if event else "CSV row with a quote that nothing ends"))
        return deque(rest)


def _cells(text: bytes, delimiter: bytes) -> list[str] | None:
    """The cells of one row, None when it is none."""
    cells, at, cell = [], 0, _CELLS[delimiter]
    while True:
        match = cell.match(text, at)
        if match is None:
            return None
        quoted = match[1]
        cells.append((match[2] if quoted is None else quoted.replace(b'""', b'"')).decode("utf-8", "replace"))
        at = match.end()
        if at >= len(text):
            return cells
        if text[at : at + 1] != delimiter:
            return None
        at += 1


def _object(names: list[str], cells: list[str]) -> bytes:
    made: dict[str, object] = {}
    for name, text in zip(names, cells, strict=True):
        nested = _NESTED.match(name)
        if nested is None:
            made[name] = text
        elif text:  # a column that other entries have is empty here
            _place(made, nested[1], nested[2], text)
    return msgspec.json.encode(made)


def _place(made: dict[str, object], head: str, path: str, text: str) -> None:
    """`protoPayload.status.code` as objects; names of labels hold dots themselves."""
    steps = [head]
    if head == "resource" and path.startswith("labels."):
        steps, path = [head, "labels"], path[7:]
    elif head != "labels":
        *between, path = path.split(".")
        steps += between
    inside: dict[str, object] = made
    for step in steps:
        further = inside.setdefault(step, {})
        if not isinstance(further, dict):
            return
        inside = further
    raw = text.encode("utf-8", "replace")
    inside[path] = msgspec.Raw(raw) if members(raw) is not None or array(raw) is not None else text


_EVENT = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"Panic","verb":"get"}'
_CELL = b'"%s"' % _EVENT.replace(b'"', b'""')

SAMPLES = (
    Sample(
        b'@timestamp,@message,@logStream,@log\r\n2024-05-01 10:00:00.123,%s,s-1,1:/aws/eks/prod/cluster\r\n' % (_CELL % b"a1")
        + b'2024-05-01 10:00:01.123,"I0501 10:00:00.000000       1 a.go:1] of ""two""\r\n\r\nlines",s-2,\r\n',
        (
            {"auditID": "a1", "line": 2, "time": "2024-05-01T10:00:00.123Z", "instance": "s-1", "cluster": "prod"},
            {"format": "klog", "line": 3, "text": 'of "two"\n\nlines', "instance": "s-2", "time": "2024-05-01T10:00:01.123Z"},
        ),
    ),
    Sample(
        b'"_serial","_time","host","_raw"\n"0","2024-05-01T10:00:00.1+0000","cp-1",%s\n' % (_CELL % b"a1")
        + b'"1","x"\n"2","t","cp-2","%s\n"3","t","cp-3",%s\n' % (_EVENT[:70].replace(b'"', b'""'), _CELL % b"a3"),
        (
            {"auditID": "a1", "line": 2, "instance": "cp-1"},
            {"reject": "CSV row of 2 cells under 4 columns", "line": 3},
            {"line": 4, "cut": True, "level": "Metadata", "partial": True},
            {"auditID": "a3", "line": 5, "instance": "cp-3"},
        ),
    ),
    Sample(
        b"TimeGenerated [UTC];log_s;_ResourceId\n2024-05-01T10:00:00Z;%s;/s/x/managedClusters/AKS-1\n" % (_CELL % b"a1"),
        ({"auditID": "a1", "cluster": "AKS-1", "time": "2024-05-01T10:00:00Z"},),
    ),
    Sample(
        b"insertId,logName,operation.id,protoPayload.methodName,protoPayload.resourceName,protoPayload.serviceName,"
        b"protoPayload.authenticationInfo.principalEmail,resource.labels.cluster_name,timestamp,textPayload,"
        b"labels.authorization.k8s.io/decision\n"
        b"i,l,a1,io.k8s.core.v1.pods.delete,core/v1/namespaces/d/pods/x,k8s.io,eve@example.com,prod,2024-05-01T10:00:00Z,,allow\n",
        (
            {
                "auditID": "a1", "verb": "delete", "user": {"username": "eve@example.com"}, "cluster": "prod",
                "annotations": {"authorization.k8s.io/decision": "allow"},
            },
        ),
    ),
)  # fmt: skip
