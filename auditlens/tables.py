"""The tables of the lake, declared once: the Arrow and Delta schemas, the import's SQL and the documentation come from here.

A column is one line: its name and type, the SQL that fills it, and what it means. The SQL of the primary tables reads
`e` (the event's wire fields), `q` and `s` (what is lifted out of the request and response bodies) and `r` (the record and
where it was found); importing/audit.sql builds these four.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    import pyarrow as pa

# Python type -> DuckDB type. Delta and Parquet follow from the Arrow type of the DuckDB one.
SQL_TYPES: dict[Any, str] = {
    str: "VARCHAR",
    int: "BIGINT",
    float: "DOUBLE",
    bool: "BOOLEAN",
    dt.datetime: "TIMESTAMPTZ",
    dt.date: "DATE",
    list[str]: "VARCHAR[]",
    dict[str, str]: "MAP(VARCHAR, VARCHAR)",
    dict[str, list[str]]: "MAP(VARCHAR, VARCHAR[])",
    dict[str, int]: "MAP(VARCHAR, BIGINT)",
}

PARTITIONS = ("cluster", "date")


@dataclass(frozen=True, slots=True)
class Column:
    """One column as declared: `sql` fills it at import, `wire` names the field it comes from, if it is one."""

    name: str
    type: str  # DuckDB
    sql: str
    wire: str
    doc: str


def col(doc: str, sql: str = "", *, wire: str = "") -> Any:
    """Declare a column; without `sql` it is filled by the code that writes the table."""
    if not wire and re.fullmatch(r"e(\.\w+)+", sql):
        wire = sql[2:]
    return Field(default=None, description=doc, json_schema_extra={"sql": sql, "wire": wire})


class Table(BaseModel):
    """A row of a table; subclasses declare the columns."""

    NAME: ClassVar[str]
    FORMERLY: ClassVar[str] = ""  # an earlier name: lakes of its time keep the directory, users' SQL may use either
    PARTITIONED_BY: ClassVar[tuple[str, ...]] = PARTITIONS
    TIME: ClassVar[str | None] = None  # the column windows go by
    SORT: ClassVar[tuple[str, ...]] = ()  # the order of a compacted file
    OWN: ClassVar[tuple[str, ...]] = ()  # selects of rows that are not stored but read from another table

    @classmethod
    @cache
    def columns(cls) -> tuple[Column, ...]:
        """The columns in order, partitions first."""
        out = []
        for name, info in cls.model_fields.items():
            kind = next(t for t in get_args(info.annotation) if t is not type(None))
            extra: dict[str, str] = info.json_schema_extra  # type: ignore[assignment]
            out.append(Column(name, SQL_TYPES[kind], extra["sql"], extra["wire"], info.description or ""))
        return tuple(out)

    @classmethod
    def stored(cls) -> tuple[Column, ...]:
        """The columns inside the Parquet files: all but the partitions, which are in the path."""
        return tuple(c for c in cls.columns() if c.name not in cls.PARTITIONED_BY)

    @classmethod
    def arrow_schema(cls) -> pa.Schema:
        """The Arrow schema, partitions included, as Delta keeps it."""
        import pyarrow as pa

        text, number = pa.string(), pa.int64()
        arrow = {
            "VARCHAR": text,
            "BIGINT": number,
            "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
            "DATE": pa.date32(),
            "VARCHAR[]": pa.list_(text),
            "MAP(VARCHAR, VARCHAR)": pa.map_(text, text),
            "MAP(VARCHAR, VARCHAR[])": pa.map_(text, pa.list_(text)),
            "MAP(VARCHAR, BIGINT)": pa.map_(text, number),
        }
        return pa.schema([(c.name, arrow[c.type]) for c in cls.columns()])

    @classmethod
    @cache
    def fingerprint(cls) -> str:
        """Changes with the stored columns; part of a file's name, so that a reader knows which files lack a column."""
        return hashlib.sha256(repr([(c.name, c.type) for c in cls.stored()]).encode()).hexdigest()[:6]

    @classmethod
    def empty_select(cls) -> str:
        """SQL of no rows with every column and type: what the view is before anything is imported."""
        return "select " + ", ".join(f"null::{c.type} as {c.name}" for c in cls.columns()) + " where false"


class Audit(Table):
    """One stage of one API request, as the apiserver's audit backend wrote it."""

    NAME = "audit"
    TIME = "stage_time"
    SORT = ("api_group", "resource", "namespace", "coalesce(name, object_name)", "stage_time", "audit_id")

    cluster: str | None = col("Cluster the log came from: --cluster, else the wrapper's, else `default`.", "r.cluster")
    date: dt.date | None = col("UTC date of `stage_time`; the wrapper's for an event cut before its times.", "r.date")
    instance: str | None = col("The apiserver: the host or stream the wrapper names, else the file set.", "r.instance")
    audit_id: str | None = col("Id of the request. Clients may choose it, so two requests can share one.", "e.auditID")
    stage: str | None = col("RequestReceived, ResponseStarted, ResponseComplete or Panic.", "e.stage")
    level: str | None = col("How much was recorded: Metadata, Request or RequestResponse.", "e.level")
    verb: str | None = col("Kubernetes verb; for non-resource URLs the lower-case HTTP method.", "e.verb")
    request_uri: str | None = col("Path and query as sent, percent-encoding kept.", "e.requestURI")
    username: str | None = col("Who authenticated (before impersonation); null when nobody did.", "e.user.username")
    user_uid: str | None = col("Uid of the authenticated user.", "e.user.uid")
    user_groups: list[str] | None = col("Groups of the authenticated user.", 'e.user."groups"', wire="user.groups")
    user_extra: dict[str, list[str]] | None = col("Further facts of the authenticator, such as credential ids.", "e.user.extra")
    impersonated_username: str | None = col("Whom the user acted as.", "e.impersonatedUser.username")
    impersonated_uid: str | None = col("Uid acted as.", "e.impersonatedUser.uid")
    impersonated_groups: list[str] | None = col("Groups acted as.", 'e.impersonatedUser."groups"', wire="impersonatedUser.groups")
    impersonated_extra: dict[str, list[str]] | None = col("Extra acted as.", "e.impersonatedUser.extra")
    source_ips: list[str] | None = col("Claimed client first, real peer last; all but the last can be forged.", "e.sourceIPs")
    user_agent: str | None = col("User-Agent header, cut at 1,024 bytes by the apiserver; can be forged.", "e.userAgent")
    client: str | None = col(
        "Program named first in the user agent.", "nullif(split_part(split_part(e.userAgent, ' ', 1), '/', 1), '')"
    )
    client_version: str | None = col(
        "Version named after the program.", "nullif(split_part(split_part(e.userAgent, ' ', 1), '/', 2), '')"
    )
    api_group: str | None = col(
        "API group; empty for the core group, null for non-resource URLs.",
        "case when e.objectRef is not null then coalesce(e.objectRef.apiGroup, '') end",
        wire="objectRef.apiGroup",
    )
    api_version: str | None = col("API version asked for.", "e.objectRef.apiVersion")
    maturity: str | None = col("alpha, beta or GA, from the API version.", "api_maturity(e.objectRef.apiVersion)")
    resource: str | None = col("Plural resource name.", "e.objectRef.resource")
    subresource: str | None = col("Subresource, such as exec or status.", "e.objectRef.subresource")
    namespace: str | None = col("Namespace; null for cluster-wide requests.", "nullif(e.objectRef.namespace, '')")
    name: str | None = col("Name in the request; null for lists and server-named creates.", "nullif(e.objectRef.name, '')")
    uid: str | None = col("Uid the client sent in the body.", "e.objectRef.uid")
    resource_version: str | None = col("Resource version the client sent in the body.", "e.objectRef.resourceVersion")
    code: int | None = col("HTTP status; null at RequestReceived.", "e.responseStatus.code")
    status_reason: str | None = col("Reason of a Status answer.", "e.responseStatus.reason")
    status_message: str | None = col("Message of a Status answer.", "e.responseStatus.message")
    status_details: str | None = col("Details of a Status answer, JSON.", "e.responseStatus.details")
    outcome: str | None = col(
        "What became of the request: ok, created, accepted, not_modified, unauthenticated, forbidden, not_found, conflict, "
        "already_exists, invalid, bad_request, throttled, timeout, unavailable, gone, error, or the snake-case reason.",
        "case when e.stage <> 'RequestReceived' then outcome(e.responseStatus.code, e.responseStatus.reason) end",
    )
    decided_by: str | None = col(
        "The part of the apiserver that ended a failed request: authentication, request_deadline, impersonation, flow_control, "
        "authorization, handler, admission, validation, storage, backend, aggregator, timeout or panic; null for success.",
        "case when e.stage <> 'RequestReceived' then decided_by(e.stage, e.responseStatus.code, e.responseStatus.reason, "
        "e.responseStatus.message, r.decision, e.annotations['authorization.k8s.io/reason'], e.user.username, "
        "e.objectRef.subresource, e.requestURI, e.annotations) end",
    )
    decision: str | None = col(
        "Verdict of the authorizers: allow or forbid; null when it never came to that.",
        "r.decision",
        wire="annotations['authorization.k8s.io/decision']",
    )
    decision_reason: str | None = col(
        "Why, in the authorizer's words.",
        "e.annotations['authorization.k8s.io/reason']",
        wire="annotations['authorization.k8s.io/reason']",
    )
    authorizer: str | None = col(
        "Which authorizer decided: rbac, node, abac, webhook, privileged_group or always_allow, as far as the reason tells.",
        "authorizer(r.decision, e.annotations['authorization.k8s.io/reason'], e.user.username, "
        'coalesce(e.impersonatedUser."groups", e.user."groups"))',
    )
    binding: str | None = col(
        "RBAC binding that allowed it: ClusterRoleBinding/NAME or RoleBinding/NAMESPACE/NAME.",
        "rbac_binding(e.annotations['authorization.k8s.io/reason'])",
    )
    role: str | None = col(
        "RBAC role behind the binding: ClusterRole/NAME or Role/NAME.",
        "rbac_role(e.annotations['authorization.k8s.io/reason'])",
    )
    received_time: dt.datetime | None = col("When the request came in.", "r.received_time", wire="requestReceivedTimestamp")
    stage_time: dt.datetime | None = col("When this stage was reached.", "r.stage_time", wire="stageTimestamp")
    latency_ms: float | None = col(
        "Milliseconds from receipt to this stage; for watches and sessions that is their life.",
        "case when e.stage <> 'RequestReceived' and r.has_stage_time then "
        "(epoch_us(r.stage_time) - epoch_us(r.received_time)) / 1000.0 end",
    )
    dry_run: bool | None = col(
        "The client asked for a server-side dry run: nothing was changed.",
        "case when e.verb in ('create', 'update', 'patch', 'delete', 'deletecollection') then "
        "case when contains(e.requestURI, 'dryRun=') then regexp_matches(e.requestURI, '[?&]dryRun=[^&]') else false end "
        "or coalesce(len(q.dryRun), len(q.deleteOptions.dryRun), 0) > 0 else false end",
    )
    request_object: str | None = col("Request body, JSON text.", "r.request_object", wire="requestObject")
    response_object: str | None = col("Response body, JSON text.", "r.response_object", wire="responseObject")
    response_kind: str | None = col("Kind of the response body: the object's, its list's, Status, Table, Scale, ...", "s.kind")
    object_name: str | None = col(
        "Name of the object as answered: names what generateName created.",
        # a refusal's details may be about something else: the namespace that was not found (apimachinery api/errors)
        "coalesce(s.metadata.name, case when e.responseStatus.code < 400 or s.details.kind = e.objectRef.resource then s.details.name end)",
    )
    object_uid: str | None = col("Uid of the object as answered.", "coalesce(s.metadata.uid, s.details.uid, d.uid)")
    object_resource_version: str | None = col("Resource version of the object as answered.", "s.metadata.resourceVersion")
    owner_kind: str | None = col("Kind of the controlling owner of the object as answered.", "o.kind")
    owner_name: str | None = col("Name of that owner.", "o.name")
    owner_uid: str | None = col("Uid of that owner.", "o.uid")
    replicas: int | None = col("spec.replicas as answered, else as asked.", "coalesce(s.spec.replicas, q.spec.replicas)")
    annotations: dict[str, str] | None = col("Audit annotations.", "e.annotations")
    authentication_metadata: str | None = col("Constrained impersonation facts (1.35+), JSON.", "e.authenticationMetadata")
    extra: str | None = col("Fields this version does not know, JSON.", "r.extra")
    partial: bool | None = col("The event was cut: only the fields before the cut are known.", "r.partial")
    truncated: bool | None = col(
        "Bodies were dropped, mostly for size: the apiserver's mark, or a text in their place (then in `extra`).",
        "coalesce(e.annotations['audit.k8s.io/truncated'] = 'true', false) or case when r.extra is null then false "
        "else json_exists(r.extra, '$.requestObject') or json_exists(r.extra, '$.responseObject') end",
    )
    time_source: str | None = col("Where `stage_time` is from: event, received, wrapper; null when unknown.", "r.time_source")
    import_id: str | None = col("The import that wrote the row; joins `imports`.", "r.import_id")
    source: str | None = col("File or stream the event was read from.", "r.source")
    line: int | None = col("Physical line in the source, from 1.", "r.line")
    item: int | None = col("Position inside a list document, from 1; null for line formats.", "r.item")


class AuditObjects(Table):
    """One object touched by one event: the one it names, those in its body, and the owner of a created or deleted one.

    Only list items and owners are stored. The object an event names, or the server named for it, is a view of `audit`:
    storing it again would make the lake a sixth larger, and `audit` is sorted by object as well.
    """

    NAME = "audit_objects"
    FORMERLY = "touch"
    TIME = "time"
    SORT = ("api_group", "resource", "namespace", "name", "time", "audit_id")
    # The rest of the table, from `audit`. Two branches, so that a filter on name reaches the files' statistics.
    OWN = tuple(
        f"""
        select cluster, date, stage_time as time, api_group, resource, namespace, {name} as name,
            coalesce(object_uid, uid) as uid,
            case when verb not in ('list', 'watch', 'deletecollection') then object_resource_version end as resource_version,
            '{via}' as via, verb, subresource, code,
            object_resource_version is not null and verb not in ('list', 'watch', 'deletecollection') as has_body,
            response_kind, dry_run, level, audit_id, import_id, source, line, item
        from audit
        where resource is not null and stage <> 'RequestReceived' and {where}
        """
        for name, via, where in (
            ("name", "ref", "name is not null"),
            (
                "object_name", "body",
                "name is null and object_name is not null and verb not in ('list', 'watch', 'deletecollection')",
            ),
        )
    )  # fmt: skip

    cluster: str | None = col("As in `audit`.")
    date: dt.date | None = col("As in `audit`.")
    time: dt.datetime | None = col("The event's stage time.")
    api_group: str | None = col("API group of the object; empty for core.")
    resource: str | None = col("Plural resource name of the object.")
    namespace: str | None = col("Namespace of the object.")
    name: str | None = col("Name of the object.")
    uid: str | None = col("Uid of the object, where the log has it.")
    resource_version: str | None = col("Resource version of the object after the request, where the log has it.")
    via: str | None = col("How the event touches it: ref (named), body (named by the server), item (of a list), owner.")
    verb: str | None = col("The event's verb.")
    subresource: str | None = col("The event's subresource.")
    code: int | None = col("The event's HTTP status.")
    has_body: bool | None = col("The event's response holds the object, not only its name.")
    response_kind: str | None = col("Kind of the event's response body: tells whole objects from their metadata and from Status.")
    dry_run: bool | None = col("The event was a server-side dry run.")
    level: str | None = col("How much of the event was recorded.")
    audit_id: str | None = col("The event.")
    import_id: str | None = col("As in `audit`.")
    source: str | None = col("The event's source.")
    line: int | None = col("The event's line.")
    item: int | None = col("The event's position inside a list document.")


class Rejects(Table):
    """A record that could not be read, with its text as far as redaction allows."""

    NAME = "rejects"
    PARTITIONED_BY = ()

    cluster: str | None = col("As in `audit`.")
    source: str | None = col("File or stream it was read from.")
    line: int | None = col("Physical line, from 1.")
    item: int | None = col("Position inside a list document, from 1.")
    byte_offset: int | None = col("Offset of the line in the decompressed source, bytes.")
    reason: str | None = col("Why it could not be read.")
    text: str | None = col("The text up to the first body field.")
    import_id: str | None = col("The import that found it.")


class Imports(Table):
    """One imported source: what was read, what became of it, and when. Its row alone means the import is done."""

    NAME = "imports"
    PARTITIONED_BY = ()

    import_id: str | None = col("Id of the import, in every row it wrote; from the content, so the same again next time.")
    batch_id: str | None = col("Id of the commit it was part of; small sources share one. Starts the names of its files.")
    cluster: str | None = col("The cluster asked for with --cluster, else null.")
    source: str | None = col("File or stream.")
    instance: str | None = col("The apiserver it is from.")
    sha256: str | None = col("SHA-256 of the decompressed content.")
    bytes: int | None = col("Decompressed size.")
    file_bytes: int | None = col("Size as stored.")
    file_sha256: str | None = col("SHA-256 of the file as stored.")
    lines: int | None = col("Physical lines read.")
    items: int | None = col("Records that came out of list documents.")
    records: int | None = col("Entries found: rows + duplicates + rejects + dropped.")
    rows: dict[str, int] | None = col("Rows added to each primary table.")
    derived: dict[str, int] | None = col("Rows added to each derived table.")
    duplicates: int | None = col("Records the lake held already, or that stand twice in the source.")
    rejects: int | None = col("Records that could not be read.")
    dropped: int | None = col("Events that the policy of `import --policy` would not have written; null is none.")
    continuations: int | None = col("Lines that belong to the entry or document before them.")
    blanks: int | None = col("Empty lines.")
    error: str | None = col("Why reading ended early: a damaged or unfinished compressed file.")
    first_time: dt.datetime | None = col("Earliest stage time.")
    last_time: dt.datetime | None = col("Latest stage time.")
    imported_at: dt.datetime | None = col("When it was committed.")
    version: str | None = col("auditlens version that wrote it.")
    redact_key_id: str | None = col("Id of the redaction key; null when redaction was off.")
    policy: str | None = col("Digest of the policy of `import --policy`; null when nothing was left out.")
    file_fingerprint: str | None = col(
        "What its content is known by, whatever it is called later: a hash of the first line, 4 KiB of it at most; null while that "
        "was not whole, and for what was posted."
    )
    byte_offset: int | None = col("Where in that content it begins: a followed file comes in slices.")
    directory: str | None = col("Where the import ran, if `source` is relative to it.")


class Duplicates(Table):
    """A stored row that repeats another, richer or earlier one; readers leave it out, compaction removes it."""

    NAME = "duplicates"
    FORMERLY = "repeats"

    cluster: str | None = col("As in `audit`.")
    date: dt.date | None = col("As in `audit`.")
    import_id: str | None = col("The import of the row that is left out.")
    source: str | None = col("Its source.")
    line: int | None = col("Its line.")
    item: int | None = col("Its position inside a list document.")
    kept_import_id: str | None = col("The import of the row that is kept; only once that is done does this count.")


class Klog(Table):
    """One entry of a component's own log, its continuation lines included."""

    NAME = "klog"
    TIME = "time"
    SORT = ("time", "source", "line")

    cluster: str | None = col("As in `audit`.")
    date: dt.date | None = col("UTC date of `time`.")
    instance: str | None = col("The host or stream the wrapper names, else the file set.")
    time: dt.datetime | None = col("When it was logged; year and zone as `time_source` tells.")
    time_source: str | None = col(
        "Where the year is from: entry (it says so itself), wrapper, text (a date in a message), created (the file's head), "
        "name (the file's), mtime (the latest year not after the file's last change)."
    )
    severity: str | None = col("I, W, E or F; null where the logger has none.")
    pid: int | None = col("Process (klog) or thread (glog) id.")
    file: str | None = col("Source file that logged it, without its directory.")
    file_line: int | None = col("Line in that file.")
    logger: str | None = col("Name of the logger (klog 2.110 and later, zap).")
    verbosity: int | None = col("The -v it was logged at; only JSON logging tells.")
    message: str | None = col("The message; of free text all its lines.")
    fields: dict[str, str] | None = col(
        "Keys and values of structured logging. Null for what has a table of its own: httplog lines, kubectl's requests and bodies."
    )
    kind: str | None = col("What it means, by the catalogue; null for what is not in it.")
    audit_id: str | None = col("Audit id it names.")
    bytes: int | None = col("Length of the entry in the log, bytes, without what wraps it.")
    import_id: str | None = col("As in `audit`.")
    source: str | None = col("File or stream it was read from.")
    line: int | None = col("Physical line at which it begins, from 1.")
    item: int | None = col("Position among the records of that line, from 1; null for the first.")


class Httplog(Table):
    """One request as the apiserver's httplog line tells it (-v=3; -v=2 to 1.10). Logged when the request ends."""

    NAME = "httplog"
    FORMERLY = "http"
    TIME = "time"
    SORT = ("time", "source", "line")

    cluster: str | None = col("As in `audit`.")
    date: dt.date | None = col("UTC date of `time`.")
    instance: str | None = col("As in `klog`.")
    time: dt.datetime | None = col("When the request ended.")
    verb: str | None = col("GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE, CONNECT; before 1.22 the HTTP method.")
    uri: str | None = col("Path and query, percent-encoding kept.")
    code: int | None = col("HTTP status; 0 when nothing was written, null for a hijacked connection.")
    hijacked: bool | None = col("The connection was taken over (exec, attach, port-forward, proxy).")
    latency_ms: float | None = col("Milliseconds from receipt to the end; of watches and sessions their life.")
    user_agent: str | None = col("User-Agent header; can be forged.")
    client: str | None = col("Program named first in the user agent.")
    source_ip: str | None = col("Address of the peer.")
    audit_id: str | None = col("Audit id, cut at 64 characters by the apiserver; 1.22 and later.")
    content_type: str | None = col("Content type; after 1.36.")
    apf_pl: str | None = col("Priority level of API priority and fairness.")
    apf_fs: str | None = col("Flow schema.")
    apf_iseats: int | None = col("Seats taken at first.")
    apf_fseats: int | None = col("Seats taken at the end.")
    apf_additional_latency_ms: float | None = col("Milliseconds the seats were held longer.")
    apf_execution_ms: float | None = col("Milliseconds of execution, without the queue.")
    apf_init_latency_ms: float | None = col("Milliseconds until a watch was initialised.")
    watchlist_init_latency_ms: float | None = col("Milliseconds until a streaming list was initialised.")
    more: dict[str, str] | None = col("Other fields of the line, such as the latency of slow filters (fl_*).")
    added_info: str | None = col("What the apiserver added: an error's body, an impersonation.")
    status_stack: str | None = col("Stack behind a 5xx.")
    import_id: str | None = col("As in `audit`.")
    source: str | None = col("As in `klog`.")
    line: int | None = col("As in `klog`.")
    item: int | None = col("As in `klog`.")


class Trace(Table):
    """A slow operation's trace: a row for the block (`seq` 0), one for each of its steps and nested spans."""

    NAME = "trace"
    TIME = "time"
    SORT = ("time", "source", "line", "seq")

    cluster: str | None = col("As in `audit`.")
    date: dt.date | None = col("UTC date of `time`.")
    instance: str | None = col("As in `klog`.")
    time: dt.datetime | None = col("When the block was logged, which is when it ended.")
    trace_id: str | None = col("Number of the block, drawn at random for each; null to 1.7.")
    seq: int | None = col("0 for the block, then its lines in order.")
    audit_id: str | None = col("Audit id of the request, where the block or one of its spans names it.")
    name: str | None = col("Name of the block; null when its head was not logged.")
    step: str | None = col("Name of the step or span; null for the block.")
    span: bool | None = col("A nested trace, whose `step_ms` contains that of the steps below it.")
    depth: int | None = col("0 for the block, 1 for its steps, more inside spans.")
    step_ms: float | None = col("Milliseconds of the step since the one before, or of the whole block or span.")
    at_ms: float | None = col("Milliseconds since the block began; to 1.18.")
    step_time: dt.datetime | None = col("Time the line names: of the block and of spans their start, of steps their end.")
    total_ms: float | None = col("Milliseconds of the whole block.")
    ended: bool | None = col("Its END was logged, which before 1.19 may be left out.")
    verb: str | None = col("Verb of the request, where named.")
    url: str | None = col("Path of the request, where named.")
    user_agent: str | None = col("User agent of the request, where named.")
    fields: dict[str, str] | None = col("Fields of the block, step or span.")
    import_id: str | None = col("As in `audit`.")
    source: str | None = col("As in `klog`.")
    line: int | None = col("Line of the entry the block begins in.")
    item: int | None = col("As in `klog`.")


class Kubectl(Table):
    """One HTTP exchange as a client's debug output (kubectl -v=6 and up) tells it."""

    NAME = "kubectl"
    TIME = "time"
    SORT = ("time", "source", "line")

    cluster: str | None = col("As in `audit`.")
    date: dt.date | None = col("UTC date of `time`.")
    instance: str | None = col("As in `klog`.")
    time: dt.datetime | None = col("When the first line of the exchange was logged.")
    end_time: dt.datetime | None = col("When the last line of it was logged.")
    pid: int | None = col("Process id of the client.")
    method: str | None = col("HTTP method.")
    url: str | None = col("URL, tokens redacted.")
    status: str | None = col("Status line, such as `404 Not Found`; null when the request failed before one.")
    code: int | None = col("HTTP status.")
    milliseconds: float | None = col("Time until the response's headers.")
    request_headers: dict[str, str] | None = col("Headers sent; credentials are masked by the client or redacted here.")
    request_body: str | None = col("Body sent, redacted; binary bodies are replaced by length and hash.")
    response_headers: dict[str, str] | None = col("Headers of the response.")
    response_body: str | None = col("Body received, redacted.")
    body_truncated: int | None = col("Characters the client left out of a body.")
    curl: str | None = col("The curl line the client printed: it has no body and its credentials are masked.")
    audit_id: str | None = col("Audit-Id of the response; from a client's cache it is another request's.")
    timings: dict[str, int] | None = col("Milliseconds of name look-up, dial, TLS, server and so on, where printed.")
    lines: int | None = col("Log entries the exchange was put together from.")
    import_id: str | None = col("As in `audit`.")
    source: str | None = col("As in `klog`.")
    line: int | None = col("As in `klog`.")
    item: int | None = col("As in `klog`.")


TABLES: dict[str, type[Table]] = {
    t.NAME: t for t in (Audit, AuditObjects, Klog, Httplog, Trace, Kubectl, Rejects, Duplicates, Imports)
}
PRIMARY = ("audit", "klog")  # a record becomes one row of one of these
DERIVED = ("audit_objects", "httplog", "trace", "kubectl")
PUBLIC = ("audit", "audit_objects", "klog", "httplog", "trace", "kubectl", "rejects", "imports")  # what users query

# What makes two events the same (never bodies, source or line, and never the audit id alone: clients may choose it),
# and which of equal ones is kept.
IDENTITY = (
    "cluster", "audit_id", "stage", "received_time", "stage_time", "verb", "request_uri", "username", "source_ips", "code",
)  # fmt: skip
RICHEST_FIRST = (
    "case level when 'RequestResponse' then 0 when 'Request' then 1 when 'Metadata' then 2 else 3 end",
    "truncated", "partial",
    "starts_with(source, 'webhook:') or source = '-'",  # what stands in a file leads to its line
    "source", "line", "item nulls first", "import_id",
)  # fmt: skip
