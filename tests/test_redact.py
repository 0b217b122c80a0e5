"""Redaction: no value comes through, in any shape it can stand in, and the rest of the event stays as it was."""

from __future__ import annotations

import base64
import gzip
import json
import multiprocessing
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from auditlens import redact
from auditlens.records import Event
from auditlens.redact import NO_REDACTION, RedactKeyError, Redactor, needs, rules

SHARED = Path(__file__).resolve().parents[2] / "shared"
R = Redactor(b"k" * 32)
TOKEN = re.compile(r"redacted:hmac:[0-9a-f]{8}:[0-9a-f]{32}")
LAST = "kubectl.kubernetes.io/last-applied-configuration"
VALUE = "correct horse <battery> & \u2028 staple"
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwczovL2sifQ.c2lnbmF0dXJlX18-MTIz"
HIDDEN = R.token(VALUE.encode())
HIDDEN_JWT = R.token(JWT.encode())


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def dump(value: Any) -> str:
    """JSON as Go writes it: compact, with < > & escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def event(request: Any = None, response: Any = None, resource: str = "secrets", **head: Any) -> Event:
    ref = {"resource": resource, "namespace": "shop", "name": "db", "apiVersion": "v1"}
    return Event(
        head={"verb": "patch", "requestURI": "/api/v1/x", "objectRef": ref, "user": {"username": "eve"}} | head,
        request_object=None if request is None else dump(request).encode(),
        response_object=None if response is None else dump(response).encode(),
    )


def line(e: Event) -> bytes:
    """The event as a log line."""
    text = dump(e.head)[:-1]
    for name, body in (("requestObject", e.request_object), ("responseObject", e.response_object)):
        if body is not None:
            text += f',"{name}":{body.decode()}'
    return (text + "}").encode()


def out(e: Event) -> str:
    red = R.event(e)
    assert red is e or needs(line(e)), "the cheap test must see what the work changes"
    again = R.event(red)
    assert (again.head, again.request_object, again.response_object) == (
        red.head,
        red.request_object,
        red.response_object,
    ), "redacting twice is redacting once"
    return line(red).decode()


SECRET = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"password": b64(VALUE)}}
PLAIN = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": VALUE}}
POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "data": {"x": "stays as it is"}}


def applied(inner: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": {LAST: dump(inner) + "\n", "other": "stays"}}}


PATH = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"
ITEM = {k: v for k, v in SECRET.items() if k not in ("kind", "apiVersion")}
SHAPES: dict[str, tuple[str, Any]] = {
    "object": ("secrets", SECRET),
    "string data": ("secrets", PLAIN),
    "list without kinds in its items": ("secrets", {"kind": "SecretList", "apiVersion": "v1", "items": [ITEM, ITEM]}),
    "table row": ("secrets", {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "rows": [{"cells": ["db", 1], "object": SECRET}]}),
    "table row without a kind": ("secrets", {"kind": "Table", "rows": [{"cells": ["db"], "object": ITEM}]}),
    "mixed list": ("pods", {"kind": "List", "apiVersion": "v1", "items": [POD, SECRET, {"kind": "List", "items": [PLAIN]}]}),
    "merge patch": ("secrets", {"data": {"password": b64(VALUE), "gone": None}}),
    "strategic patch": ("secrets", {"stringData": {"$patch": "replace", "password": VALUE}}),
    "apply": ("secrets", PLAIN),
    "a field in another case": ("secrets", {"stringdata": {"password": VALUE}, "Data": {"x": b64(VALUE)}}),
    "json patch, one key": ("secrets", [{"op": "replace", "path": "/data/password", "value": b64(VALUE)}]),
    "json patch, the map": ("secrets", [{"op": "add", "path": "/data", "value": {"password": b64(VALUE)}}]),
    "json patch, plain": ("secrets", [{"op": "test", "path": "/stringData/a~1b", "value": VALUE}]),
    "json patch, the whole object": ("secrets", [{"op": "replace", "path": "", "value": SECRET}]),
    "json patch, annotations": ("secrets", [{"op": "add", "path": "/metadata/annotations", "value": {LAST: dump(PLAIN)}}]),
    "json patch, one annotation": ("secrets", [{"op": "add", "path": PATH, "value": dump(SECRET)}]),
    "json patch, metadata": ("secrets", [{"op": "add", "path": "/metadata", "value": applied(SECRET)["metadata"]}]),
    "json patch, another object's annotation": ("pods", [{"op": "add", "path": PATH, "value": dump(SECRET)}]),
    "last-applied": ("secrets", {"kind": "Secret", "apiVersion": "v1"} | applied(PLAIN)),
    "last-applied in a merge patch": ("secrets", applied(SECRET)),
    "last-applied of a list": ("pods", POD | applied({"kind": "List", "apiVersion": "v1", "items": [POD, SECRET]})),
    "last-applied of a last-applied": ("secrets", applied(SECRET | applied(PLAIN))),
    "annotation copied elsewhere": ("deployments", POD | {"spec": {"annotations": {"backup/manifest": dump(SECRET)}}}),
    "manifest inside another object": ("manifestworks", {"kind": "ManifestWork", "spec": {"manifests": [SECRET]}}),
    "no apiVersion": ("pods", {"kind": "Secret", "data": {"password": b64(VALUE)}}),
    "data is a string": ("secrets", {"data": VALUE}),
    "data holds lists": ("secrets", {"data": {"password": [VALUE]}}),
    "body is a string": ("secrets", VALUE),
    "repeated in a message": ("secrets", [SECRET, {"kind": "Status", "message": f"bad: {VALUE}", "details": {"x": [VALUE]}}]),
}  # fmt: skip


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_value_goes_in_every_shape(shape: str, side: str) -> None:
    resource, body = SHAPES[shape]
    text = out(event(**{side: body}, resource=resource))
    assert VALUE not in text and dump(VALUE)[1:-1] not in text and b64(VALUE) not in text
    assert TOKEN.search(text)
    if "holds lists" not in shape:
        assert set(TOKEN.findall(text)) == {HIDDEN}, "one value, one token, however it was written"


def test_structure_numbers_and_neighbours_stay_to_the_letter() -> None:
    body = (
        '{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db","generation":1.10,"x":1E400,"managedFields":'
        '[{"fieldsV1":{"f:data":{".":{},"f:password":{}}}}]},"data":{"password":"aHVudGVyMg==","e":"","n":null},'
        '"immutable":true,"type":"a\\u003cb"}'
    )
    e = Event(head={"objectRef": {"resource": "secrets"}}, request_object=body.encode())
    assert R.event(e).request_object == body.replace("aHVudGVyMg==", R.token(b"hunter2")).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": None}, {"data": None}),
        ({"data": {"k": None}}, {"data": {"k": None}}),
        ({"data": {"k": ""}}, {"data": {"k": ""}}),
        ({"data": {"$patch": "delete"}}, {"data": {"$patch": "delete"}}),
        ({"$patch": "delete", "metadata": {"name": "x"}}, {"$patch": "delete", "metadata": {"name": "x"}}),
        ({"data": {"k": 1.5, "l": None}}, {"data": {"k": R.token(b"1.5"), "l": None}}),
        ({"data": {"k": {"x": 1}}}, {"data": {"k": R.token(b'{"x":1}')}}),
        ({"data": {"k": "not base64!"}}, {"data": {"k": R.token(b"not base64!")}}),
        ({"data": {"k": "aHVu\r\ndGVyMg=="}}, {"data": {"k": R.token(b"hunter2")}}),
        ([{"op": "remove", "path": "/data/k"}], [{"op": "remove", "path": "/data/k"}]),
        ([{"op": "copy", "from": "/data/k", "path": "/data/l"}], [{"op": "copy", "from": "/data/k", "path": "/data/l"}]),
        ([{"op": "add", "path": "/metadata/labels/a", "value": "b"}],) * 2,
        (None, None),
    ],
)  # fmt: skip
def test_what_is_not_a_string(body: Any, expected: Any) -> None:
    e = Event(head={"objectRef": {"resource": "secrets"}}, request_object=json.dumps(body).encode())
    assert json.loads(R.event(e).request_object or b"null") == expected


def test_an_event_without_values_is_the_same_object() -> None:
    for e in (event(POD, POD, "pods"), event(resource="secrets"), event(POD | {"kind": "ConfigMap"}, resource="cm")):
        assert R.event(e) is e
    spaced = Event(head={"objectRef": {"resource": "secrets"}}, response_object=b'{ "kind" : "SecretList", "items": [ ] }')
    assert R.event(spaced) is spaced
    role = Event(head={}, response_object=b'{ "rules": [ {"kind": "Secret!"} ], "x": 1.10 }')
    assert R.event(role) is role


def test_a_body_that_cannot_be_read_goes_whole() -> None:
    bodies = [b'{"data":{"p":"' + VALUE.encode() + b'"', b"[" * 5000 + b"1" + b"]" * 5000, b'{"data":{"p":"\xff"}}', b"a: b"]
    for raw in bodies:
        body = R.event(Event(head={"objectRef": {"resource": "secrets"}}, request_object=raw)).request_object
        assert json.loads(body or b"") == f"…<{len(raw)} bytes, {R.token(raw)}>"
    deep = b'{"a":' * 200 + dump(SECRET).encode() + b"}" * 200
    assert b64(VALUE).encode() not in (R.event(Event(head={}, request_object=deep)).request_object or b"")


def test_a_repeated_key_does_not_smuggle_a_value() -> None:
    for raw in ('{"data":{"p":"%s"},"data":null}', '{"metadata":{},"data":{"p":"%s","p":"YQ=="},"data":{}}'):
        text = (raw % b64(VALUE)).encode()
        assert b64(VALUE).encode() not in (R.event(event() and Event(
            head={"objectRef": {"resource": "secrets"}}, request_object=text)).request_object or b"")  # fmt: skip
    twice = b'{"items":[' + dump(SECRET).encode() + b'],"items":[]}'
    assert b64(VALUE).encode() not in (R.event(Event(head={}, request_object=twice)).request_object or b"")


@pytest.mark.parametrize("text", ['{"kind":"Secret","data":{"p":"%s"', "kind: Secret\ndata:\n  p: %s\n"])
def test_a_copy_that_cannot_be_read_goes_whole(text: str) -> None:
    annotations = {LAST: text % b64(VALUE)}
    for resource in ("pods", "secrets"):
        got = out(event({"kind": "X", "metadata": {"annotations": annotations}}, resource=resource))
        assert b64(VALUE) not in got and R.token(annotations[LAST].encode()) in got
    config_map = {"kind": "ConfigMap", "apiVersion": "v1", "data": {"x.yaml": annotations[LAST], "y": "stays"}}
    got = out(event(config_map, resource="configmaps"))
    assert b64(VALUE) not in got and '"y":"stays"' in got


def test_packed_copies_on_a_secret_go_whole() -> None:
    note = {"metadata": {"annotations": {"objectset.rio.cattle.io/applied": "H4sIAAAA-packed"}}}
    assert R.token(b"H4sIAAAA-packed") in out(event(note))
    assert "H4sIAAAA-packed" in out(event(note, resource="pods"))


def test_other_groups_secrets_are_not_ours() -> None:
    e = event({"kind": "Secret", "apiVersion": "vault.example.com/v1", "data": {"path": "kv/team"}}, resource="pods")
    assert R.event(e) is e
    e = event({"data": {"path": "kv"}}, objectRef={"resource": "secrets", "apiGroup": "vault.example.com"})
    assert R.event(e) is e


def test_an_event_without_objectref_is_known_by_its_uri() -> None:
    for uri in ("/api/v1/namespaces/shop/secrets/db?fieldManager=x", "/api/v1/secrets", "/k8s/c1/api/v1/watch/secrets"):
        assert HIDDEN in out(event({"data": {"p": b64(VALUE)}}, objectRef=None, requestURI=uri))
    e = event({"data": {"p": b64(VALUE)}}, objectRef=None, requestURI="/apis/x/v1/secrets/db")
    assert R.event(e) is e


def test_tokens_of_requests_and_reviews() -> None:
    made = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"audiences": ["a"]},
            "status": {"token": JWT, "expirationTimestamp": "t"}}  # fmt: skip
    asked = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": JWT, "audiences": ["a"]}}
    opaque = {"kind": "TokenReview", "spec": {"token": "sha256~short"}, "status": {"error": "no: sha256~short"}}
    for body in (made, asked):
        text = out(event(body, resource="serviceaccounts"))
        assert HIDDEN_JWT in text and JWT not in text and '"audiences":["a"]' in text
    assert "sha256~short" in dump(opaque) and R.token(b"sha256~short") in out(event(opaque, resource="tokenreviews"))


def test_a_jwt_goes_wherever_it_stands_and_agrees_with_the_secret_that_holds_it() -> None:
    held = R.token(JWT.encode())
    e = event(
        {"kind": "Pod", "spec": {"env": [{"value": f"x {JWT} y"}]}}, resource="pods", userAgent=f"curl {JWT}",
        requestURI=f"/api/v1/namespaces/a/services/b/proxy/{JWT}?jwt={JWT}", annotations={"a.b/c": f'"{JWT}"'},
        user={"username": "u", "extra": {"x": [JWT]}}, responseStatus={"message": JWT}, objectRef={"name": JWT},
    )  # fmt: skip
    text = out(e)
    assert "eyJ" not in text and text.count(held) == 8
    assert held in out(event({"data": {"token": b64(JWT)}}))
    assert held in out(event({"kind": "Pod", "x": json.dumps({"a": json.dumps([JWT])})}, resource="pods"))


def test_bearer_headers_in_bodies() -> None:
    probe = {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "Bearer abcdef0123456789"}]}}
    assert f"Bearer {R.token(b'abcdef0123456789')}" in out(event({"kind": "Pod", "probe": probe}, resource="pods"))


URIS: list[tuple[str, list[str]]] = [
    ("/api?access_token=%s", ["a=b c&d", "short"]),
    ("/api/v1/namespaces/x/services/y/proxy/login?a=1&token=%s&b=2", ["a b"]),
    ("/api/v1/namespaces/x/pods/p/exec?command=curl&command=-H&command=Authorization%%3A+Bearer+%s&tty=false", ["0123abc"]),
    ("/x?command=curl&command=-H&command=Authorization%%3A%%20Basic%%20%s&command=u", [b64("eve:pw")]),
    ("/x?command=sh&command=-c&command=curl+-H+%%22authorization%%3A+bearer+%s%%22+https%%3A%%2F%%2Fx", ["tok_en-1.2"]),
    ("/x?command=curl&command=https%%3A%%2F%%2Fh%%2F%%3Faccess_token%%3D%s%%26b%%3Dc", ["abcdefgh"]),
    ("/x?command=kubectl&command=--token&command=%s&command=get", ["abc.def"]),
    ("/x?command=kubectl&command=--token%%3D%s", ["abc.def"]),
    ("/x?%%74oken=%s", ["abcdefgh"]),
    ("/x?command=%%7B%%22token%%22%%3A%%22%s%%22%%7D", ["abcdefgh"]),
    ("/x?q=1%%252Ftoken%%253D%s", ["abcdefgh"]),
    ("/x?command=X-Vault-Token%%3A+%s", ["hvs.CAESabc"]),
]  # fmt: skip


@pytest.mark.parametrize("coder", [quote_plus, lambda v: quote(v, safe="")])
@pytest.mark.parametrize(("uri", "values"), URIS)
def test_tokens_in_uris(uri: str, values: list[str], coder: Any) -> None:
    for value in values:
        full = uri % coder(value)
        red = R.uri(full)
        assert coder(value) not in red and R.token(value.encode()).split(":")[-1] in red
        assert red.count("&") == full.count("&") and R.uri(red) == red
        assert out(event(requestURI=full, resource="pods", objectRef=None))


@pytest.mark.parametrize(
    "uri",
    [
        "/api/v1/namespaces/kube-system/serviceaccounts/default/token",
        "/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Fservice-account-token",
        "/api/v1/pods?limit=500&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0",
        "/x?command=sh&command=-c&command=curl+-H+%22Authorization%3A+Bearer+%24TOKEN%22",
        "/x?command=sh&command=-c&command=vault+login+token%3D%24%28cat+%2Fvar%2Frun%2Ftoken%29",
        "/x?command=sed&command=s%2Fa%2525%2Fb%2F",
        "/x?token=",
    ],
)
def test_uris_that_stay(uri: str) -> None:
    assert R.uri(uri) == uri


def test_a_jwt_with_encoded_dots_goes() -> None:
    assert R.uri("/p/" + JWT.replace(".", "%2E")) == "/p/" + HIDDEN_JWT
    assert HIDDEN_JWT in R.uri("/p?x=" + JWT.replace(".", "%2e"))


def test_patches_of_webhooks_on_secrets() -> None:
    ops = [{"op": "add", "path": "/data/ca", "value": b64(VALUE)}, {"op": "add", "path": "/metadata/labels/a", "value": "b"}]
    note = {"configuration": "c", "webhook": "w", "patch": ops, "patchType": "JSONPatch"}
    key = "patch.webhook.admission.k8s.io/round_0_index_1"
    e = event(resource="secrets", annotations={key: dump(note), "authorization.k8s.io/decision": "allow"})
    text = out(e)
    assert HIDDEN in text and b64(VALUE) not in text
    ops[0]["value"] = HIDDEN
    assert json.loads(R.event(e).head["annotations"][key]) == note
    sidecar = note | {"patch": [{"op": "add", "path": "", "value": SECRET}]}
    assert HIDDEN in out(event(resource="pods", annotations={key: dump(sidecar)}))
    assert VALUE not in out(event(annotations={key: f'{{"patch": torn {VALUE}'}))


@pytest.mark.parametrize(
    "message",
    [
        "v1.Secret.Data: base64Codec: invalid input, error found in #10 byte of ...|sword\":\"VAL\"},|..., bigger context "
        "...|{\"data\":{\"password\":\"VAL\"},\"kind\":\"Secret\"|...",
        "failed to create typed patch object (shop/db; /v1, Kind=Secret): .stringData.p: expected string, got &{VAL}",
        ".stringData.p: expected string, got &value.valueUnstructured{Value:VAL}",
        'Secret "db" is invalid: data: Invalid value: "VAL": must be less',
    ],
)  # fmt: skip
def test_errors_that_quote_a_value(message: str) -> None:
    message = message.replace("VAL", "1234567890")
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "message": message, "code": 400}
    text = out(event(None, status, responseStatus={"message": message, "code": 400}))
    assert "1234567890" not in text and TOKEN.search(text) and '"code":400' in text


def test_a_message_that_repeats_the_requests_value_loses_it_and_a_plain_one_stays() -> None:
    e = event(SECRET, annotations={"policy.example/why": f"value {VALUE} is weak", "authorization.k8s.io/reason": "x"},
              responseStatus={"message": f"admission webhook denied: {VALUE}", "code": 403})  # fmt: skip
    assert VALUE not in out(e) and VALUE not in str(R.event(e).head)
    plain = 'secrets "db" is forbidden: User "eve" cannot get resource "secrets" in API group "" in the namespace "shop"'
    e = event(None, {"kind": "Status", "message": plain}, responseStatus={"message": plain})
    assert R.event(e) is e


def test_names_that_are_also_values_stay_in_the_head() -> None:
    status = {"kind": "Status", "message": "not in kube-system"}
    ref = {"resource": "secrets", "namespace": "kube-system"}
    e = event({"data": {"namespace": b64("kube-system")}}, status, objectRef=ref, responseStatus=status)
    assert R.event(e).head == e.head and R.event(e).response_object == e.response_object


def test_other_fields_of_old_events_are_searched_too() -> None:
    e = Event(head={}, extra={"request": SECRET, "n": 1})
    assert R.event(e).extra["request"]["data"] == {"password": HIDDEN} and R.event(e).extra["n"] == 1


def test_two_keys_never_agree_and_one_key_always_does() -> None:
    other = Redactor(b"o" * 32)
    assert R.token(b"x") == Redactor(b"k" * 32).token(b"x") != other.token(b"x")
    assert R.key_id != other.key_id and R.token(b"").startswith(f"redacted:hmac:{R.key_id}:")
    assert TOKEN.fullmatch(R.token(b"x"))


def test_no_redaction_changes_nothing() -> None:
    e = event(SECRET, SECRET, requestURI=f"/x?token={JWT}")
    assert NO_REDACTION.event(e) is e and NO_REDACTION.uri("/x?token=a") == "/x?token=a"
    assert NO_REDACTION.text(b"a\xff" + JWT.encode()) == "a\ufffd" + JWT and NO_REDACTION.body(b"{}") == b"{}"


# -- text of rejects and cut events ---------------------------------------------------------------


def test_a_cut_event_keeps_its_text_up_to_the_first_body() -> None:
    user = {"username": "eve", "extra": {"credential-id": ["X509SHA256=" + "3f" * 32]}}
    whole = line(event(SECRET, SECRET, user=user, userAgent="curl", requestURI=f"/x?token=abcdefgh\u0026b={JWT}"))
    kept, mark, _ = whole.partition(b'"requestObject":')
    for end in range(len(kept + mark) + 1, len(whole), 7):
        text = R.text(whole[:end])
        rest = whole[len(kept + mark) : end]
        assert text.endswith(f"…<{len(rest)} bytes, {R.token(rest)}>") and "3f3f3f" in text and '"objectRef"' in text
        assert "abcdefgh" not in text and "eyJ" not in text and b64(VALUE)[:6] not in text


def test_text_at_any_cut_and_from_any_start_shows_no_part_of_a_value() -> None:
    key = "patch.webhook.admission.k8s.io/round_0_index_1"
    sorted_line = json.dumps({
        "annotations": {key: dump({"patch": [{"op": "add", "path": "/data/p", "value": b64(VALUE)}]})},
        "apiVersion": "audit.k8s.io/v1", "kind": "Event", "requestObject": SECRET, "responseObject": SECRET | applied(SECRET),
    }).encode()  # fmt: skip
    for whole in (line(event(SECRET, SECRET | applied(SECRET))), sorted_line, json.dumps({"log": sorted_line.decode()}).encode()):
        secret = b64(VALUE)
        for cut in range(0, len(whole), 5):
            for text in (R.text(whole[:cut]), R.text(whole[cut:])):
                assert not any(secret[i : i + 8] in text for i in range(len(secret) - 8)), (cut, text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"plain words", "plain words"),
        (b"\xff oops", "\ufffd oops"),
        (b'[{"op":"add","path":"/data/p","value":"c2VjcmV0"}]', '[{"op":"add","path":"'),
        (b"apiVersion: v1\nkind: Secret\nstringData:\n  p: v\n", "apiVersion: v1\nkind: Secret\nstringData:"),
        (b"2020 AUDIT: id=\"1\" groups=\"\\\"a\\\",\\\"b\\\"\" uri=\"/x?token=abc\" response=\"200\"",
         f'2020 AUDIT: id="1" groups="\\"a\\",\\"b\\"" uri="/x?token={R.token(b"abc")}" response="200"'),
        (b'curl -H "Authorization: Bearer sesame1"', f'curl -H "Authorization: Bearer {R.token(b"sesame1")}"'),
        (b'curl -H "Authorization: Bearer <masked>"', 'curl -H "Authorization: Bearer <masked>"'),
        (b'I0101 Response Body: {"kind":"x"}', "I0101 "),
        (b"blob " + b"QUJD" * 30, "blob "),
    ],
)  # fmt: skip
def test_texts(text: bytes, kept: str) -> None:
    shown, mark, rest = R.text(text).partition("…<")
    assert shown == kept and (not mark or TOKEN.search(rest))


# -- the key --------------------------------------------------------------------------------------


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path / "c")}
    first = Redactor.from_config(env=env)
    path = tmp_path / "c" / "auditlens" / "redact.key"
    assert path.stat().st_mode & 0o777 == 0o600 and list(path.parent.iterdir()) == [path]
    assert Redactor.from_config(env=env).key_id == first.key_id
    assert Redactor.from_config(env={"HOME": str(tmp_path)}).key_id != first.key_id
    assert (tmp_path / ".config" / "auditlens" / "redact.key").exists()
    assert Redactor.from_config(path, env={}).key_id == first.key_id
    assert Redactor.from_config(env={"AUDITLENS_REDACT_KEY": path.read_text()}).key_id == first.key_id
    assert Redactor.from_config(env={"AUDITLENS_REDACT_KEY": str(path)} | env).key_id == first.key_id


def _key_id(folder: str) -> str:
    return Redactor.from_config(env={"XDG_CONFIG_HOME": folder}).key_id


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_key_id, [str(tmp_path)] * 8, chunksize=1))) == 1


def test_a_key_that_is_no_key_is_refused(tmp_path: Path) -> None:
    for name, content in (("empty", b"\n"), ("short", b"abc\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RedactKeyError, match=name):
            Redactor.from_config(tmp_path / name)
    with pytest.raises(ValueError, match="nowhere"):
        Redactor.from_config(tmp_path / "nowhere")
    with pytest.raises(RedactKeyError, match="nowhere"):
        Redactor.from_config(env={"AUDITLENS_REDACT_KEY": "/nowhere"})
    (tmp_path / "file").write_text("")
    with pytest.raises(RedactKeyError, match=r"redact\.key"):
        Redactor.from_config(env={"XDG_CONFIG_HOME": str(tmp_path / "file")})


# -- the rules file -------------------------------------------------------------------------------


def test_every_rule_is_behind_the_cheap_test() -> None:
    for rule in rules.OBJECTS:
        assert all(needs(f'{{"requestURI":"/","kind":"{kind}"}}'.encode()) for kind in rule.kinds)
        assert not rule.resource or needs(f'{{"objectRef":{{"resource":"{rule.resource}"}}}}'.encode())
    assert not needs(b'{"requestURI":"/api/v1/pods","verb":"list"}')
    assert needs(b'{"requestURI":"\\/x?access_token\\u003dabc"}')


def test_the_one_test_is_re2() -> None:
    for pattern in (redact.SUSPECT, redact.LOG_SUSPECT):
        assert not re.search(r"\(\?<?[=!]|\\\d|[*+?]\+", pattern)


# -- properties -----------------------------------------------------------------------------------

keys = st.from_regex(r"[a-z][-._a-z0-9]{0,10}", fullmatch=True)
values = st.text(st.characters(codec="utf-8"), min_size=8, max_size=40).map("\N{SECTION SIGN}".__add__)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[set[str], str, Any]:
    """Values, the request's resource, and a body that holds them somewhere."""
    plain = draw(st.dictionaries(keys, values, min_size=1, max_size=3))
    data = {k: b64(v) for k, v in plain.items()}
    secret = draw(st.sampled_from([
        {"kind": "Secret", "apiVersion": "v1", "data": data},
        {"kind": "Secret", "apiVersion": "v1", "stringData": plain},
        {"apiVersion": "v1", "kind": "Secret", "data": data, "stringData": plain, "metadata": {"name": "n"}},
    ]))  # fmt: skip
    body: Any = secret
    resource = draw(st.sampled_from(["secrets", "pods"]))
    if resource == "secrets" and draw(st.booleans()):
        body = draw(st.sampled_from([
            {"data": data}, {"stringData": plain}, {"data": data, "metadata": {"labels": {"a": "b"}}},
            [{"op": "add", "path": f"/data/{k}", "value": v} for k, v in data.items()],
            [{"op": "add", "path": "/stringData", "value": plain}],
        ]))  # fmt: skip
    for _ in range(draw(st.integers(0, 4))):
        body = draw(st.sampled_from([
            {"kind": "List", "apiVersion": "v1", "items": [body, {"kind": "Pod"}]},
            {"metadata": {"annotations": {LAST: dump(secret)}}, "spec": {"x": secret}},
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"annotations": {LAST: dump(secret)}}, "items": [secret]},
            {"kind": "Table", "rows": [{"cells": [1], "object": secret}]},
            {"kind": "X", "spec": [secret, {"deep": secret}]},
            [{"op": "add", "path": PATH, "value": dump(secret)}],
            {"kind": "X", "spec": {"text": dump({"items": [secret]})}},
        ]))  # fmt: skip
    return set(plain.values()), resource, body


def skeleton(value: Any) -> Any:
    """Keys and structure only; JSON inside of strings is part of the structure."""
    if isinstance(value, dict):
        return {k: skeleton(v) for k, v in value.items()}
    if isinstance(value, list):
        return [skeleton(v) for v in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return skeleton(json.loads(value))
        except ValueError:
            pass
    return type(value)


@settings(max_examples=150, deadline=None)
@given(shapes())
def test_no_random_secret_leaves_a_value_and_the_structure_stays(case: tuple[set[str], str, Any]) -> None:
    held, resource, body = case
    e = event(body, resource=resource)
    text = out(e)
    for value in held:
        forms = {value, b64(value), dump(value)[1:-1], json.dumps(value)[1:-1], dump(dump(value))[2:-2]}
        assert not any(form in text for form in forms)
        assert R.token(value.encode()) in text
    new = json.loads(R.event(e).request_object or b"")
    assert skeleton(new) == skeleton(body)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_raises_on_any_text(raw: bytes) -> None:
    R.text(raw)
    needs(raw)
    for resource in ("secrets", "pods"):
        e = Event(head={"objectRef": {"resource": resource}, "requestURI": raw.decode("utf-8", "replace")}, request_object=raw)
        R.event(e)


def test_time_is_linear_in_texts_made_to_be_slow() -> None:
    for part in ("eyJ", "eyJabcd.", ".eyJ", "Bearer ", "...|", "a/", "\n", "authorization: ", "token=", '\\"', "kind: "):
        text = (part * (400_000 // len(part)) + '.eyJ "Secret earer ').encode()
        started = time.process_time()
        R.text(text)
        R.body(encode(text.decode()), "pods")
        R.event(Event(head={"requestURI": "/x?command=Bearer+" + quote(text.decode())}))
        assert time.process_time() - started < 5, part


# -- real logs ------------------------------------------------------------------------------------

FIELDS = ("kind", "apiVersion")


def lines_of(path: Path) -> list[bytes]:
    with gzip.open(path) as file:
        return file.read().splitlines()


class _Raw(msgspec.Struct):
    requestObject: msgspec.Raw = msgspec.Raw(b"")
    responseObject: msgspec.Raw = msgspec.Raw(b"")


def parsed(text: bytes) -> Event:
    head = msgspec.json.decode(text)
    bodies = msgspec.json.decode(text, type=_Raw)
    head.pop("requestObject", None), head.pop("responseObject", None)
    return Event(head, bytes(bodies.requestObject) or None, bytes(bodies.responseObject) or None)


def walk(value: Any) -> Any:
    """Every JSON value in a value, JSON inside of strings too."""
    yield value
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return
        yield from walk(value)
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def found(doc: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Secret strings of one event, and every other string of it, found without the code under test."""
    ours, is_secret = set(), (doc.get("objectRef") or {}).get("resource") == "secrets"
    for value in walk(doc):
        if isinstance(value, dict) and (is_secret or value.get("kind") in ("Secret", "SecretList")):
            for name in ("data", "stringData"):
                ours |= {str(v) for v in (value.get(name) or {}).values()} if isinstance(value.get(name), dict) else set()
            if str(value.get("path", "")).startswith(("/data", "/stringData")) and "value" in value:
                ours |= {v for v in walk(value["value"]) if isinstance(v, str)}
        if isinstance(value, dict) and str(value.get("kind")).startswith("TokenRe"):
            ours |= {v["token"] for v in (value.get("status"), value.get("spec")) if isinstance(v, dict) and "token" in v}
        if isinstance(value, str):
            ours |= set(re.findall(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+", value))
    for value in list(ours):
        with suppress(ValueError):
            ours.add(base64.b64decode(value, validate=True).decode())
    return ours, {v for v in walk(doc) if isinstance(v, str) and v not in ours}


@pytest.mark.parametrize("name", ["everything", "full"])
def test_no_value_of_a_real_log_comes_through(name: str) -> None:
    path = SHARED / "captures" / name / "audit.log.gz"
    if not path.exists():
        pytest.skip("no captures here")
    raw = lines_of(path)
    ours: set[str] = set()
    others: set[str] = set()
    for text in raw:
        mine, rest = found(json.loads(text))
        ours |= mine
        others |= rest
    ours = {v for v in ours if len(v) >= 8}
    assert name == "full" or len(ours) > 20
    for text in raw:
        before = parsed(text)
        after = R.event(before)
        assert after is before or needs(text)
        got = line(after)
        left = {v for v in ours - others if v.encode() in got or dump(v)[1:-1].encode() in got}
        assert not left, (left, got[:500])
        assert skeleton(json.loads(got)) == skeleton(json.loads(line(before)))
