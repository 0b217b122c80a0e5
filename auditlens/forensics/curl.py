"""A client's request as a curl line that runs: method, URL, headers and body whole, credentials left as placeholders.

kubectl's own curl lines (-v=9) have no body and masked credentials; a request that only the audit log knows is rebuilt
from its event. What a log holds is written by whoever sent the request: none of it can act in the shell or on the terminal.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from auditlens import engine
from auditlens.errors import UsageError
from auditlens.formats.entry import parse
from auditlens.formats.kubectl import Exchange, Exchanges, hex_dump, is_debug
from auditlens.formats.reader import Reader
from auditlens.importing.sources import SourceFile, decompression_errors
from auditlens.lake import Lake
from auditlens.output import plain
from auditlens.records import Chunk, Record

__all__ = ["Repeat", "curl"]

# the connection's own business, or replaced by a placeholder
_LEFT_OUT = frozenset({"authorization", "accept-encoding", "content-length", "host", "connection", "cookie"})
_METHODS = {
    "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE",
    "get": "GET", "list": "GET", "watch": "GET", "head": "HEAD",
}  # fmt: skip
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WRITES = ("POST", "PUT", "PATCH")
_BUILT_IN = ("/api/", "/apis/apps/", "/apis/batch/", "/apis/policy/", "/apis/autoscaling/")
_EXTRA = "Impersonate-Extra-"
_SESSION = re.compile(r"/(?:exec|attach|portforward)(?:[?/]|$)")


@dataclass(slots=True)
class Repeat:
    """A request to repeat: what it was, where that stands, what to know about it (`notes`), and what is missing (`limits`)."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    notes: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    audit_id: str | None = None
    source: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        if _SESSION.search(self.url):
            self.limits.append("a session: curl only opens it, kubectl speaks its protocol")
        if self.body and "redacted:hmac:" in self.body:
            self.limits.append("values of the body were redacted at import")

    def __str__(self) -> str:
        return _shell(self)

    def as_dict(self) -> dict[str, Any]:
        """The request with the shell's text that repeats it."""
        return {
            "method": self.method, "url": self.url, "headers": dict(self.headers), "body": self.body, "command": str(self),
            "notes": self.notes, "audit_id": self.audit_id, "source": self.source, "line": self.line,
        }  # fmt: skip


def curl(request: str, lake: Lake | str | Path) -> list[Repeat]:
    """The requests to repeat: of an audit id, or each of a file with a client's debug output.

    Args:
        request: an audit id, or the path of a file with the output of kubectl -v=6 and up, compressed or not.
        lake: where to look the audit id up: in `kubectl`, else in `audit`.

    Raises:
        UsageError: there is no such file, and the lake does not hold the request.
    """
    path = Path(request)
    if path.is_file():
        found = list(_of_file(path))
        what = "holds no requests: it must be the output of kubectl with -v=6 or more"
    else:
        lake = lake if isinstance(lake, Lake) else Lake(lake)
        if not lake.exists():
            raise UsageError(f"{request}: there is no such file, and no lake at {lake.path} to look an audit id up in")
        found = list(_of_lake(request, lake))
        what = f"there is no such file, and no such audit id in {lake.path}"
    if not found:
        raise UsageError(f"{request}: {what}")
    return found


def _of_file(path: Path) -> Iterator[Repeat]:
    reader, clients = Reader(format="kubectl"), dict[int | None, Exchanges]()
    chunk = Chunk(_content(path), 1, 0)
    found: list[Exchange] = []
    for one in [*reader.feed(chunk), *reader.close()]:
        if isinstance(one, Record) and one.format != "audit":
            entry = parse(one.text)
            if is_debug(entry):
                found += clients.setdefault(entry.pid, Exchanges()).feed(entry, one.line)
    for client in clients.values():
        found += client.close()
    for exchange in sorted(found, key=lambda e: min((o for o in e.origins if isinstance(o, int)), default=0)):
        if exchange.method and exchange.url:
            # the mark may stand behind the answer's body only
            cut = exchange.truncated if exchange.request_body and exchange.response_body is None else None
            made = _of_client(
                exchange.method, exchange.url, exchange.status, exchange.request_headers, exchange.request_body, cut
            )
            made.source, made.line = str(path), next((o for o in exchange.origins if isinstance(o, int)), None)
            yield made


def _content(path: Path) -> bytes:
    found, piece = bytearray(), memoryview(bytearray(1 << 20))
    try:
        with SourceFile(path, str(path)).open() as stream:
            while read := stream.readinto(piece):
                found += piece[:read]
    except decompression_errors() as e:
        raise UsageError(f"{path}: {e}") from e
    return bytes(found)


def _of_client(
    method: str, url: str, status: str | None, headers: Mapping[str, str], body: str | None, cut: int | None
) -> Repeat:
    limits = []
    if cut:
        limits.append(f"the client left {cut} characters of the body out: repeat it with -v=10")
    if body is None and method in _WRITES and not _SESSION.search(url):
        limits.append("the client did not print the body: repeat it with -v=8, or -v=10 for a long one")
    return Repeat(method, url, headers, body, [f"answered {status}"] if status else [], limits)


def _of_lake(audit_id: str, lake: Lake) -> Iterator[Repeat]:
    con = engine.connect(lake)
    rows = con.sql(
        "select method, url, status, request_headers, request_body, body_truncated, response_body, source, line from kubectl "
        "where audit_id = $id and method is not null and url is not null order by time, line", params={"id": audit_id},
    ).pl()  # fmt: skip
    for row in rows.to_dicts():
        cut = row["body_truncated"] if row["request_body"] and row["response_body"] is None else None
        made = _of_client(row["method"], row["url"], row["status"], _map(row["request_headers"]), row["request_body"], cut)
        made.audit_id, made.source, made.line = audit_id, row["source"], row["line"]
        yield made
    if rows.height:
        return
    rows = con.sql(
        "select verb, request_uri, code, max(request_object) over () as body, username, impersonated_username, "
        "impersonated_uid, impersonated_groups, impersonated_extra, subresource, source, line from audit "
        "where audit_id = $id order by stage_time desc limit 1", params={"id": audit_id},
    ).pl()  # fmt: skip
    for row in rows.to_dicts():
        notes = [f"rebuilt from the audit event of {row['username']}"]
        notes += [f"answered {row['code']}"] if row["code"] is not None else []
        limits: list[str] = []
        method = _METHODS.get(row["verb"], str(row["verb"]).upper())
        headers = {"Accept": "application/json"} | _impersonation(row)
        if row["body"] is None and method in _WRITES and row["subresource"] not in ("exec", "attach", "portforward"):
            limits.append("the audit level has no body: it must be added")
        if method == "PATCH":
            headers["Content-Type"], limit = _patch_type(row["request_uri"] or "", row["body"] or "")
            limits += [limit] if limit else []
        url = f"https://${{APISERVER}}{row['request_uri']}"
        yield Repeat(method, url, headers, row["body"], notes, limits, audit_id, row["source"], row["line"])


def _patch_type(uri: str, body: str) -> tuple[str, str | None]:
    """The kind of a patch as far as an event shows it; what it leaves open is said."""
    if body.startswith("["):
        return "application/json-patch+json", None
    if "fieldManager=" in uri and '"apiVersion"' in body and '"kind"' in body:
        return "application/apply-patch+yaml", "which kind of patch it was is not in the event: server-side apply by its looks"
    kind = "strategic-merge-patch" if uri.startswith(_BUILT_IN) else "merge-patch"
    return f"application/{kind}+json", "which kind of patch it was is not in the event"


def _impersonation(row: Mapping[str, Any]) -> dict[str, str]:
    """The headers that made the request somebody else's; a header that comes several times is one with several lines."""
    if row["impersonated_username"] is None:
        return {}
    found = {"Impersonate-User": row["impersonated_username"]}
    if row["impersonated_uid"]:
        found["Impersonate-Uid"] = row["impersonated_uid"]
    # what the apiserver adds itself is refused when it is asked for
    groups = [g for g in row["impersonated_groups"] or () if g not in ("system:authenticated", "system:unauthenticated")]
    if groups:
        found["Impersonate-Group"] = "\n".join(groups)
    # the apiserver unescapes these names (apiserver pkg/endpoints/filters/impersonation)
    extra = _map(row["impersonated_extra"])
    return found | {f"{_EXTRA}{quote(key, safe='')}": "\n".join(values) for key, values in extra.items()}


def _map(value: Any) -> dict[str, Any]:
    """Arrow maps reach Python as objects or as lists of key and value."""
    return dict(value) if isinstance(value, dict) else {pair["key"]: pair["value"] for pair in value or ()}


def _shell(request: Repeat) -> str:
    raw = hex_dump(request.body) if request.body else None
    body = request.body if raw is None else None
    method = "-I" if request.method == "HEAD" else f"-X {_quoted(request.method)}"
    parts = [f'curl {method} --cacert "$CACERT" -H "Authorization: Bearer $TOKEN"', *_header_options(request, body)]
    if body:
        # -d would read a file that a leading @ names
        parts.append(f"  {'--data-raw' if body.startswith('@') else '-d'} {_quoted(body)}")
    elif raw is not None:
        parts.append("  --data-binary @-")
    url = request.url.removeprefix("https://${APISERVER}")
    if re.search(r"[\[\]{}]", url):
        parts.append("  --globoff")
    parts.append(f'  --url "https://$APISERVER"{_quoted(url)}' if url != request.url else f"  --url {_quoted(url)}")
    command = " \\\n".join(parts)
    if raw is not None:
        command = f"printf %s {base64.b64encode(raw).decode()} | base64 -d | " + command
    return "\n".join([*(f"# {plain(note)}" for note in (*request.notes, *request.limits)), command])


def _header_options(request: Repeat, body: str | None) -> list[str]:
    headers = {k: v for k, v in request.headers.items() if k.lower() not in _LEFT_OUT and _HEADER_NAME.fullmatch(k)}
    if body and not any(k.lower() == "content-type" for k in headers):
        headers["Content-Type"] = "application/json"
    return [f"  -H {_quoted(f'{key}: {one}')}" for key, value in headers.items() for one in _lines(key, value)]


def _lines(key: str, value: str) -> list[str]:
    return value.split("\n") if key == "Impersonate-Group" or key.startswith(_EXTRA) else [value]


def _quoted(text: str) -> str:
    """One word of the shell; with control characters as escapes, which bash, zsh and ksh read between $'...'."""
    if plain(text) == text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if plain(c) == c else _escape(c) for c in escaped) + "'"


def _escape(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or "".join(f"\\x{b:02x}" for b in char.encode("utf-8", "replace"))
