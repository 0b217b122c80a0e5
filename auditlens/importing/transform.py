"""A batch of records becomes rows: one SQL for every shape of audit event, with an exact path behind the fast one.

The native core reads the lines (columns.py), or DuckDB where there is no core (audit_select below); what they cannot read,
do not know in full, or may not keep as it stands (secrets) comes back to Python for `formats.event.read_event` and redaction,
and joins the rest. Nothing is decided by sampling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auditlens import redact
from auditlens.importing.core import core
from auditlens.quoting import quoted
from auditlens.records import Event, Record, Reject
from auditlens.tables import Audit, AuditObjects

if TYPE_CHECKING:
    import duckdb

_USER = {"username": "VARCHAR", "uid": "VARCHAR", "groups": ["VARCHAR"], "extra": "MAP(VARCHAR, VARCHAR[])"}

# The wire fields of audit.k8s.io/v1 Event as DuckDB reads them (staging/src/k8s.io/apiserver/pkg/apis/audit/v1/types.go).
WIRE: dict[str, Any] = {
    "kind": "VARCHAR",
    "apiVersion": "VARCHAR",
    "level": "VARCHAR",
    "auditID": "VARCHAR",
    "stage": "VARCHAR",
    "requestURI": "VARCHAR",
    "verb": "VARCHAR",
    "user": _USER,
    "impersonatedUser": _USER,
    "authenticationMetadata": "VARCHAR",
    "sourceIPs": ["VARCHAR"],
    "userAgent": "VARCHAR",
    "objectRef": dict.fromkeys(("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"), "VARCHAR"),
    "responseStatus": {
        "status": "VARCHAR", "message": "VARCHAR", "reason": "VARCHAR", "details": "VARCHAR", "code": "BIGINT",
    },
    "requestObject": "VARCHAR",
    "responseObject": "VARCHAR",
    "requestReceivedTimestamp": "TIMESTAMP WITH TIME ZONE",
    "stageTimestamp": "TIMESTAMP WITH TIME ZONE",
    "annotations": "MAP(VARCHAR, VARCHAR)",
}  # fmt: skip
_REQUIRED = ("auditID", "stage", "level", "verb", "requestURI", "stageTimestamp")

_META = {"name": "VARCHAR", "namespace": "VARCHAR", "uid": "VARCHAR", "resourceVersion": "VARCHAR"}
_OWNERS = [{"apiVersion": "VARCHAR", "kind": "VARCHAR", "name": "VARCHAR", "uid": "VARCHAR", "controller": "BOOLEAN"}]
_DRY_RUN = {"dryRun": ["VARCHAR"]}  # DeleteOptions, and those inside an Eviction
REQUEST_BODY = {**_DRY_RUN, "deleteOptions": _DRY_RUN, "metadata": _META, "spec": {"replicas": "BIGINT"}}
RESPONSE_BODY = {
    "kind": "VARCHAR",
    "metadata": {**_META, "ownerReferences": _OWNERS},
    "spec": {"replicas": "BIGINT"},
    "details": {"name": "VARCHAR", "kind": "VARCHAR", "uid": "VARCHAR"},
    "items": [{"metadata": _META}],
    "rows": [{"object": {"metadata": _META}}],  # kind Table: what kubectl get asks for
}

DEFAULT_CLUSTER = "default"

# A plain line of the log backend; everything else goes through formats.reader first.
PLAIN = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"'


@dataclass(slots=True)
class Batch:
    """Records of one or more sources on their way into rows: an Arrow table, and how to get a record back from it."""

    lines: pa.Table  # n, text, line, item, byte_offset, src, and what the wrapper knew
    sources: list[Source]


@dataclass(frozen=True, slots=True)
class Source:
    """What every row of one source shares."""

    name: str
    instance: str
    import_id: str
    cluster: str | None = None  # asked for; None leaves it to the wrapper


def struct_literal(shape: Any) -> str:
    """The structure of a JSON value as from_json() takes it."""
    return quoted(json.dumps(shape))


_NAME = pa.dictionary(pa.int32(), pa.string())  # few values, many rows


def batch_schema() -> pa.Schema:
    """The Arrow schema of Batch.lines."""
    return pa.schema(
        [
            ("n", pa.int64()), ("text", pa.large_string()), ("line", pa.int64()), ("item", pa.int64()),
            ("byte_offset", pa.int64()), ("src", pa.int32()), ("source", _NAME), ("import_id", _NAME), ("instance", _NAME),
            ("cluster", _NAME), ("time", pa.string()), ("level", pa.string()), ("request_object", pa.large_string()),
            ("response_object", pa.large_string()), ("extra", pa.string()), ("partial", pa.bool_()),
            ("time_source", pa.string()), ("exact", pa.bool_()),  # read by the exact parser
        ]
    )  # fmt: skip


def connection(spill: Path | str, memory_mb: int, **config: Any) -> duckdb.DuckDBPyConnection:
    """A connection of so much memory, on which what the statements below use is defined.

    What it cannot hold goes into the directory `spill`, raw lines among it: encrypted, with a key that is in memory only. The
    key's random numbers are DuckDB's own, which it calls unsafe and uses when asked alone: better ones are in an extension.
    """
    import duckdb

    encrypted: dict[str, Any] = {"temp_directory": str(spill), "temp_file_encryption": True, "force_mbedtls_unsafe": True}
    con = duckdb.connect(config=encrypted | {"memory_limit": f"{memory_mb}MB", **config})
    con.execute("set TimeZone = 'UTC'")
    prepare(con)
    return con


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Define on a connection what the statements below use."""
    con.execute(files("auditlens.importing").joinpath("audit.sql").read_text(encoding="utf-8"))
    from auditlens import kinds

    pairs = sorted({(k.group, k.kind, k.resource) for k in kinds.every()})
    values = ", ".join(f"({quoted(g)}, {quoted(k)}, {quoted(r)})" for g, k, r in pairs)
    con.execute(f"create or replace temp table kind as select * from (values {values}) t(api_group, kind, resource)")


# A number, truth value, object or list, of which from_json makes text.
_NO_TEXT = "^([0-9.eE+-]*|true|false)$|^[{[]"

# The years event.py believes; compared as they are, for year() of a time with a zone asks a calendar.
_FIRST, _LAST = "timestamptz '1970-01-01 00:00:00+00'", "timestamptz '2199-12-31 23:59:59+00'"

# Annotations of others may quote a value, or hold a patch of one.
_OWN = f"k in ({', '.join(map(quoted, sorted(redact.OWN_ANNOTATIONS)))})"

# What may stay on the fast path once its fields are known. The keys prove that there is no field this version does not
# know, and none of a wrong type (which from_json reads as null).
# A case, for `and` may be evaluated in any order and json_keys() raises at a line that is not JSON.
_FAST = f"""case when level is null and partial is null and e is not null then (
    coalesce(e.apiVersion, 'audit.k8s.io/v1') = 'audit.k8s.io/v1'
    and len(json_keys(text)) = {" + ".join(f"(e.{k} is not null)::int" for k in WIRE)}
    and {" and ".join(f"e.{k} is not null" for k in _REQUIRED)}
    -- from_json turns a value of another type into text or into a struct of nulls: what has none of the usual facts is read
    -- exactly, where a wrong type is a reject
    and e.level in ('Metadata', 'Request', 'RequestResponse')
    and e.stage in ('RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic')
    and e.stageTimestamp between {_FIRST} and {_LAST} and coalesce(e.requestReceivedTimestamp between {_FIRST} and {_LAST}, true)
    and starts_with(e.requestURI, '/')
    and case when e.user.username is null then contains(text, '"user":{{}}') else e.user."groups" is not null end
    and case when e.impersonatedUser is null then true else e.impersonatedUser.username is not null end
    and case when e.objectRef is null then true else e.objectRef.resource is not null end
    and case when e.responseStatus is null then true else e.responseStatus.code is not null end
    and not regexp_matches(e.auditID, '{_NO_TEXT}')
    and not regexp_matches(e.verb, '{_NO_TEXT}')
    and coalesce(not regexp_matches(e.userAgent, '{_NO_TEXT}'), true)
    and coalesce(not list_contains([x is null for x in map_values(e.user.extra)], true), true)
    and case when e.objectRef.resource in ({", ".join(map(quoted, redact.RESOURCES))}) then e.requestObject is null and e.responseObject is null
        and coalesce(len(list_filter(map_keys(e.annotations), lambda k: not ({_OWN}))) = 0, true) else true end
    -- a body that is no JSON object: what a platform puts in its place, or JSON as text. Go writes no spaces
    and coalesce(regexp_matches(e.requestObject, '^[{{[]'), true) and coalesce(regexp_matches(e.responseObject, '^[{{[]'), true)
    and not case when starts_with(text, {quoted(PLAIN)}) then contains(text, 'Object":"')
        else regexp_matches(text, 'Object"\\s*:\\s*"') end
    -- DuckDB would write 1.10 as 1.1: a patch is kept as it was sent (other bodies are Go's own output)
    and case when e.verb = 'patch' and e.requestObject is not null
        then not regexp_matches(e.requestObject, '(":|[\\[,])-?[0-9]+[.eE]') else true end
    -- and an escaped < as itself: a body stays as it came, and of the same size
    and case when contains(text, '\\u') and coalesce(e.requestObject, e.responseObject) is not null
        then not regexp_matches(text, 'Object"\\s*:.*\\\\u') else true end
    and case when e.objectRef is null
        then not regexp_matches(e.requestURI, '^/(api/[^/?]+/[^/?]|apis/[^/?]+/[^/?]+/[^/?])') else true end
) else false end"""


def _parsed(careful: bool) -> str:
    """`e` and the record's fields, from the Arrow table `lines`; `careful` survives lines that are not JSON."""
    read = f"from_json(text, {struct_literal(WIRE)})"
    return f"select *, {f'try({read})' if careful else read} as e from lines"


@cache
def audit_select(careful: bool = False) -> str:
    """The rows of `audit` (with `n` and `cluster`), from what load() loaded: every record that may be kept as it is.

    Raises at a line that is not JSON unless `careful`.
    """
    columns = ", ".join(f"({c.sql})::{c.type} as {c.name}" for c in Audit.stored())
    return f"""
        with kept as (
            select *, coalesce(request_object, e.requestObject) as request, coalesce(response_object, e.responseObject) as response
            from ({_parsed(careful)}) where exact or {_FAST}
        ),
        lifted as (
            select *,
                case when request is not null then try(from_json(request, {struct_literal(REQUEST_BODY)})) end as q,
                case when response is not null then try(from_json(response, {struct_literal(RESPONSE_BODY)})) end as s,
                case when e.responseStatus.details is not null
                    then try(from_json(e.responseStatus.details, '{{"uid":"VARCHAR"}}')) end as d,
                struct_pack(
                    line := line, item := item, source := source, instance := instance, import_id := import_id,
                    received_time := e.requestReceivedTimestamp::timestamptz,
                    stage_time := coalesce(e.stageTimestamp::timestamptz, e.requestReceivedTimestamp::timestamptz,
                        try_cast(time as timestamptz)),
                    has_stage_time := e.stageTimestamp is not null and e.requestReceivedTimestamp is not null,
                    time_source := coalesce(time_source, case when e.stageTimestamp is not null then 'event'
                        when e.requestReceivedTimestamp is not null then 'received'
                        when try_cast(time as timestamptz) is not null then 'wrapper' end),
                    decision := e.annotations['authorization.k8s.io/decision'],
                    why := e.annotations['authorization.k8s.io/reason'],
                    request_object := request, response_object := response, extra := extra, partial := coalesce(partial, false)
                ) as r
            from kept
        ),
        owned as (
            select *, case when s.metadata.ownerReferences is not null then list_extract(coalesce(
                nullif(list_filter(s.metadata.ownerReferences, lambda x: x.controller), []), s.metadata.ownerReferences), 1) end as o
            from lifted
        )
        select {columns}, n, cluster from owned
    """


_FROM_BODY = f"""
    select *, unnest(coalesce(b.items, list_transform(b.rows, lambda x: x.object))) as i from (
        select *, try(from_json(response_object, {struct_literal({"items": [{"metadata": _META}], "rows": [{"object": {"metadata": _META}}]})})) as b
        from seen where LISTS
    )"""
_OWNERS_OF_BODY = f"""
    select *, unnest(try(from_json(
        response_object, {struct_literal({"metadata": {"ownerReferences": _OWNERS}})})).metadata.ownerReferences) as x
    from seen where OWNS"""
# The same from what the native core lifted out of the bodies.
_LIFTED = """
    select seen.*, struct_pack(metadata := struct_pack(
        name := items.name, namespace := items.namespace, uid := items.uid, "resourceVersion" := items."resourceVersion")) as i
    from items join seen using (row) where LISTS"""
_OWNERS_LIFTED = """
    select seen.*, struct_pack(
        "apiVersion" := owners."apiVersion", kind := owners.kind, name := owners.name, uid := owners.uid) as x
    from owners join seen using (row) where OWNS"""


@cache
def objects_select(lifted: bool = False) -> str:
    """The rows of `audit_objects` (with their `cluster`), from audit rows registered as `written`: list items and owners.

    RequestReceived touches nothing yet. An owner is touched by what creates or deletes its dependants. `lifted`: items and
    owners are tables already, of rows of `written`.
    """
    items, owners = (_LIFTED, _OWNERS_LIFTED) if lifted else (_FROM_BODY, _OWNERS_OF_BODY)
    lists = """(verb in ('list', 'deletecollection') or starts_with(response_object, '{"kind":"Table"'))"""
    owns = "owner_uid is not null and verb in ('create', 'delete') and subresource is null"
    columns = ", ".join(f"{c.name}::{c.type} as {c.name}" for c in AuditObjects.stored())
    return f"""
        with seen as (
            select *, stage_time as time from written
            where resource is not null and stage is distinct from 'RequestReceived' and response_object is not null
        ),
        listed as (
            select * replace (
                coalesce(i.metadata.namespace, namespace) as namespace, i.metadata.name as name, i.metadata.uid as uid,
                i.metadata.resourceVersion as resource_version
            ), 'item' as via, true as has_body
            from ({items.replace("LISTS", lists)}) where i.metadata.name is not null
        ),
        touched as (
            select * replace (
                w.group_ as api_group, coalesce(kind.resource, w.plural) as resource, w.name as name, w.uid as uid,
                null as resource_version
            ), 'owner' as via, false as has_body
            from (
                select *, struct_pack(
                    group_ := case when contains(x.apiVersion, '/') then split_part(x.apiVersion, '/', 1) else '' end,
                    kind := x.kind, name := x.name, uid := x.uid,
                    -- a kind the table does not know (a CRD's): the plural Kubernetes' own generators would give it
                    plural := case when regexp_matches(x.kind, '(s|x|z|ch|sh)$') then lower(x.kind) || 'es'
                        when regexp_matches(x.kind, '[^aeiou]y$') then left(lower(x.kind), -1) || 'ies' else lower(x.kind) || 's' end
                ) as w
                from ({owners.replace("OWNS", owns)})
            ) left join kind on kind.api_group = w.group_ and kind.kind = w.kind
        )
        select {columns}, cluster from (from listed union all by name from touched)
    """


# What DuckDB reads as JSON though it is none; inside a string it is harmless, and rare.
_NO_JSON = r",\s*[}\]]|[:,\[]\s*-?(?:nan|inf(?:inity)?)\s*[,}\]]"


def by_text(batch: Batch) -> np.ndarray:
    """Numbers of the records whose text alone says that the exact parser must read them.

    One expression for all that may be a secret: it is gone through once, however many alternatives there are. The native core takes a
    seventh of RE2's time for it; where that is asked, Arrow takes two thirds of DuckDB's, and less for bytes than for text.
    """
    text, native = batch.lines["text"], core()
    suspect = native.find(text, redact.SUSPECT) if native else None
    if suspect is None:
        octets = pa.chunked_array([chunk.view(pa.large_binary()) for chunk in text.chunks], pa.large_binary())
        suspect = pc.match_substring_regex(octets, f"{redact.SUSPECT}|{_NO_JSON}").to_numpy()
    found: np.ndarray = batch.lines["n"].to_numpy()[suspect.astype(bool)]
    return found


def load(
    batch: Batch,
    numbers: np.ndarray,
    read_event: Callable[[Record], Event | Reject],
    redactor: redact.Redactor,
    *,
    suspect: bool = True,
) -> tuple[pa.Table, list[tuple[int, Reject]]]:
    """The records behind `numbers` read by the exact parser and redacted, as audit_select() reads them from `lines`, and
    those that cannot be read at all, by source index. `suspect`: by_text() named them."""
    rows: list[dict[str, Any]] = []
    rejects: list[tuple[int, Reject]] = []
    for row in batch.lines.take(pa.array(numbers)).to_pylist() if len(numbers) else []:
        record = Record(
            text=row["text"].rstrip("\n").encode(), line=row["line"], offset=row["byte_offset"], item=row["item"],
            time=row["time"], instance=row["instance"], cluster=row["cluster"], level=row["level"], cut=bool(row["partial"]),
        )  # fmt: skip
        event = read_event(record)
        if isinstance(event, Reject):
            rejects.append((row["src"], event))
        else:
            rows.append(row | _fields(redactor.event(event, suspect=suspect)) | {"exact": True})
    schema = batch.lines.schema
    return pa.Table.from_pylist(rows, schema=schema) if rows else schema.empty_table(), rejects


def _fields(event: Event) -> dict[str, Any]:
    """What an exactly read event replaces in its record's row: the text is its head, the bodies stand beside it."""
    return {
        "text": json.dumps(event.head),
        "request_object": _text(event.request_object),
        "response_object": _text(event.response_object),
        "extra": json.dumps(event.extra) if event.extra else None,
        "partial": event.partial,
        "time_source": event.time_source,
    }


def _text(body: bytes | None) -> str | None:
    return None if body is None else body.decode("utf-8", "replace")


def reject_rows(
    rejects: Iterable[tuple[int, Reject]], sources: Sequence[Source], redactor: redact.Redactor
) -> Iterable[dict[str, Any]]:
    """Rows of `rejects`."""
    for src, reject in rejects:
        source = sources[src]
        yield {
            "cluster": source.cluster or DEFAULT_CLUSTER,
            "source": source.name,
            "line": reject.line,
            "item": reject.item,
            "byte_offset": reject.offset,
            "reason": redactor.line(reject.reason),
            "text": redactor.text(reject.text),
            "import_id": source.import_id,
        }
