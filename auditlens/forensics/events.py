"""What the log holds about an object, event by event, in an order that does not depend on files.

A `Touch` is one row of `audit_objects` joined with its row of `audit`: one object, one request. Reads of whole bodies are bounded by what
`audit_objects` selects; nothing scans bodies it does not return.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from auditlens import engine
from auditlens.forensics.bodies import items, text
from auditlens.quoting import listed

if TYPE_CHECKING:
    import duckdb

WRITES = ("create", "update", "patch", "delete", "deletecollection")
READS = ("get", "list", "watch")

# Kinds of response bodies that are not the object asked for (apimachinery meta/v1, api/autoscaling, policy, authentication).
NOT_OBJECTS = (
    "Status", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "Scale", "Eviction", "TokenRequest", "Binding",
)  # fmt: skip
# Subresources whose response body is the whole object they are of.
WHOLE = ("status", "approval", "finalize", "ephemeralcontainers", "resize")


@dataclass(frozen=True, slots=True)
class Key:
    """An object's address in the log, one per name: several lives may have had it."""

    cluster: str
    group: str
    resource: str
    namespace: str | None
    name: str

    def __str__(self) -> str:
        qualified = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{qualified}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


@dataclass
class Touch:
    """One request that touched one object; see tables.py for the meaning of the fields."""

    key: Key
    uid: str | None
    rv: int | None  # the object's resource version after the request
    via: str
    verb: str
    subresource: str | None
    code: int | None
    response_kind: str | None
    dry_run: bool
    time: dt.datetime
    received: dt.datetime
    stage: str
    level: str
    audit_id: str
    source: str
    line: int
    item: int | None
    username: str | None
    impersonated: str | None
    user_agent: str | None
    client: str | None
    source_ip: str | None
    uri: str
    reason: str | None
    message: str | None
    outcome: str | None
    api_version: str | None  # of the group, asked for
    request_text: str | None = None
    response_text: str | None = None
    patched_text: str | None = None
    bodies: dict[str, Any] = field(default_factory=dict, repr=False)  # shared by events of one call: parsed bodies

    @property
    def order(self) -> tuple[dt.datetime, str, str, int]:
        """A total order that does not depend on how the log was imported."""
        return (self.time, self.audit_id, self.stage, self.code or 0)

    @property
    def ok(self) -> bool:
        """The request succeeded and was meant."""
        return self.code is not None and self.code < 300 and not self.dry_run and self.stage != "Panic"

    @property
    def writes(self) -> bool:
        return self.verb in WRITES

    @property
    def actor(self) -> str:
        """Who the server took the request for: the impersonated user, if there is one."""
        return self.impersonated or self.username or ""

    @property
    def impersonator(self) -> str | None:
        """Who authenticated, where that is not who acted."""
        return self.username if self.impersonated is not None else None

    @property
    def whole(self) -> bool:
        """The response holds the whole object, as far as its kind tells."""
        return (
            self.response_kind is not None
            and self.response_kind not in NOT_OBJECTS
            and not self.about_many
            and (self.subresource is None or self.subresource in WHOLE)
        )

    @property
    def about_many(self) -> bool:
        """A request for a list, though its field selector may name one object: its answer is never that object."""
        return self.via != "item" and self.verb in ("list", "watch", "deletecollection")

    @cached_property
    def request(self) -> Any:
        """The parsed request body; None when there is none or it is not JSON."""
        return _parse(self.request_text)

    @cached_property
    def patched(self) -> list[tuple[str, dict[str, Any]]]:
        """What mutating webhooks made of the request: each one's name, and the operations of its patch.

        Source: apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go, the annotations `patch.webhook.admission.k8s.io/…`.
        """
        notes = [_parse(n) for n in _parse(self.patched_text) or () if isinstance(n, str)]
        return [
            (f"{text(n, 'webhook')} (configuration {text(n, 'configuration')})", op) for n in notes for op in items(n, "patch")
        ]

    @cached_property
    def response(self) -> Any:
        """The parsed response body; for an item of a list, the whole list."""
        if self.response_text is None:
            return None
        found = self.bodies.get(self.response_text)
        if found is None:
            found = self.bodies[self.response_text] = _parse(self.response_text)
        return found

    @cached_property
    def body(self) -> dict[str, Any] | None:
        """The object in the response: whole, or its metadata (see `whole`); None when there is none."""
        answer = self.response
        if not isinstance(answer, dict):
            return None
        if self.via == "item":
            return self._item(answer)
        if self.about_many or self.response_kind in ("Table", "Status", "Scale", "Eviction", "TokenRequest", "Binding"):
            return None
        meta = answer.get("metadata")
        return answer if isinstance(meta, dict) and meta.get("name") else None

    def _item(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        index = self.bodies.get("index:" + (self.response_text or ""))
        if index is None:
            items = answer.get("items")
            if not isinstance(items, list):
                items = (
                    [row.get("object") for row in answer.get("rows") or () if isinstance(row, dict)]
                    if isinstance(answer.get("rows"), list)
                    else []
                )
            index = {}
            for item in items:
                meta = item.get("metadata") if isinstance(item, dict) else None
                if isinstance(meta, dict):
                    index[(str(meta.get("namespace") or ""), str(meta.get("name")))] = item
            self.bodies["index:" + (self.response_text or "")] = index
        item = index.get((self.key.namespace or "", self.key.name))
        if item is None or answer.get("kind") == "Table":
            return item
        kind = str(answer.get("kind", "")).removesuffix("List")
        return {"kind": kind, "apiVersion": answer.get("apiVersion"), **item}  # items of a list come without them


def _parse(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_COLUMNS = """
    a.stage_time as time, a.received_time as received, a.stage, a.level, a.audit_id, a.source, a.line, a.item, a.username,
    a.impersonated_username as impersonated, a.user_agent, a.client, a.source_ips[len(a.source_ips)] as source_ip,
    a.request_uri as uri, a.status_reason as reason,
    a.status_message as message, a.outcome, a.api_version, a.request_object as request_text,
    a.response_object as response_text,
    nullif(to_json(list_transform(list_filter(map_entries(a.annotations),
        lambda note: starts_with(note.key, 'patch.webhook.admission.k8s.io/')), lambda note: note.value))::varchar, '[]') as patched_text
"""
# Of a row of audit_objects: what an event has of it, and where its row of audit is.
_OBJECT = """
    t.cluster, t.api_group, t.resource, t.namespace, t.name, t.uid, try_cast(t.resource_version as bigint) as rv, t.via, t.verb,
    t.subresource, t.code, t.response_kind, coalesce(t.dry_run, false) as dry_run
"""
_ADDRESS = ("import_id", "source", "line", "item")
_FEW = 4000  # audit ids that go into the statement itself, for the files' bloom filters
_KINDS = 20  # names of kinds and namespaces that do, for the files' statistics


def load(con: duckdb.DuckDBPyConnection, touched: str, params: Mapping[str, Any]) -> list[Touch]:
    """Events of the rows of `audit_objects` that a SELECT yields (its columns: all of that table; via ref, body or item), in their order.

    Of a request that is seen at several stages the last one counts.
    """
    found = engine.query(
        con, f"select {_OBJECT}, t.time, t.audit_id, t.import_id, t.source, t.line, t.item from ({touched}) as t", params
    ).to_dicts()
    stage = "a.stage <> 'RequestReceived'"
    own, listed = [r for r in found if r["via"] != "item"], [r for r in found if r["via"] == "item"]
    rows = _rows(con, own, stage) + _rows(con, listed, stage, namespaced=False)
    bodies: dict[str, Any] = {}
    return last_stages(_event(row, bodies) for row in rows)


def _rows(
    con: duckdb.DuckDBPyConnection, found: list[dict[str, Any]], where: str, *, namespaced: bool = True
) -> list[dict[str, Any]]:
    """Rows of objects, each with that of its event; a list's, which stands for all that is in it, is read once."""
    if not found:
        return []
    places = list(dict.fromkeys(tuple(r[c] for c in _ADDRESS) for r in found))
    times = [r["time"] for r in found if r["time"] is not None]
    within = "a.stage_time between $low and $high and " if len(times) == len(found) else ""
    events = engine.query(
        con,
        f"""
        with wanted as (
            select unnest($import_id::varchar[]) as import_id, unnest($source::varchar[]) as source, unnest($line::bigint[]) as line,
                unnest($item::bigint[]) as item, unnest($n::bigint[]) as n
        )
        select n, {_COLUMNS} from wanted as t join audit as a
            on a.import_id = t.import_id and a.source = t.source and a.line = t.line and coalesce(a.item, 0) = coalesce(t.item, 0)
        where {where} and {within}{_near(found, namespaced=namespaced) if len(found) <= _FEW else "true"}
        """,
        {
            **{c: [place[i] for place in places] for i, c in enumerate(_ADDRESS)}, "n": list(range(len(places))),
            **({"low": min(times), "high": max(times)} if within else {}),
        },
    ).to_dicts()  # fmt: skip
    by_place = {places[e.pop("n")]: e for e in events}
    return [
        {**{k: v for k, v in row.items() if k not in ("import_id",)}, **event}
        for row in found if (event := by_place.get(tuple(row[c] for c in _ADDRESS))) is not None
    ]  # fmt: skip


def _near(found: list[dict[str, Any]], *, namespaced: bool = True) -> str:
    """A condition on `a` that all events of some objects fulfil, and few others.

    Files are sorted by object, so their statistics tell where these are; bloom filters tell it of audit ids. Together they take a
    third of the time of audit ids alone. A list names its resource, but not always the namespace of what is in it.
    """
    ids, resources, namespaces = (
        sorted({r[c] for r in found if r[c] is not None}) for c in ("audit_id", "resource", "namespace")
    )
    groups = sorted({r["api_group"] or "" for r in found})
    parts = [f"a.audit_id in ({listed(ids)})"]
    if len(groups) + len(resources) <= _KINDS and all(r["resource"] is not None for r in found):
        parts.append(f"coalesce(a.api_group, '') in ({listed(groups)}) and a.resource in ({listed(resources)})")
    if namespaced and len(namespaces) <= _KINDS and all(r["namespace"] is not None for r in found):
        parts.append(f"a.namespace in ({listed(namespaces)})")
    return " and ".join(parts)


def lost(con: duckdb.DuckDBPyConnection, where: str, params: Mapping[str, Any], until: dt.datetime | None = None) -> list[Touch]:
    """Writes that came in and of which the log holds no end, of objects their URL names; `where` is a condition on `t`."""
    begun = engine.query(
        con,
        f"""
        select t.cluster, t.api_group, t.resource, t.namespace, t.name, null::varchar as uid, null::bigint as rv, 'ref' as via,
            t.verb, t.subresource, null::bigint as code, null::varchar as response_kind, coalesce(t.dry_run, false) as dry_run,
            t.stage_time as time, t.received_time, t.audit_id, t.import_id, t.source, t.line, t.item
        from audit as t
        where t.stage = 'RequestReceived' and t.verb in ({listed(WRITES)}) and t.name is not null
            and ($until::timestamptz is null or t.stage_time <= $until::timestamptz) and {where}
        """,
        {**params, "until": until},
    ).to_dicts()
    if not begun:
        return []
    ended = con.execute(
        f"select distinct a.cluster, a.audit_id, a.received_time, a.verb from audit as a where a.stage <> 'RequestReceived' "
        f"and a.verb in ({listed(WRITES)}) and {_near(begun) if len(begun) <= _FEW else 'true'}"
    ).fetchall()
    done = {(c, i, t.timestamp() if t else None, v) for c, i, t, v in ended}
    left = [
        r for r in begun
        if (r["cluster"], r["audit_id"], r["received_time"].timestamp() if r["received_time"] else None, r["verb"]) not in done
    ]  # fmt: skip
    for r in left:
        del r["received_time"]
    bodies: dict[str, Any] = {}
    return [_event(row, bodies) for row in _rows(con, left, "a.stage = 'RequestReceived'")]


def collection(con: duckdb.DuckDBPyConnection, key: Key, audit_id: str, source: str, line: int) -> Touch | None:
    """The event of a collection request as one of an object that was in it."""
    rows = engine.query(
        con,
        f"""
        select $cluster as cluster, a.api_group, a.resource, $namespace as namespace, $name as name, null::varchar as uid,
            null::bigint as rv, 'item' as via, a.verb, a.subresource, a.code, a.response_kind,
            coalesce(a.dry_run, false) as dry_run, {_COLUMNS}
        from audit as a where a.audit_id = $audit_id and a.source = $source and a.line = $line
        """,
        {
            "cluster": key.cluster,
            "namespace": key.namespace,
            "name": key.name,
            "audit_id": audit_id,
            "source": source,
            "line": line,
        },
    )
    return next((_event(row, {}) for row in rows.to_dicts()), None)


def _event(row: dict[str, Any], bodies: dict[str, Any]) -> Touch:
    group, resource, namespace = row.pop("api_group") or "", row.pop("resource"), row.pop("namespace")
    # objectRef.namespace of a namespace is its own name (formats: requestinfo.go); in a list it is absent
    key = Key(row.pop("cluster"), group, resource, None if resource == "namespaces" and not group else namespace, row.pop("name"))
    return Touch(key=key, bodies=bodies, **row)


def last_stages(events: Iterable[Touch]) -> list[Touch]:
    """One event per request and object: the last stage, the item of a Table rather than the Table; in order."""
    best: dict[tuple[Any, ...], Touch] = {}
    for e in sorted(events, key=lambda e: (*e.order, e.via == "item", e.source, e.line)):
        best[(e.key, e.audit_id, e.received, e.uri, e.verb)] = e
    return sorted(best.values(), key=lambda e: e.order)
