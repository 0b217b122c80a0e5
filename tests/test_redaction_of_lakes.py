"""No value of a Secret and no token can be found in any column of any table of a lake, in any spelling of it."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import CAPTURES, auditlens, content, event, imported, needs_captures, rows, text, write

from auditlens import engine
from auditlens.forensics.evidence import Found, evidence
from auditlens.importing.transform import connection
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact
from auditlens.redact import Redactor


def stored_text(lake: Path) -> bytes:
    """Every string of every column of every Parquet file of the lake, committed or not, and all other files as they are."""
    found: list[str] = []
    for path in lake.rglob("*.parquet"):
        for column in pq.read_table(path).columns:
            found += (
                json.dumps(v, ensure_ascii=False, default=str) if not isinstance(v, str) else v
                for v in column.to_pylist()
                if v is not None
            )
    logs = (p.read_bytes() for p in lake.rglob("*") if p.is_file() and p.suffix != ".parquet")
    return "\n".join(found).encode() + b"\n".join(logs)


def spellings(value: bytes) -> Iterator[bytes]:
    """How a value may stand in a log: raw, base64 at any alignment, URL-safe, hex, escaped once and twice."""
    yield value
    for shift in range(3):  # the part that does not depend on what stands around it
        coded = base64.b64encode(b"\0" * shift + value).rstrip(b"=")
        yield coded[(shift * 8 + 5) // 6 : -1] if shift else coded[:-1]
    yield base64.urlsafe_b64encode(value).rstrip(b"=")[:-1]
    yield value.hex().encode()
    if (quoted := json.dumps(value.decode("utf-8", "replace"))[1:-1].encode()) != value:
        yield quoted
        yield quoted.replace(b"\\", b"\\\\")


def leaks(lake: Path, values: set[bytes]) -> set[bytes]:
    """Of these values, the ones that can be found."""
    stored = stored_text(lake)
    return {v for v in values if any(len(s) >= 8 and s in stored for s in spellings(v))}


def secrets_in(log: bytes) -> tuple[set[bytes], set[bytes]]:
    """(values of Secrets, tokens) of a log, by reading its JSON; not what it also holds outside Secrets."""
    values: set[bytes] = set()
    tokens: set[bytes] = set()
    outside: list[str] = []

    def walk(node: Any, secret: bool) -> None:
        if isinstance(node, dict):
            kind = node.get("kind")
            secret = secret or kind == "Secret"
            if kind in ("TokenRequest", "TokenReview"):
                tokens.update(t.encode() for part in ("spec", "status") if (t := (node.get(part) or {}).get("token")))
            for key, value in node.items():
                if secret and key in ("data", "stringData") and isinstance(value, dict):
                    for coded in filter(None, value.values()):
                        values.add(base64.b64decode(coded) if key == "data" else coded.encode())
                elif key.endswith("last-applied-configuration") and isinstance(value, str):
                    walk(json.loads(value), secret)
                else:
                    walk(value, secret)
        elif isinstance(node, list):
            for one in node:
                walk(one, secret)
        elif isinstance(node, str) and not secret:
            outside.append(node)

    for line in log.splitlines():
        one = json.loads(line)
        walk(one, (one.get("objectRef") or {}).get("resource") == "secrets")
    others = "\n".join(outside).encode()
    tokens |= set(re.findall(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", log))
    return {v for v in values if len(v) >= 8 and v not in others}, tokens


@needs_captures
def test_no_secret_and_no_token_of_a_whole_cluster_is_in_the_lake(tmp_path: Path) -> None:
    log = content(CAPTURES / "everything" / "audit.log.gz")
    values, tokens = secrets_in(log)
    assert len(values) >= 2
    assert len(tokens) >= 3
    everything = values | tokens | {v for t in tokens for v in t.split(b".")[1:]}
    imported(tmp_path / "lake", CAPTURES / "everything" / "audit.log.gz")
    assert not leaks(tmp_path / "lake", everything)
    compact(Lake(tmp_path / "lake"))
    assert not leaks(tmp_path / "lake", everything)
    assert rows(tmp_path / "lake", "select count(*) > 0 from audit where response_object like '%redacted:hmac:%'") == [(True,)]


@needs_captures
@pytest.mark.parametrize("shape", ["CRI", "list", "torn", "in a string"])
def test_no_secret_of_a_cluster_is_in_the_lake_whatever_the_log_is_wrapped_in(tmp_path: Path, shape: str) -> None:
    log = content(CAPTURES / "everything" / "audit.log.gz")
    values, tokens = secrets_in(log)
    lines = [ln for ln in log.splitlines() if b'Secret"' in ln or b"secrets" in ln or b"eyJ" in ln]
    match shape:
        case "CRI":  # in pieces, as containerd cuts them
            data = b"".join(
                b"2026-11-23T04:56:27Z stdout " + (b"F " if i + 9000 >= len(ln) else b"P ") + ln[i : i + 9000] + b"\n"
                for ln in lines for i in range(0, len(ln), 9000)
            )  # fmt: skip
        case "list":
            data = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[' + b",".join(lines) + b"]}\n"
        case "torn":  # a line at each of many points, and what follows as a line of its own
            data = b"".join(ln[:at] + b"\n" + ln[at:] + b"\n" for n, ln in enumerate(lines) for at in [(n * 977) % len(ln)])
        case _:
            data = b"".join(json.dumps({"message": ln.decode(), "host": "cp"}).encode() + b"\n" for ln in lines)
    report = imported(tmp_path / "lake", write(tmp_path / "a.log.gz", data))
    assert report.total()["records"] > len(lines) / 2
    assert not leaks(tmp_path / "lake", values | tokens)


PASSWORD = b"correct-horse-battery-staple"
CODED = base64.b64encode(PASSWORD).decode()
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
REF = {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"}
SECRET = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"password": CODED}}
PLACES: dict[str, dict[str, Any]] = {
    "data of a request": {"requestObject": SECRET},
    "data of a response": {"responseObject": SECRET},
    "stringData": {"requestObject": {"kind": "Secret", "apiVersion": "v1", "stringData": {"password": PASSWORD.decode()}}},
    "a list": {"verb": "list", "responseObject": {"kind": "SecretList", "apiVersion": "v1", "items": [{"data": {"p": CODED}}]}},
    "a List of anything": {"objectRef": None, "responseObject": {"kind": "List", "apiVersion": "v1", "items": [SECRET]}},
    "a merge patch": {"verb": "patch", "requestObject": {"data": {"password": CODED}}},
    "a JSON patch": {"verb": "patch", "requestObject": [{"op": "replace", "path": "/data/password", "value": CODED}]},
    "a JSON patch of all data": {"verb": "patch", "requestObject": [{"op": "add", "path": "/data", "value": {"p": CODED}}]},
    "last-applied": {
        "requestObject": {
            "kind": "Secret", "apiVersion": "v1",
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(SECRET)}},
        },
    },
    "a token request": {
        "objectRef": {"resource": "serviceaccounts", "subresource": "token", "name": "a", "namespace": "b"},
        "responseObject": {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": {"token": TOKEN}},
    },
    "a token review": {
        "objectRef": {"resource": "tokenreviews", "apiGroup": "authentication.k8s.io"},
        "requestObject": {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": TOKEN}},
    },
    "a URI": {"objectRef": None, "requestURI": f"/api/v1/namespaces/a/pods/p/proxy/x?access_token={TOKEN}"},
    "a command": {"requestURI": f"/api/v1/namespaces/a/pods/p/exec?command=curl&command=-H&command=Authorization%3A+Bearer+{TOKEN}"},
    "a message": {
        "responseStatus": {"code": 422, "message": f"data[password]: Invalid value: {json.dumps(PASSWORD.decode())}"}, "requestObject": SECRET,
    },
    "a field that is not known": {"novelty": SECRET},
    "an annotation": {"annotations": {"patch.webhook.admission.k8s.io/round_0_index_0": json.dumps({"patch": [
        {"op": "add", "path": "/data/p", "value": CODED}], "patchType": "JSONPatch"})}},
}  # fmt: skip


@pytest.mark.parametrize("place", sorted(PLACES))
@pytest.mark.parametrize("shape", ["line", "torn", "wrapped"])
def test_a_value_is_hidden_wherever_it_stands(tmp_path: Path, place: str, shape: str) -> None:
    line = text(event(1, **{"verb": "update", "objectRef": REF, **PLACES[place]}))
    match shape:
        case "torn":
            line = b"".join(line[:-at] + b"\n" for at in range(1, len(line) // 2, 60))
        case "wrapped":
            line = json.dumps({"log": line.decode(), "stream": "stdout", "time": "2026-11-23T12:00:00Z"}).encode() + b"\n"
    imported(tmp_path / "lake", write(tmp_path / "a.log", line))
    values = {PASSWORD, TOKEN.encode(), TOKEN.split(".")[1].encode()}
    assert not leaks(tmp_path / "lake", values)
    shown = "\n".join(str(one) for one in _evidence_of(tmp_path / "lake")).encode()
    assert b"redacted:hmac:" in shown or shape == "torn"
    assert not [value for value in values if any(s in shown for s in spellings(value))], "nor in the lines that evidence shows"


def _evidence_of(lake: Path) -> list[Found]:
    with contextlib.closing(engine.connect(Lake(lake))) as con:
        of = engine.query(con, "select source, line, item from audit union all select source, line, item from rejects", {})
    return evidence(Lake(lake), of)[0]


def test_rejects_keep_their_text_only_up_to_the_first_body(tmp_path: Path) -> None:
    broken = text(event(1, objectRef=REF, requestObject=SECRET)).replace(b'"verb":"get"', b'"verb":7')
    lone = json.dumps(SECRET).encode() + b"\n"
    imported(tmp_path / "lake", write(tmp_path / "a.log", broken + lone))
    kept = [t for (t,) in rows(tmp_path / "lake", "select text from rejects order by line")]
    assert len(kept) == 2
    assert kept[0].startswith('{"kind":"Event"')
    assert re.search(r"<\d+ bytes, redacted:hmac:[0-9a-f]{8}:[0-9a-f]{32}>", kept[0])
    assert not leaks(tmp_path / "lake", {PASSWORD})


def test_the_same_value_has_the_same_hash_in_data_string_data_and_the_last_applied_copy(tmp_path: Path) -> None:
    key = write(tmp_path / "key", b"0123456789abcdef0123456789abcdef")
    events = [event(n, objectRef=REF, **PLACES[p]) for n, p in enumerate(("data of a request", "stringData", "last-applied"))]
    imported(tmp_path / "lake", write(tmp_path / "a.log", events), redact_key=key)
    hashes = {
        h for (body,) in rows(tmp_path / "lake", "select request_object from audit") for h in re.findall(r"redacted:[\w:]+", body)
    }
    assert hashes == {Redactor(key.read_bytes()).token(PASSWORD)}
    other = write(tmp_path / "other", b"another key of at least 16 bytes")
    imported(tmp_path / "other-lake", write(tmp_path / "a.log", events), redact_key=other)
    again = rows(tmp_path / "other-lake", "select request_object from audit")
    assert not hashes & {h for (body,) in again for h in re.findall(r"redacted:[\w:]+", body)}


def test_keys_and_structure_stay_and_so_does_what_is_no_secret(tmp_path: Path) -> None:
    body = {**SECRET, "metadata": {"name": "db", "labels": {"app": "shop"}}, "type": "Opaque"}
    imported(tmp_path / "lake", write(tmp_path / "a.log", [event(1, objectRef=REF, requestObject=body)]))
    kept = json.loads(rows(tmp_path / "lake", "select request_object from audit")[0][0])
    assert kept["data"].keys() == {"password"}
    kept["data"] = body["data"]
    assert kept == body


def test_the_key_is_made_once_for_its_owner_only_and_never_in_the_lake(tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", [event(1, objectRef=REF, requestObject=SECRET)])
    for lake in ("one", "two"):
        done = auditlens("import", log, "--lake", tmp_path / lake, env={"XDG_CONFIG_HOME": str(tmp_path / "config")})
        assert done.returncode == 0, done.stderr
    (key,) = (tmp_path / "config").rglob("*.key")
    assert key.stat().st_mode & 0o777 == 0o600
    bodies = [rows(tmp_path / lake, "select request_object from audit") for lake in ("one", "two")]
    assert bodies[0] == bodies[1]
    for lake in ("one", "two"):
        raw = b"".join(p.read_bytes() for p in (tmp_path / lake).rglob("*") if p.is_file())
        assert key.read_bytes().strip() not in raw + stored_text(tmp_path / lake)
        assert rows(tmp_path / lake, "select redact_key_id from imports") == [(Redactor(key.read_bytes().strip()).key_id,)]


def test_without_redaction_everything_is_kept_and_the_import_says_so(tmp_path: Path) -> None:
    log = write(tmp_path / "a.log", [event(1, objectRef=REF, requestObject=SECRET)])
    assert auditlens("import", log, "--lake", tmp_path / "lake", "--redact", "none").returncode == 0
    assert json.loads(rows(tmp_path / "lake", "select request_object from audit")[0][0]) == SECRET
    assert rows(tmp_path / "lake", "select redact_key_id from imports") == [(None,)]


@pytest.mark.parametrize("key", [b"short", b""])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: bytes) -> None:
    log = write(tmp_path / "a.log", [event(1)])
    done = auditlens("import", log, "--lake", tmp_path / "lake", "--redact-key", write(tmp_path / "key", key))
    assert done.returncode == 1
    assert b"key" in done.stderr
    assert not (tmp_path / "lake").exists()


def test_the_search_finds_what_is_there() -> None:
    """The tests above mean nothing if `spellings` misses."""
    for around in (b"", b"x", b"xy", b"xyz"):
        coded = base64.b64encode(around + PASSWORD + b"more")
        assert any(s in coded for s in spellings(PASSWORD)), around
    assert gzip.decompress(gzip.compress(PASSWORD)) == PASSWORD


def test_what_an_import_spills_is_encrypted(tmp_path: Path) -> None:
    """More than the connection may hold: DuckDB writes it to disk, refuses nothing, and reads it again."""
    con = connection(tmp_path / "spill", 100, threads=1)
    con.execute(f"create temp table much as select repeat('{PASSWORD.decode()} ' || r, 20) as text from range(400_000) as t(r)")
    spilled = b"".join(path.read_bytes() for path in (tmp_path / "spill").iterdir())
    assert len(spilled) > 10 << 20
    assert PASSWORD not in spilled
    assert con.execute("select count(*) from much where starts_with(text, $1)", [PASSWORD.decode()]).fetchall() == [(400_000,)]


def test_a_webhooks_patch_of_a_secret_is_hidden_where_no_body_was_logged(tmp_path: Path) -> None:
    """A line that has no body and no suspect word is read fast: only its annotation's key says what it holds."""
    patch = {"patch": [{"op": "add", "path": "/data/p", "value": CODED}], "patchType": "JSONPatch"}
    notes = {"authorization.k8s.io/decision": "allow", "patch.webhook.admission.k8s.io/round_0_index_0": json.dumps(patch)}
    fast = {"auditID": "a0b0c0d0-0000-4000-8000-000000000001", "objectRef": REF, "responseStatus": {"metadata": {}, "code": 201}}
    log = [event(1, **fast, verb="create", level="Metadata", annotations=notes), event(2, objectRef=REF, verb="get")]
    imported(tmp_path / "lake", write(tmp_path / "a.log", log))
    assert not leaks(tmp_path / "lake", {PASSWORD})
    kept = rows(tmp_path / "lake", "select annotations from audit where verb = 'create'")[0][0]
    assert "redacted:hmac:" in str(kept) and "/data/p" in str(kept)


@pytest.mark.parametrize(
    "uri",
    [
        f"/api/v1/namespaces/x/pods/p/exec?command=curl&command=-H&command=Authorization%3A+Bearer+{PASSWORD.decode()}",
        f"/api/v1/namespaces/x/services/s/proxy/?access_token={PASSWORD.decode()}",
        f"/api/v1/namespaces/x/pods/p/exec?command=sh&command=Bearer+{PASSWORD.decode()}",
        f"/api/v1/namespaces/x/pods/p/exec?command=mysql&command=--password&command={PASSWORD.decode()}",
    ],
)
def test_credentials_in_the_uris_of_httplog_lines_are_hidden(tmp_path: Path, uri: str) -> None:
    line = f'I1101 10:00:00.000000       1 httplog.go:132] "HTTP" verb="POST" URI="{uri}" latency="1ms" audit-ID="a" resp=101\n'
    imported(tmp_path / "lake", write(tmp_path / "apiserver.log", line.encode() * 3))
    assert not leaks(tmp_path / "lake", {PASSWORD})
    assert rows(tmp_path / "lake", "select count(*) from httplog where uri like '%redacted%'") == [(3,)]
