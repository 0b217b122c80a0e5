"""What is found in one source goes through one book: each record and reject once, and every line is counted.

At the end: lines == (records - items) + continuations + blanks. A record's own line is the one it starts on; records that
share a line, or came out of a list document, are items.
"""

from __future__ import annotations

import re

from auditlens.records import Counts, Record, Reject

from .legacy import identity
from .line import Line

__all__ = ["Ledger"]

_MAX_REQUESTS = 100_000  # two-line auditing: requests remembered for their response line
_HEAD = re.compile(rb"==> (.+) <==\Z")  # of tail, before the lines of each of several files


class Ledger:
    """The counts of a source, and what was found since it was last taken from `out`.

    `instance` and `cluster` are for records whose wrapper names none; `log_format` is what log entries are called.
    """

    def __init__(self, log_format: str, instance: str | None, cluster: str | None) -> None:
        self.counts = Counts()
        self.out: list[Record | Reject] = []
        self.log_format, self.instance, self.cluster = log_format, instance, cluster
        self.disputed: tuple[str, str] | None = None  # two names of a cluster that one line gave
        self._requests: dict[bytes, bytes] = {}

    def begin(self) -> None:
        """A line that is not blank: it goes on with something until a record claims it."""
        self.counts.lines += 1
        self.counts.continuations += 1

    def claim(self, line: Line) -> int | None:
        """Count a record that starts on this line: None when the line is its own, else its number as an item."""
        root, counts = line.root, self.counts
        root.items += 1
        counts.records += 1
        if root.free and not line.listed:
            root.free = False
            counts.continuations -= 1
            return None
        counts.items += 1
        return root.items

    def emit(self, line: Line, text: bytes, format: str = "audit", cut: bool = False) -> None:
        """A record that starts and ends here."""
        self.put(line, text, format, self.claim(line), cut)

    def put(self, line: Line, text: bytes, format: str, item: int | None, cut: bool = False) -> None:
        """A record whose line is claimed already."""
        self.disputed = self.disputed or line.disputed
        self.out.append(
            Record(
                text,
                line.number,
                line.offset,
                item,
                format,
                line.time,
                line.instance or self.instance,
                line.cluster or self.cluster,
                line.level,
                cut,
            )
        )

    def reject(self, line: Line, reason: str, text: bytes) -> None:
        """A record that cannot be read."""
        item = self.claim(line)
        self.out.append(Reject(line.number, line.offset, reason, text, item))

    def legacy(self, line: Line, text: bytes) -> None:
        """A legacy audit line; of two-line auditing, the response line is joined to its request line."""
        audit_id, is_request, is_response = identity(text)
        if is_request:
            if len(self._requests) >= _MAX_REQUESTS:
                del self._requests[next(iter(self._requests))]
            self._requests[audit_id] = text
        elif is_response:
            request = self._requests.pop(audit_id, None)
            if request is not None:
                text = request + b"\n" + text
        self.emit(line, text, cut=line.cut)

    def headed(self, text: bytes) -> None:
        """`tail` names the file that the next lines are from: it is their instance, if no wrapper names one."""
        if match := _HEAD.match(text):
            self.instance = match[1].decode("utf-8", "replace")
