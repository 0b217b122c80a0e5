"""What the native core read becomes rows of `audit` and `audit_objects`: the SQL of the tables, once for each distinct value.

An audit log repeats itself: 383,000 events of a busy cluster have 222 users, 140 sets of annotations and 6,510 statuses. So
a column is computed from the distinct values, or tuples of them, that its SQL in `tables.py` names, and the rows look it up.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from auditlens import redact
from auditlens.importing.core import Core
from auditlens.importing.transform import WIRE, objects_select, struct_literal
from auditlens.tables import Audit

if TYPE_CHECKING:
    import duckdb


# Columns that are a column of the core as it stands.
_SAME = {
    "audit_id": "auditID", "request_uri": "requestURI", "name": "objectRef.name", "uid": "objectRef.uid",
    "resource_version": "objectRef.resourceVersion", "request_object": "requestObject", "response_object": "responseObject",
    "response_kind": "response.kind", "object_resource_version": "object.resourceVersion", "owner_kind": "owner.kind",
    "owner_name": "owner.name", "owner_uid": "owner.uid",
}  # fmt: skip
_OF_RECORD = ("instance", "import_id", "source", "line", "item")  # columns of the batch
_MADE = (
    "received_time", "stage_time", "latency_ms", "object_name", "object_uid", "replicas", "extra", "partial", "time_source",
)  # fmt: skip

# What the SQL of a column may name, and the columns of the core that tell it.
_NAMES = re.compile(r"\b(?:e\.objectRef\.\w+|e\.\w+|r\.decision|q\.|d\.uid)")
_ALIAS = {"r.decision": "annotations", "d.uid": "responseStatus", "e.requestURI": "uri", "q.": "dryRun"}
_UID_OF_DETAILS = "d.uid"  # stands in no column of its own

# Fields that the core leaves as JSON text.
_JSON = ("user", "impersonatedUser", "authenticationMetadata", "sourceIPs", "responseStatus", "annotations")

_Ints = Any  # numpy integer arrays
_Sql = tuple[str, str, str]  # a column's name, its SQL and its type


def read(
    core: Core, con: duckdb.DuckDBPyConnection, lines: pa.Table, wanted: np.ndarray[Any, Any]
) -> tuple[pa.Table, pa.Table, _Ints] | None:
    """Rows of `audit` and `audit_objects` (with their `cluster`), and the numbers of the wanted records that the exact path
    must read.

    `lines` has batch_schema(); texts that are not wanted are not looked at. None when the core cannot take it.
    """
    if not wanted.any():
        return pa.table({}), pa.table({}), np.zeros(0, dtype=np.int64)
    plain = pc.and_(pc.is_null(lines["level"]), pc.is_null(lines["partial"])).to_numpy()
    found = _scan(core, lines["text"], plain & wanted)
    if found is None:
        return None
    rows, items, owners = found
    at = rows["row"].to_numpy()
    of = lines.select([*_OF_RECORD, "n", "cluster"])
    audit = _audit(con, rows, of if len(at) == lines.num_rows else of.take(rows["row"]))
    left = wanted.copy()
    left[at] = False
    return audit, _objects(con, audit, items, owners), lines["n"].to_numpy()[left]


def _scan(core: Core, text: pa.ChunkedArray, wanted: np.ndarray[Any, Any]) -> Any:
    """The core's columns of the wanted texts that hold nothing to redact."""
    found = core.audit(text, wanted, redact.RESOURCES)
    if found is None:
        return None
    suspect = _suspect(found[0])
    if not suspect.any():
        return found
    # Read again without them: their other fields must not stay behind in a dictionary that is written.
    clean = wanted.copy()
    clean[found[0]["row"].to_numpy()[suspect]] = False
    return core.audit(text, clean, redact.RESOURCES)


def _suspect(rows: pa.RecordBatch) -> _Ints:
    """Which rows are of Secrets and the like, and have annotations that may quote a value."""
    resources = rows["objectRef.resource"].cast(pa.string())
    secrets: _Ints = pc.is_in(resources, _texts(*sorted(redact.RESOURCES))).to_numpy(zero_copy_only=False)
    suspect = np.zeros(len(secrets), dtype=bool)
    annotations = rows["annotations"]
    codes = annotations.indices.fill_null(-1).to_numpy()
    for code in np.unique(codes[secrets]).tolist():
        if code >= 0 and not redact.OWN_ANNOTATIONS.issuperset(json.loads(annotations.dictionary[code].as_py())):
            suspect |= secrets & (codes == code)
    return suspect


def _audit(con: duckdb.DuckDBPyConnection, rows: pa.RecordBatch, lines: pa.Table) -> pa.Table:
    n = rows.num_rows
    out = {name: rows[own] for name, own in _SAME.items()} | {name: lines[name] for name in _OF_RECORD}
    out |= _looked_up(con, rows)
    received, staged = rows["received"], rows["staged"]
    timed = pc.and_kleene(pc.is_valid(received), pc.not_equal(out["stage"], "RequestReceived"))
    out["received_time"], out["stage_time"] = (c.view(pa.timestamp("us", tz="UTC")) for c in (received, staged))
    out["latency_ms"] = pc.divide(pc.if_else(timed, pc.subtract(staged, received), None), 1000.0)
    its_own = pc.or_kleene(pc.less(_plain(out["code"]), 400), pc.equal(rows["details.kind"], _plain(out["resource"])))
    named = pc.if_else(pc.fill_null(its_own, False), rows["details.name"], None)  # as tables.py says of object_name
    out["object_name"] = pc.coalesce(rows["object.name"], named)
    out["object_uid"] = pc.coalesce(rows["object.uid"], rows["details.uid"], out.pop(_UID_OF_DETAILS).cast(pa.string()))
    out["replicas"] = pc.coalesce(rows["response.replicas"], rows["request.replicas"])
    out["extra"], out["partial"] = pa.nulls(n, pa.string()), pa.array(np.zeros(n, dtype=bool))
    out["time_source"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), _texts("event"))
    names = [c.name for c in Audit.stored()]
    return pa.table({name: out[name] for name in names} | {"n": lines["n"], "cluster": lines["cluster"]})


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


@cache
def _groups() -> dict[tuple[str, ...], list[_Sql]]:
    """Columns to look up as (name, SQL, type), by the columns of the core that their SQL needs."""
    out: defaultdict[tuple[str, ...], list[_Sql]] = defaultdict(list)
    done = {*_SAME, *_OF_RECORD, *_MADE}
    columns = [(c.name, c.sql, c.type) for c in Audit.stored() if c.name not in done]
    for name, sql, kind in [*columns, (_UID_OF_DETAILS, "d.uid", "VARCHAR")]:
        needs = {_ALIAS.get(word, word.removeprefix("e.")) for word in _NAMES.findall(sql)}
        if "objectRef" in needs:  # whether there is one, which its resource tells
            needs = (needs - {"objectRef"}) | {"objectRef.resource"}
        out[tuple(sorted(needs))].append((name, sql, kind))
    return dict(out)


def _looked_up(con: duckdb.DuckDBPyConnection, rows: pa.RecordBatch) -> dict[str, pa.Array]:
    """Columns of all rows, computed for each distinct tuple of what they need.

    Those that need one thing are computed side by side, in one query: the n-th user beside the n-th status.
    """
    out: dict[str, pa.Array] = {}
    alone: list[tuple[str, list[_Sql]]] = []
    for needs, columns in _groups().items():
        if [sql for _, sql, _ in columns] == [f"e.{needs[0]}"] and needs[0] not in _JSON:
            out[columns[0][0]] = rows[needs[0]]
        elif len(needs) == 1:
            alone.append((needs[0], columns))
        else:
            tuples, at = _distinct([rows[name] for name in needs])
            out |= _taken(_computed(con, dict(zip(needs, tuples, strict=True)), columns), columns, at)
    size = 1 + max(len(rows[name].dictionary) for name, _ in alone)
    beside = {name: pa.concat_arrays([d := rows[name].dictionary, pa.nulls(size - len(d), d.type)]) for name, _ in alone}
    found = _computed(con, beside, [column for _, columns in alone for column in columns])
    for name, columns in alone:
        out |= _taken(found, columns, rows[name].indices.fill_null(len(rows[name].dictionary)))
    return out


def _computed(con: duckdb.DuckDBPyConnection, tuples: dict[str, pa.Array], columns: list[_Sql]) -> pa.Table:
    """The columns of some tuples."""
    needs = tuple(tuples)
    number = pa.array(np.arange(len(tuples[needs[0]])))
    con.register("tuples", pa.table(tuples | {"number": number}))
    select = ", ".join(f'({sql})::{kind} as "{name}"' for name, sql, kind in columns)
    found = con.sql(f"select {select} from ({_event(needs)}) order by number").to_arrow_table()
    con.unregister("tuples")
    return found


def _taken(found: pa.Table, columns: list[_Sql], at: pa.Array) -> dict[str, pa.Array]:
    """For each row the value of its tuple; strings as codes."""
    out = {}
    for name, _, kind in columns:
        values = found[name].combine_chunks()
        out[name] = (values.dictionary_encode() if kind == "VARCHAR" else values).take(at)
    return out


@cache
def _event(needs: tuple[str, ...]) -> str:
    """SQL that builds of a tuple the `e`, `r`, `q` and `d` that the SQL of a column reads."""
    fields = []
    for name in needs:
        if name in _JSON:
            fields.append(f"{name} := from_json({name}, {struct_literal(WIRE[name])})")
        elif name in WIRE:
            fields.append(f"{name} := {name}")
    fields += ["requestURI := uri"] if "uri" in needs else []
    if parts := [name for name in needs if name.startswith("objectRef.")]:
        inner = ", ".join(f'{name.partition(".")[2]} := "{name}"' for name in parts)
        there = '"objectRef.resource" is not null' if "objectRef.resource" in needs else "true"
        fields.append(f"objectRef := case when {there} then struct_pack({inner}) end")
    more = ""
    if "annotations" in needs:
        # of a field that is not known the core keeps no event
        more += ", struct_pack(decision := e.annotations['authorization.k8s.io/decision'], extra := null::varchar) as r"
    if "responseStatus" in needs:
        more += f", try(from_json(e.responseStatus.details, {struct_literal({'uid': 'VARCHAR'})})) as d"
    if "dryRun" in needs:
        asked = "case dryRun when '1' then ['All'] when '0' then []::varchar[] end"
        more += f", struct_pack(dryRun := {asked}, deleteOptions := struct_pack(dryRun := null::varchar[])) as q"
    return f"select *{more} from (select *, struct_pack({', '.join(fields)}) as e from tuples)"


def _distinct(columns: list[pa.DictionaryArray]) -> tuple[list[pa.Array], pa.Array]:
    """The distinct tuples of some columns, and which of them each row has."""
    sizes = [len(column.dictionary) + 1 for column in columns]
    of = [column.indices.fill_null(size - 1).to_numpy() for column, size in zip(columns, sizes, strict=True)]
    codes, at = [np.arange(sizes[0])], of[0]  # the last stands for null
    for size, own in zip(sizes[1:], of[1:], strict=True):
        pairs = pa.array(at.astype(np.int64) * size + own).dictionary_encode()
        different, at = pairs.dictionary.to_numpy(), pairs.indices.to_numpy()
        codes = [c[different // size] for c in codes] + [different % size]
    values = [
        column.dictionary.take(pa.array(c, mask=c == len(column.dictionary))) for c, column in zip(codes, columns, strict=True)
    ]
    return values, pa.array(at)


def _objects(con: duckdb.DuckDBPyConnection, audit: pa.Table, items: pa.RecordBatch, owners: pa.RecordBatch) -> pa.Table:
    if not (items.num_rows or owners.num_rows):
        return pa.table({})
    written = audit.append_column("row", pa.array(np.arange(audit.num_rows)))
    for name, table in (("written", written), ("items", pa.table(items)), ("owners", pa.table(owners))):
        con.register(name, table)
    found = con.sql(objects_select(lifted=True)).to_arrow_table()
    for name in ("written", "items", "owners"):
        con.unregister(name)
    return found


def _texts(*values: str) -> pa.Array:
    """An array of strings; pa.array() of a list would import pandas wherever it is installed, a quarter of a second."""
    return pa.StringArray.from_buffers(
        len(values),
        pa.py_buffer(np.cumsum([0, *(len(v.encode()) for v in values)], dtype=np.int32)),
        pa.py_buffer("".join(values).encode()),
    )
