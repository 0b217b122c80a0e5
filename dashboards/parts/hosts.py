"""Which names the dashboard answers to, and whether it may listen where others reach it: no page of another site can read the lake.

A browser lets any site's script talk to an address of this machine once the site's own name resolves to it (DNS rebinding).
The request then carries the site's name as its Host. An address as Host cannot be forged that way, a name can: only those of
this machine and those that were given are answered. An Origin, where a browser sends one, must be the same place.
"""

from __future__ import annotations

import ipaddress
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

HOSTS = "AUDITLENS_HOSTS"  # names, separated by commas: set by `auditlens dashboard --host`
INSECURE = "AUDITLENS_INSECURE"  # set by `auditlens dashboard --insecure`

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


_UPLOAD = "/_stcore/upload_file/"
_MOST_INSIDE = 10_000
_inside: OrderedDict[str, None] = OrderedDict()  # sessions that were let in, the latest last


def let_in(inside: bool) -> None:
    """Note whether the session of this run may see the lake. Streamlit takes uploads of any session into the server's memory."""
    context = get_script_run_ctx()
    if context is None:
        return
    _inside.pop(context.session_id, None)
    if inside:
        _inside[context.session_id] = None
        while len(_inside) > _MOST_INSIDE:
            _inside.popitem(last=False)


def has_login() -> bool:
    """Whether secrets.toml asks for a login, or cannot be read: then nobody is let in."""
    if st.secrets.load_if_toml_exists():
        return "auth" in st.secrets
    return any(Path(f).exists() for f in st.get_option("secrets.files"))


def exposed(address: str | None) -> str | None:
    """Why this address may not be listened on, None when it may; without one, Streamlit listens on every address."""
    if _loopback(address) or os.environ.get(INSECURE) or has_login():
        return None
    return (
        f"{address or 'every address'} is not loopback: anyone who reaches it could read the lake and upload logs; "
        "add a login ([auth] in secrets.toml, see docs/dashboard.md), or use an SSH tunnel, or --insecure"
    )


def _loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return address == "localhost"


def named() -> frozenset[str]:
    """The names that were given: by --host, and the login's address."""
    given = [h.strip().lower() for h in os.environ.get(HOSTS, "").split(",") if h.strip()]
    if st.secrets.load_if_toml_exists() and "auth" in st.secrets:
        given.append((urlsplit(str(st.secrets["auth"].get("redirect_uri", ""))).hostname or "").lower())
    return frozenset(name for name in given if name)


def refusal(host: str | None, origin: str | None, names: frozenset[str]) -> str | None:
    """Why a request with these headers is not answered, None when it is."""
    place = _split(f"//{host}") if host else None
    if place is None:
        return "no Host, or none that can be read"
    name = place[0]
    if not (name in names or name == "localhost" or name.endswith(".localhost") or _address(name)):
        return f"{name} is no name of this dashboard; name it with --host"
    if origin is not None:
        there = _split(origin)
        if there is None or (there != place and there[0] not in names):
            return "the request comes from another site"
    return None


def _split(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.username is not None:
        return None
    return parts.hostname.lower().rstrip("."), port if port is not None else {"http": 80, "https": 443}.get(parts.scheme)


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class KnownHosts:
    """ASGI middleware: HTTP and WebSocket alike."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app, self._names = app, named()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or let it pass."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
        if len(hosts) > 1 or len(origins) > 1:
            why: str | None = "two Hosts or Origins"
        else:
            why = refusal(*(v[0].decode("latin-1") if v else None for v in (hosts, origins)), self._names)
        if why is None and _UPLOAD in scope["path"] and scope["path"].rpartition(_UPLOAD)[2].partition("/")[0] not in _inside:
            why = "uploads are for those who were let in"
        if why is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why[:100]})
        else:
            text = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": text})
            await send({"type": "http.response.body", "body": f"{why}\n".encode()})
