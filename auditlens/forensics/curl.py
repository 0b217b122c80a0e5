"""A client's request as a curl line that runs: method, URL, headers and body whole, credentials left as placeholders.

kubectl's own curl lines (-v=9) have no body and masked credentials; a request that only the audit log knows is rebuilt
from its event.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditlens import engine
from auditlens.errors import UsageError
from auditlens.formats.entry import parse
from auditlens.formats.kubectl import Exchange, Exchanges, hex_dump, is_debug
from auditlens.formats.reader import Reader
from auditlens.lake import Lake
from auditlens.records import Chunk, Record

__all__ = ["curl"]

# the connection's own business, or replaced by a placeholder
_LEFT_OUT = frozenset({"authorization", "accept-encoding", "content-length", "host", "connection", "cookie"})
_METHODS = {
    "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE",
    "get": "GET", "list": "GET", "watch": "GET", "head": "HEAD",
}  # fmt: skip


@dataclass(slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    notes: list[str] = field(default_factory=list)


def curl(request: str, lake: Lake | str | Path) -> str:
    """Shell text that repeats a request, or each request of a file with a client's debug output.

    Args:
        request: an audit id, or the path of a file with the output of kubectl -v=6 and up.
        lake: where to look the audit id up: in `kubectl`, else in `audit`.

    Raises:
        UsageError: there is no such file, and the lake does not hold the request.
    """
    path = Path(request)
    found = list(_of_file(path) if path.is_file() else _of_lake(request, lake if isinstance(lake, Lake) else Lake(lake)))
    if not found:
        what = (
            "holds no requests: it must be the output of kubectl with -v=6 or more"
            if path.is_file()
            else "is in neither `kubectl` nor `audit`"
        )
        raise UsageError(f"{request}: {what}")
    return "\n\n".join(map(_shell, found)) + "\n"


def _of_file(path: Path) -> Iterator[_Request]:
    reader, clients = Reader(format="kubectl"), dict[int | None, Exchanges]()
    chunk = Chunk(path.read_bytes(), 1, 0)
    found: list[Exchange] = []
    for one in [*reader.feed(chunk), *reader.close()]:
        if isinstance(one, Record) and one.format != "audit":
            entry = parse(one.text)
            if is_debug(entry):
                found += clients.setdefault(entry.pid, Exchanges()).feed(entry, one.line)
    for client in clients.values():
        found += client.close()
    for exchange in found:
        if exchange.method and exchange.url:
            notes = [] if exchange.status is None else [f"answered {exchange.status}"]
            if exchange.request_body and exchange.truncated and exchange.response_body is None:
                notes.append(f"the client left {exchange.truncated} characters of the body out: repeat it with -v=10")
            yield _Request(exchange.method, exchange.url, exchange.request_headers, exchange.request_body, notes)


def _of_lake(audit_id: str, lake: Lake) -> Iterator[_Request]:
    if not lake.exists():
        return
    con = engine.connect(lake)
    rows = con.sql(
        "select method, url, status, request_headers, request_body, body_truncated, response_body from kubectl "
        "where audit_id = $id and method is not null and url is not null order by time, line", params={"id": audit_id},
    ).pl()  # fmt: skip
    for row in rows.to_dicts():
        notes = [f"answered {row['status']}"] if row["status"] else []
        yield _Request(row["method"], row["url"], _map(row["request_headers"]), row["request_body"], notes)
    if rows.height:
        return
    rows = con.sql(
        "select verb, request_uri, user_agent, code, max(request_object) over () as body, username from audit "
        "where audit_id = $id order by stage_time desc limit 1", params={"id": audit_id},
    ).pl()  # fmt: skip
    for row in rows.to_dicts():
        notes = [f"rebuilt from the audit event of {row['username']}", f"answered {row['code']}"]
        method = _METHODS.get(row["verb"], str(row["verb"]).upper())
        headers = {"Accept": "application/json"}
        if row["body"] is None and method in ("POST", "PUT", "PATCH"):
            notes.append("the audit level has no body: it must be added")
        if method == "PATCH":
            headers["Content-Type"] = (
                "application/json-patch+json" if str(row["body"]).startswith("[") else "application/merge-patch+json"
            )
            notes.append("which kind of patch it was is not in the event")
        yield _Request(method, f"https://${{APISERVER}}{row['request_uri']}", headers, row["body"], notes)


def _map(value: Any) -> dict[str, str]:
    """Arrow maps reach Python as objects or as lists of key and value."""
    return dict(value) if isinstance(value, dict) else {pair["key"]: pair["value"] for pair in value or ()}


def _shell(request: _Request) -> str:
    lines = [f"# {note}" for note in request.notes]
    parts = [f'curl -X {shlex.quote(request.method)} --cacert "$CACERT" -H "Authorization: Bearer $TOKEN"']
    headers = {k: v for k, v in request.headers.items() if k.lower() not in _LEFT_OUT}
    raw = hex_dump(request.body) if request.body else None
    body = request.body if raw is None else None
    if body and not any(k.lower() == "content-type" for k in headers):
        headers["Content-Type"] = "application/json"
    parts += [f"  -H {shlex.quote(f'{key}: {value}')}" for key, value in headers.items()]
    if body:
        if "redacted:hmac:" in body:
            lines.append("# values of the body were redacted at import")
        parts.append(f"  -d {shlex.quote(body)}")
    elif raw is not None:
        parts.append("  --data-binary @-")
    url = request.url.replace("https://${APISERVER}", "")
    parts.append(f'  "https://$APISERVER"{shlex.quote(url)}' if url != request.url else f"  {shlex.quote(url)}")
    command = " \\\n".join(parts)
    if raw is not None:
        command = f"printf %s {base64.b64encode(raw).decode()} | base64 -d | " + command
    return "\n".join([*lines, command])
