"""Canaries: values that may not be kept, each another text, in every form, at every place, on every path of an import."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from canary_events import LAST, MORE_EVENTS, REF, command, pod
from canary_forms import MORE_FORMS, Form, b64, jwt
from conftest import event, text

from auditlens.formats.line import Sample


def canary(number: int) -> str:
    """A value that stands nowhere else: 24 letters and digits, the number in them."""
    return f"Cnry{number:06d}xQ7zKp9Lm3Rt5V"


SECRET = "apiVersion: v1\nkind: {kind}\nmetadata:\n  name: db\nstringData:\n  p: {c}\n"

# What a command, a script, a configuration or a message may hold.
FORMS: dict[str, Form] = {
    "flag": lambda c: f"tool --password {c} --verbose",
    "flag with =": lambda c: f"tool --db-password={c}",
    "token flag": lambda c: f"kubectl --token={c} get pods",
    "mysql -p": lambda c: f"mysql -uroot -p{c} -h db",
    "sshpass": lambda c: f"sshpass -p {c} ssh host",
    "redis-cli": lambda c: f"redis-cli -a {c} ping",
    "quoted": lambda c: f'password="{c} and more"',
    "single quotes": lambda c: f"passwd = '{c}'",
    "variable": lambda c: f"export PGPASSWORD={c} && psql",
    "api_key": lambda c: f"api_key={c}",
    "apiKey in JSON": lambda c: json.dumps({"apiKey": c, "n": 1}),
    "JSON in JSON": lambda c: json.dumps({"x": json.dumps({"client_secret": c})}),
    "Python's repr": lambda c: f"{{'access_token': '{c}', 'n': 1}}",
    "YAML": lambda c: f"host: db\npassword: {c} with words\nport: 1\n",
    "YAML in quotes": lambda c: f"db:\n  password: '{c}'\n",
    "YAML block": lambda c: f"password: |\n  {c}\nnext: 1\n",
    "properties": lambda c: f"spring.datasource.password={c}\n",
    "URL": lambda c: f"postgres://admin:{c}@db.example:5432/x",
    "URL without a user": lambda c: f"redis://:{c}@cache:6379",
    "DSN": lambda c: f"admin:{c}@tcp(db:3306)/x",
    "query": lambda c: f"https://x.example/cb?a=1&access_token={c}&b=2",
    "bearer header": lambda c: f"Authorization: Bearer {c}",
    "basic header": lambda c: f"Authorization: Basic {b64('admin:' + c)}",
    "basic alone": lambda c: f"Basic {b64('admin:' + c)}",
    "curl -u": lambda c: f"curl -u admin:{c} https://x.example",
    "vault header": lambda c: f"X-Vault-Token: {c}",
    "cookie": lambda c: f"Cookie: session={c}",
    "vault": lambda c: f"vault login hvs.{c}",
    "vault's old ones": lambda c: f"vault login s.{c}",
    "GitHub": lambda c: f"git clone https://ghp_{c}@github.com/a/b",
    "GitLab": lambda c: f"using glpat-{c} now",
    "Slack": lambda c: f"xoxb-123456789012-{c}",
    "AWS": lambda c: f"AKIAIOSFODNN7EXAMPLE {c}{'A1b2C3d4E5f6G7h8'}",
    "AWS variable": lambda c: f"AWS_SECRET_ACCESS_KEY={c}",
    "AWS configure": lambda c: f"aws configure set aws_secret_access_key {c}",
    "Azure": lambda c: f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={c}==;EndpointSuffix=x",
    "private key": lambda c: f"-----BEGIN RSA PRIVATE KEY-----\n{c}\n-----END RSA PRIVATE KEY-----\n",
    "JWT": jwt,
    "JWT in base64": lambda c: b64(jwt(c)),
    "docker config": lambda c: json.dumps({"auths": {"r.example": {"auth": b64("me:" + c)}}}),
    "kubeconfig": lambda c: f"users:\n- name: a\n  user:\n    token: {c}\n",
    "kubeconfig in base64": lambda c: b64(f"users:\n- name: a\n  user:\n    token: {c}\n"),
    "Secret": lambda c: json.dumps({"kind": "Secret", "apiVersion": "v1", "data": {"p": b64(c)}}),
    "Secret in YAML": lambda c: SECRET.format(kind="Secret", c=c),
    "Secret in quotes": lambda c: SECRET.format(kind="'Secret'", c=c),
    "Secret in double quotes": lambda c: SECRET.format(kind='"Secret"', c=c).replace("kind:", "kind :"),
    "Secret in base64": lambda c: b64(SECRET.format(kind="Secret", c=c)),
    "SQL": lambda c: f"CREATE USER a IDENTIFIED BY '{c}'",
    "literal": lambda c: f"kubectl create secret generic a --from-literal=p={c}",
}

CM = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c", "namespace": "shop"}}


# Where such a text may stand in an event.
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "ConfigMap": lambda t: {"verb": "update", "requestObject": CM | {"data": {"a.txt": t}}},
    "list": lambda t: {"verb": "list", "responseObject": {"kind": "ConfigMapList", "items": [CM | {"data": {"a": t}}]}},
    "command": lambda t: {"verb": "create", "responseObject": pod(command=["sh", "-c", t])},
    "arguments": lambda t: {"verb": "create", "responseObject": pod(args=t.split(" "))},
    "variable": lambda t: {"verb": "create", "requestObject": pod(env=[{"name": "CONFIG", "value": t}])},
    "annotation": lambda t: {"verb": "update", "requestObject": CM | {"metadata": {"annotations": {"a/b": t}}}},
    "last-applied": lambda t: {"requestObject": CM | {"metadata": {"annotations": {LAST: json.dumps(CM | {"data": {"a": t}})}}}},
    "merge patch": lambda t: {"verb": "patch", "requestObject": {"data": {"a": t}}},
    "JSON patch": lambda t: {"verb": "patch", "requestObject": [{"op": "add", "path": "/data/a", "value": t}]},
    "exec": lambda t: {"verb": "create", "requestURI": command(["sh", "-c", t])},
    "exec, arguments": lambda t: {"verb": "create", "requestURI": command(t.split(" "))},
    "exec, %20": lambda t: {"verb": "create", "requestURI": command(["sh", "-c", t], quote)},
    "user agent": lambda t: {"userAgent": f"curl/8 {t}"},
    "extra": lambda t: {"user": {"username": "eve", "groups": ["g"], "extra": {"x.example/note": [t]}}},
    "impersonated": lambda t: {"impersonatedUser": {"username": "bob", "extra": {"note": [t]}}},
    "message": lambda t: {"responseStatus": {"code": 400, "metadata": {}, "message": f"refused: {t}"}},
    "name": lambda t: {"objectRef": {"resource": "configmaps", "namespace": "shop", "name": t, "apiVersion": "v1"}},
    "webhook's note": lambda t: {"annotations": {"policy.example/why": t}},
    "webhook's patch": lambda t: {"annotations": {"patch.webhook.admission.k8s.io/round_0_index_0": json.dumps(
        {"configuration": "c", "webhook": "w", "patch": [{"op": "add", "path": "/data/a", "value": t}]})}},
    "unknown field": lambda t: {"novelty": {"deep": [t]}},
}  # fmt: skip

# Bodies and other fields that are secret by what they are.
EVENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "data": lambda c: {"objectRef": REF, "requestObject": {"kind": "Secret", "apiVersion": "v1", "data": {"p": b64(c)}}},
    "stringData": lambda c: {"objectRef": REF, "responseObject": {"kind": "Secret", "apiVersion": "v1", "stringData": {"p": c}}},
    "merge patch of a Secret": lambda c: {"objectRef": REF, "verb": "patch", "requestObject": {"data": {"p": b64(c)}}},
    "JSON patch of a Secret": lambda c: {"objectRef": REF, "verb": "patch", "requestObject": [
        {"op": "replace", "path": "/data/p", "value": b64(c)}]},
    "percent-encoded": lambda c: {"objectRef": None, "requestURI": "/api/v1/namespaces/a/%73ecrets/x",
                                  "requestObject": {"data": {"p": b64(c)}}},
    "webhook's patch of a Secret": lambda c: {"objectRef": REF, "verb": "create", "annotations": {
        "patch.webhook.admission.k8s.io/round_0_index_0": json.dumps({"patch": [{"op": "add", "path": "/data/p", "value": b64(c)}]})}},
    "token request": lambda c: {"objectRef": {"resource": "serviceaccounts", "subresource": "token", "name": "a"},
                                "responseObject": {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                                                   "status": {"token": c}}},
    "token review": lambda c: {"objectRef": {"resource": "tokenreviews", "apiGroup": "authentication.k8s.io"},
                               "requestObject": {"kind": "TokenReview", "spec": {"token": c}}},
    "OAuthClient": lambda c: {"objectRef": {"resource": "oauthclients", "apiGroup": "oauth.openshift.io", "name": "x"},
                              "verb": "patch", "requestObject": {"secret": c}},
    "authorizeToken": lambda c: {"responseObject": {"kind": "OAuthAccessToken", "apiVersion": "oauth.openshift.io/v1",
                                                    "authorizeToken": c}},
    "env": lambda c: {"responseObject": pod(env=[{"name": "DB_PASSWORD", "value": c}])},
    "env of a key": lambda c: {"responseObject": pod(env=[{"value": c, "name": "STRIPE_API_KEY"}])},
    "probe": lambda c: {"responseObject": pod(livenessProbe={"httpGet": {"httpHeaders": [
        {"name": "Authorization", "value": f"Bearer {c}"}]}})},
    "CRD": lambda c: {"requestObject": {"kind": "Database", "apiVersion": "x.example/v1", "spec": {"adminPassword": c}}},
    "CRD, patch": lambda c: {"verb": "patch", "requestObject": [{"op": "add", "path": "/spec/auth/token", "value": c}]},
    "extra of a token": lambda c: {"user": {"username": "eve", "groups": ["g"], "extra": {"x.example/access-token": [c]}}},
    "query": lambda c: {"objectRef": None, "requestURI": f"/api?access_token={c}"},
    "path": lambda c: {"requestURI": f"/api/v1/namespaces/a/services/b/proxy/x%3Fpassword%3D{c}"},
}  # fmt: skip


ALL: dict[str, Form] = FORMS | MORE_FORMS


def events(full: bool = False) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(what and where, the canary, the event): each form at each place, or at two, so that each place has many forms."""
    number = 0
    places = list(PLACES)
    for n, (form, made) in enumerate(ALL.items()):
        chosen = places if full else [places[n % len(places)], places[(n // len(places) + 3 * n + 7) % len(places)]]
        for place in dict.fromkeys(chosen):
            if "arguments" in place and is_whole(made("")):
                continue
            number += 1
            c = canary(number)
            yield f"{form} · {place}", c, placed(number, place, made(c))
    for name, build in (EVENTS | MORE_EVENTS).items():
        number += 1
        c = canary(number)
        yield name, c, _event(number, build(c))


def is_whole(shown: str) -> bool:
    """Whether it is a document, a script or a sentence, which nobody splits into arguments at its blanks."""
    return any(sign in shown for sign in ("\n", "{", "[", '"', "|", "'", "-----", ": ", " : "))


def placed(number: int, place: str, shown: str) -> dict[str, Any]:
    """An event with a text at one of PLACES."""
    return _event(number, PLACES[place](shown))


def _event(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    return event(number, **{"auditID": f"a{number:07d}-00a0-4000-8000-00000000000b", **fields})  # read fast, unless suspect


def odd_lines() -> Iterator[tuple[str, str, bytes]]:
    """Lines that JSON's own writers do not make: a doubled kind, escaped letters."""
    for n, (name, kind) in enumerate(
        (("doubled", '"kind":"Secret","kind":"ConfigMap"'), ("doubled back", '"kind":"ConfigMap","kind":"Secret"'),
         ("escaped", r'"kind":"\u0053ecret"'), ("escaped key", r'"\u006bind":"Secret"'))
    ):  # fmt: skip
        c = canary(900_000 + n)
        line = text(_event(900_000 + n, {"requestObject": {"x": "BODY"}})).decode()
        yield name, c, line.replace('"x":"BODY"', f'"apiVersion":"v1",{kind},"data":{{"p":"{b64(c)}"}}').encode()


_YAML_ID = re.compile(rb"(?m)^([ -]*)auditID: \S+$")
_AGENT = re.compile(rb"(?i)(user-?agent\W{1,8})([\w./-]+)")
_AUDIT_ID = re.compile(rb'((?:\\*|")")auditID\1\s*:\s*\1[\w-]+\1')


def seeded(sample: Sample, number: int) -> tuple[bytes, list[str]]:
    """A format's sample with canaries in each event that it holds, quoted as the event is, and in each text; and those canaries."""
    made: list[str] = []

    def another() -> bytes:
        made.append(canary(number + len(made)))
        return made[-1].encode()

    def event_of(found: re.Match[bytes]) -> bytes:
        q = found[1]
        secret = b"{%b:%b,%b:{%b:%b}}" % tuple(q + w + q for w in (b"kind", b"Secret", b"stringData", b"p", another()))
        return b"%b,%b:%b,%b:%b" % (
            found[0],
            q + b"userAgent" + q,
            q + b"x --password " + another() + q,
            q + b"requestObject" + q,
            secret,
        )

    source = _AGENT.sub(lambda m: m[0] + b" --password " + another(), sample.source)
    source = _YAML_ID.sub(lambda m: m[0] + b"\n" + b" " * len(m[1]) + b"requestURI: /x?token=" + another(), source)
    source = source.replace(b"?limit=5", b"?limit=5&access_token=" + another()) if b"?limit=5" in source else source
    source = _AUDIT_ID.sub(event_of, source)
    for wanted in sample.yields:
        if (said := str(wanted.get("text", "")).encode()) and said in source:
            source = source.replace(said, said + b" password=" + another())
    return source, made


def log_lines() -> Iterator[tuple[str, str, bytes]]:
    """Lines of the apiserver's own log and of kubectl -v."""
    number = 800_000
    head = "I1123 04:36:33.{:06d}       1 x.go:1] "
    for form, made in ALL.items():
        for place in ("message", "value", "httplog", "trace"):
            number += 1
            c = canary(number)
            shown = made(c)
            match place:
                case "message":
                    rest = shown.replace("\n", "\n\t")
                case "value":
                    rest = f'"Something happened" err={json.dumps(shown)}'
                case "httplog":
                    rest = f'"HTTP" verb="GET" URI="{command(["sh", "-c", shown])}" latency="1ms" userAgent={json.dumps(shown)} resp=200'
                case _:
                    rest = f'"Trace[12]: \\"Get\\" url:{command(["sh", "-c", shown])},user-agent:x (1ms):"'
            yield f"{form} · {place}", c, (head.format(number % 1_000_000) + rest + "\n").encode()
    c = canary(899_001)
    yield "lone patch", c, (head.format(1) + f'Request Body: {{"data":{{"p":"{b64(c)}"}}}}\n').encode()
    c = canary(899_002)
    numbers = ", ".join(map(hex, c.encode()))
    yield (
        "Go's dump",
        c,
        (
            head.format(2)
            + f'created &v1.Secret{{Data:map[string][]uint8{{"p":[]uint8{{{numbers}}}}}, StringData:map[string]string{{"q":"{c}"}}}}\n'
        ).encode(),
    )
    c = canary(899_003)
    yield "structured", c, (head.format(3) + f'"Connecting" password="{c}" user="a"\n').encode()
