"""`auditlens sink check`: one marked event goes the whole way, from the webhook's kubeconfig to an answer of the lake."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import secrets
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from auditlens.errors import AuditlensError, UsageError
from auditlens.quoting import quoted


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it: the event's id and the row's source, and the seconds until it was acknowledged and answerable."""

    audit_id: str
    source: str
    acknowledged_s: float
    answerable_s: float


def sink_check(kubeconfig: str | Path, lake: str | Path, *, timeout: float = 30.0) -> Checked:
    """Post an event of user `auditlens-check` as kube-apiserver would, and wait until a query finds it, once.

    Raises:
        UsageError: the kubeconfig cannot be read or has what kube-apiserver could not use.
        AuditlensError: the sink cannot be reached, refuses the event, or it is not answerable within `timeout` seconds.
    """
    server, user, cluster = _read(Path(kubeconfig))
    audit_id = f"auditlens-check-{secrets.token_hex(8)}"
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    event = {
        "level": "Metadata", "auditID": audit_id, "stage": "ResponseComplete", "requestURI": "/auditlens/check", "verb": "get",
        "user": {"username": "auditlens-check"}, "sourceIPs": ["127.0.0.1"], "userAgent": "auditlens-check",
        "responseStatus": {"metadata": {}, "code": 200}, "requestReceivedTimestamp": now, "stageTimestamp": now,
    }  # fmt: skip
    body = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [event]}) + "\n"
    started = time.monotonic()
    _post(server, user, cluster, body.encode(), timeout)
    acknowledged = time.monotonic() - started
    source = _wait(lake, audit_id, started + timeout)
    return Checked(audit_id, source, round(acknowledged, 3), round(time.monotonic() - started, 3))


def _read(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The server's URL, the user and the cluster of the current context; files are looked for beside the kubeconfig too."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = dict(next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"]))
        user = dict(next(u["user"] for u in config["users"] if u["name"] == context["user"]))
        server = str(cluster["server"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as e:
        raise UsageError(f"{path}: not a kubeconfig with a current context, cluster and user: {e!r}") from e
    for part, names in ((cluster, ("certificate-authority",)), (user, ("client-certificate", "client-key"))):
        for name in names:
            if name in part:
                part[name] = _beside(path, str(part[name]))
    return server, user, cluster


def _beside(kubeconfig: Path, name: str) -> Path:
    for found in (kubeconfig.parent / name, kubeconfig.parent / Path(name).name):
        if found.exists():
            return found
    raise UsageError(f"{kubeconfig}: {name} is neither there nor beside the kubeconfig")


def _post(server: str, user: dict[str, Any], cluster: dict[str, Any], body: bytes, timeout: float) -> None:
    url = urlsplit(server)
    headers = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "Go-http-client/1.1"}
    if "token" in user:
        headers["Authorization"] = f"Bearer {user['token']}"
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context(
            cafile=str(cluster["certificate-authority"]) if "certificate-authority" in cluster else None
        )
        if "client-certificate" in user:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)
    try:
        connection.request("POST", f"{url.path}?timeout=30s", body, headers)
        answer = connection.getresponse()
        said = answer.read(500).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as e:
        raise AuditlensError(f"{server}: {e}; is the sink running, and does its certificate name this host?") from e
    finally:
        connection.close()
    if answer.status != 200:
        raise AuditlensError(f"{server}: {answer.status} {said}")


def _wait(lake: str | Path, audit_id: str, until: float) -> str:
    from auditlens import engine

    while True:
        rows = engine.sql(str(lake), f"select source from audit where audit_id = {quoted(audit_id)}")
        if rows.height == 1:
            return str(rows["source"][0])
        if rows.height > 1:
            raise AuditlensError(f"the event is in the lake {rows.height} times")
        if time.monotonic() > until:
            raise AuditlensError("the event was acknowledged but is not in the lake yet; see /metrics and the sink's log")
        time.sleep(0.1)
