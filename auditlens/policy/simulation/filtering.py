"""apply() leaves of collected logs what a policy would have written; numbers in what stays are not touched.

An event can only get smaller: what the log did not record is not there to be added. Every source the import knows is
read; out come plain JSON lines of audit.k8s.io/v1, in the order they were read. A line that changes nothing stays byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from auditlens.formats.event import read_event
from auditlens.policy.apiserver.evaluator import Decision, Request, evaluate
from auditlens.policy.apiserver.model import LEVELS, Policy
from auditlens.policy.simulation.managed import without_managed_fields
from auditlens.records import Event, Record, Reject

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Applied", "Filter", "apply", "attributes"]

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PATCH = "patch.webhook.admission.k8s.io/"  # annotations written from level Request on
_HEAD = {"kind": "Event", "apiVersion": "audit.k8s.io/v1"}


@dataclass(slots=True)
class Applied:
    """What became of the records: records = kept + reduced + dropped + rejects + others; bytes with line ends.

    `reduced` are written at a lower level or without managedFields; `rejects` could not be read, `others` are entries of
    other logs: neither is written, since nobody knows what they hold.
    """

    records: int = 0
    kept: int = 0
    reduced: int = 0
    dropped: int = 0
    rejects: int = 0
    others: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


def attributes(head: Mapping[str, Any]) -> Request:
    """What a policy saw of the request of an event (its v1 fields).

    The name of an object to be created, and a namespace that is not in the URL, were filled in later from the body.
    """
    user, ref, uri = head.get("user") or {}, head.get("objectRef") or {}, head.get("requestURI") or ""
    verb = head.get("verb") or ""
    path = uri.partition("?")[0]
    named = ref.get("name") or ""
    if verb == "create" and not ref.get("subresource"):
        named = ""
    return Request(
        user=user.get("username"),
        groups=tuple(user.get("groups") or ()),
        verb=verb,
        resource_request=bool(ref),
        namespace=ref.get("namespace") or "",
        api_group=ref.get("apiGroup") or "",
        resource=ref.get("resource") or "",
        subresource=ref.get("subresource") or "",
        name=named,
        path="" if ref else unquote(path),
    )


class Filter:
    """A policy as a function from a record to what is left of it, and from a batch of the import to what is left of that.

    `import --policy` calls `table` on each piece it reads (importing.batches.Filter). `digest` tells policies apart.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.digest = hashlib.sha256(policy.model_dump_json().encode()).hexdigest()[:16]
        self._decide = lru_cache(maxsize=1 << 16)(lambda request: evaluate(policy, request))

    def record(self, record: Record) -> Record | Reject | None:
        """The record as the policy leaves it: the same one if nothing changes, None if it would not have been written.

        A Reject is a record that cannot be read. A cut record stays cut: what is left ends without its closing brace.
        """
        event = read_event(record)
        if isinstance(event, Reject):
            return event
        decision: Decision = self._decide(attributes(event.head))
        if decision.level == "None" or event.head.get("stage") in decision.omit_stages:
            return None
        recorded = event.head.get("level") or "Metadata"
        level = min(recorded, decision.level, key=LEVELS.index) if recorded in LEVELS else decision.level
        request, response = event.request_object, event.response_object
        if level == "Metadata":
            request = None
        if level != "RequestResponse":
            response = None
        if decision.omit_managed_fields:
            request = without_managed_fields(request) if event.head.get("verb") != "patch" else request
            response = without_managed_fields(response)
        annotations = event.head.get("annotations") or {}
        clean = {k: v for k, v in annotations.items() if level != "Metadata" or not k.startswith(_PATCH)}
        same = (request, response, level) == (event.request_object, event.response_object, recorded)
        if same and len(clean) == len(annotations) and record.level is None and b"\n" not in record.text:
            text = _as_line(record.text, event)
            return record if text is record.text else replace(record, text=text)
        return replace(record, text=_rewritten(record, event, level, request, response, clean), level=None)

    def table(self, lines: pa.Table) -> pa.Table:
        """A batch of the import (transform.batch_schema) without the events the policy drops, the others as it leaves them.

        Records that cannot be read stay: the import rejects them, with their text redacted.
        """
        import pyarrow as pa

        texts, kept, levels = [], [], []
        columns = (lines[name].to_pylist() for name in ("text", "line", "byte_offset", "item", "time", "level", "partial"))
        for n, (text, line, offset, item, time, level, partial) in enumerate(zip(*columns, strict=True)):
            record = Record(text.rstrip("\n").encode(), line, offset, item, time=time, level=level, cut=bool(partial))
            left = self.record(record)
            if left is not None:
                same = left is record or isinstance(left, Reject)
                texts.append(text if same else left.text.decode("utf-8", "replace"))
                levels.append(level if same else None)
                kept.append(n)
        lines = lines.take(pa.array(kept, pa.int64()))
        for name, values in (("text", texts), ("level", levels)):
            at = lines.schema.get_field_index(name)
            lines = lines.set_column(at, lines.schema.field(at), pa.array(values, lines.schema.field(at).type))
        return lines


def _as_line(text: bytes, event: Event) -> bytes:
    """The text of an event as a line of its own: an item of a list has no kind."""
    if event.partial or text.startswith(b'{"kind":'):
        return text
    try:
        fields = _decode(text)
    except msgspec.DecodeError:  # a legacy line
        return _written(event, event.head, event.request_object, event.response_object)
    return text if "kind" in fields else _join(fields)


def _rewritten(
    record: Record, event: Event, level: str, request: bytes | None, response: bytes | None, annotations: Mapping[str, str]
) -> bytes:
    try:
        fields = {} if event.partial else _decode(record.text)
    except msgspec.DecodeError:
        fields = {}
    if not fields:
        return _written(event, {**event.head, "level": level}, request, response)
    fields["level"] = msgspec.Raw(json.dumps(level).encode())
    for name, body in (("requestObject", request), ("responseObject", response)):
        if body is None:
            fields.pop(name, None)
        else:
            fields[name] = msgspec.Raw(body)
    if "annotations" in fields and len(annotations) != len(event.head.get("annotations") or {}):
        fields["annotations"] = msgspec.Raw(msgspec.json.encode(annotations))
    return _join(fields)


def _written(event: Event, head: Mapping[str, Any], request: bytes | None, response: bytes | None) -> bytes:
    """An event that was no v1 JSON, or is cut, written anew from what was read of it."""
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in head.items()}
    for name, body in (("requestObject", request), ("responseObject", response)):
        if body is not None:
            fields[name] = msgspec.Raw(body)
    text = _join(fields)
    return text[:-1] if event.partial else text


def _join(fields: Mapping[str, msgspec.Raw]) -> bytes:
    named = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in _HEAD.items() if name not in fields}
    parts = (json.dumps(name).encode() + b":" + b" ".join(bytes(raw).splitlines()) for name, raw in {**named, **fields}.items())
    return b"{" + b",".join(parts) + b"}"


def apply(policy: Policy, paths: Iterable[str | Path], out: str | Path, *, format: str = "auto") -> Applied:
    """Filter logs into one file of JSON lines, gzip-compressed if its name ends in .gz; `-` is standard output.

    The file appears when it is complete. Raises UsageError for a path that names nothing.
    """
    from auditlens.importing.sources import find_sources

    sources = find_sources(paths)
    applied, rule = Applied(), Filter(policy)
    with _opened(out) as stream:
        for source in sources:
            with source.open() as data:
                for line in _lines(data, rule, applied, format):
                    stream.write(line)
                    applied.bytes_out += len(line)
    return applied


def _lines(data: Any, rule: Filter, applied: Applied, format: str) -> Iterator[bytes]:
    """What is left of one source, line by line."""
    from auditlens.formats.reader import Reader
    from auditlens.importing.files.chunks import ChunkReader

    reader, chunks = Reader(format=format), ChunkReader(data)

    def found() -> Iterator[Record | Reject]:
        for chunk in chunks:
            yield from reader.feed(chunk)
        yield from reader.close()

    for record in found():
        applied.records += 1
        if isinstance(record, Reject):
            applied.rejects += 1
            continue
        if record.format != "audit":
            applied.others += 1
            continue
        left = rule.record(record)
        if left is None:
            applied.dropped += 1
        elif isinstance(left, Reject):
            applied.rejects += 1
        else:
            applied.kept += left is record
            applied.reduced += left is not record
            yield left.text + b"\n"
    applied.bytes_in += chunks.bytes


@contextmanager
def _opened(out: str | Path) -> Iterator[IO[bytes]]:
    if str(out) == "-":
        yield sys.stdout.buffer
        return
    path = Path(out)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with gzip.open(unfinished, "wb") if path.suffix == ".gz" else unfinished.open("wb") as stream:
            yield stream  # type: ignore[misc]  # GzipFile is as good as any
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
