"""resolve() says of a request what kube-apiserver says."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlens.requestinfo import RequestInfo, resolve

PEERS = Path(__file__).resolve().parents[2] / "shared" / "peers"


def shown(info: RequestInfo) -> str:
    """Write a result on one line: verb group/version namespace resource/name/subresource."""
    if not info.is_resource_request:
        return f"{info.verb} {info.path}"
    address = "/".join(filter(None, [info.resource, info.name, info.subresource]))
    return f"{info.verb} {info.api_group or 'core'}/{info.api_version} {info.namespace or '-'} {address}"


# The cases of TestGetAPIRequestInfo and TestGetNonAPIRequestInfo in requestinfo_test.go.
@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", "/api/v1/namespaces", "list core/v1 - namespaces"),
        ("GET", "/api/v1/namespaces/other", "get core/v1 other namespaces/other"),
        ("GET", "/api/v1/namespaces/other/pods", "list core/v1 other pods"),
        ("GET", "/api/v1/namespaces/other/pods/foo", "get core/v1 other pods/foo"),
        ("HEAD", "/api/v1/namespaces/other/pods/foo", "get core/v1 other pods/foo"),
        ("HEAD", "/api/v1/namespaces/other/pods", "list core/v1 other pods"),
        ("GET", "/api/v1/pods", "list core/v1 - pods"),
        ("GET", "/api/v1/namespaces/other/pods/foo/status", "get core/v1 other pods/foo/status"),
        ("GET", "/api/v1/namespaces/other/pods/foo/proxy/subpath", "get core/v1 other pods/foo/proxy"),
        ("GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy core/v1 other pods/foo"),
        ("GET", "/api/v1/proxy/namespaces/other/pods/foo/subpath/x", "proxy core/v1 other pods/foo"),
        ("GET", "/api/v1/watch/pods", "watch core/v1 - pods"),
        ("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch core/v1 other pods/foo"),
        ("PUT", "/api/v1/namespaces/other/finalize", "update core/v1 other namespaces/other/finalize"),
        ("PUT", "/api/v1/namespaces/other/status", "update core/v1 other namespaces/other/status"),
        ("PATCH", "/api/v1/namespaces/other/pods/foo", "patch core/v1 other pods/foo"),
        ("DELETE", "/api/v1/namespaces/other/pods/foo", "delete core/v1 other pods/foo"),
        ("POST", "/api/v1/namespaces/other/pods", "create core/v1 other pods"),
        ("DELETE", "/api/v1/nodes", "deletecollection core/v1 - nodes"),
        ("DELETE", "/api/v1/namespaces", "deletecollection core/v1 - namespaces"),
        ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection core/v1 other pods"),
        ("GET", "/apis/extensions/v1/namespaces/other/pods", "list extensions/v1 other pods"),
        ("GET", "/apis/batch/v1/job/foo/scale", "get batch/v1 - job/foo/scale"),
        ("GET", "/api/version/resource", "list core/version - resource"),
        ("OPTIONS", "/api/v1/pods", " core/v1 - pods"),
        ("get", "/api/v1/pods", " core/v1 - pods"),
        ("GET", "/", "get /"),
        ("GET", "", "get "),
        ("GET", "/api", "get /api"),
        ("GET", "/api/version/", "get /api/version/"),
        ("GET", "/apis/version/resource", "get /apis/version/resource"),
        ("GET", "/apis/group/version/", "get /apis/group/version/"),
        ("POST", "/badprefix/version/resource", "post /badprefix/version/resource"),
    ],
)
def test_a_path_and_a_method_decide_what_is_asked(method: str, url: str, expected: str) -> None:
    assert shown(resolve(method, url)) == expected


@pytest.mark.parametrize(
    ("query", "verb", "name"),
    [
        ("watch=true", "watch", ""),
        ("watch=1", "watch", ""),
        ("watch", "watch", ""),
        ("watch=", "watch", ""),
        ("watch=false", "list", ""),
        ("watch=FALSE", "list", ""),
        ("watch=0", "list", ""),
        ("watch=0&watch=1", "list", ""),
        ("w%61tch=1", "watch", ""),
        ("watch=%zz&watch=0", "list", ""),
        ("watch=1;limit=5", "list", ""),
        ("limit=5;continue=x&watch=1", "watch", ""),
        ("limit=500", "list", ""),
        ("fieldSelector=metadata.name%3Dfoo", "list", "foo"),
        ("fieldSelector=metadata.name==foo&watch=1", "watch", "foo"),
        ("fieldSelector=status.phase=x,metadata.name=foo", "list", "foo"),
        ("fieldSelector=metadata.name=foo&fieldSelector=metadata.name=bar", "list", "foo"),
        (r"fieldSelector=metadata.name=a\,b", "list", "a,b"),
        (r"fieldSelector=metadata.name=a\b", "list", ""),
        ("fieldSelector=metadata.name!=foo", "list", ""),
        ("fieldSelector=metadata.name=a%2Fb", "list", ""),
        ("fieldSelector=metadata.name=..", "list", ""),
        ("fieldSelector=metadata.name=name1,foo&watch=1", "watch", ""),
        ("fieldSelector=metadata.name=foo&limit=ten&watch=1", "watch", ""),
        ("fieldSelector=metadata.name=foo&timeoutSeconds=9223372036854775808", "list", ""),
        ("fieldSelector=metadata.name=foo&limit=" + "9" * 5000, "list", ""),
        ("fieldSelector=metadata.name=foo&limit=10x", "list", ""),
        ("fieldSelector=metadata.name=foo&limit=-9223372036854775808", "list", "foo"),
        ("fieldSelector=metadata.name=foo&limit=-9223372036854775809", "list", ""),
        ("fieldSelector=metadata.name=foo&limit=9223372036854775807", "list", "foo"),
        ("fieldSelector=metadata.name=foo&labelSelector=a+b", "list", ""),
        ("fieldSelector=metadata.name=foo&labelSelector=app=web,!old,t+in+(a,,b),in,n>3", "list", "foo"),
        ("fieldSelector=metadata.name=foo&labelSelector=example.com/a+notin+(),b!=", "list", "foo"),
        ("fieldSelector=metadata.name=foo&labelSelector=!a=b", "list", ""),
        ("fieldSelector=metadata.name=foo&labelSelector=a+in+(b+c)", "list", ""),
        ("fieldSelector=metadata.name=foo&labelSelector=a+in+(b", "list", ""),
        ("fieldSelector=metadata.name=foo&labelSelector=a,", "list", ""),
        ("fieldSelector=metadata.name=foo&labelSelector=a>b", "list", ""),
        # lengths of labels: apimachinery pkg/util/validation, 63 for a name and a value, 253 for a key's prefix
        (f"fieldSelector=metadata.name=foo&labelSelector=a={'v' * 63}", "list", "foo"),
        (f"fieldSelector=metadata.name=foo&labelSelector=a={'v' * 64}", "list", ""),
        (f"fieldSelector=metadata.name=foo&labelSelector={'k' * 63}", "list", "foo"),
        (f"fieldSelector=metadata.name=foo&labelSelector={'k' * 64}", "list", ""),
        (f"fieldSelector=metadata.name=foo&labelSelector={'p' * 253}/k", "list", "foo"),
        (f"fieldSelector=metadata.name=foo&labelSelector={'p' * 254}/k", "list", ""),
        ("fieldSelector=metadata.name=foo&labelSelector=-a", "list", ""),
    ],
)
def test_the_query_of_a_list_may_make_it_a_watch_or_name_one_object(query: str, verb: str, name: str) -> None:
    info = resolve("GET", f"/apis/group/version/resource?{query}")
    assert (info.verb, info.name, info.error) == (verb, name, None)


@pytest.mark.parametrize(
    "request_line",
    ["GET /api/v1/watch/pods", "GET /api/v1/pods/web", "DELETE /api/v1/pods", "POST /api/v1/pods", "LIST /x"],
)
def test_only_a_list_looks_at_its_query(request_line: str) -> None:
    method, path = request_line.split()
    assert resolve(method, f"{path}?fieldSelector=metadata.name=foo&watch=1") == resolve(method, path)


def test_an_escaped_slash_parts_the_path_like_any_other() -> None:
    info = resolve("GET", "/api/v1/namespaces/default/pods/x%2Fy%20z")
    assert info.path == "/api/v1/namespaces/default/pods/x/y z"
    assert info.parts == ("pods", "x", "y z")


def test_a_byte_that_is_not_utf8_is_replaced_on_its_own() -> None:
    assert resolve("GET", "/api/v1/nodes/%E2%82%41%C3%A9").name == "\ufffd\ufffdAé"


def test_an_empty_segment_stays_in_its_place() -> None:
    assert resolve("GET", "/api/v1/pods//log").parts == ("pods", "", "log")
    assert shown(resolve("GET", "/api/v1/pods//log")) == "list core/v1 - pods/log"


@pytest.mark.parametrize("url", ["https://10.0.0.1:6443/api/v1/nodes", "http:///api/v1/nodes", "//api/v1/nodes"])
def test_only_an_absolute_uri_has_a_host_to_cut_off(url: str) -> None:
    assert shown(resolve("GET", url)) == "list core/v1 - nodes"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("/api/v1/watch", "unable to determine kind and namespace from url, /api/v1/watch"),
        (
            "/apis/apps/v1/proxy/?limit=5",
            "unable to determine kind and namespace from url, /apis/apps/v1/proxy/?limit=5",
        ),
        ("/api/v1/pods/%zz", 'invalid URL escape "%zz"'),
        ("/api/v1/pods/%2", 'invalid URL escape "%2"'),
        ("/api/v1/pods/a\nb", "net/url: invalid control character in URL"),
        ("/api/v1/pods?a=\x00", "net/url: invalid control character in URL"),
        ("api/v1/pods", "invalid URI for request"),
        (":/api/v1/pods", "missing protocol scheme"),
    ],
)
def test_a_request_the_server_turns_away_says_why(url: str, error: str) -> None:
    info = resolve("GET", url)
    assert (info.error, info.verb, info.resource, info.parts) == (error, "get", "", ())
    assert info.is_resource_request == error.startswith("unable")


@given(
    st.text(max_size=8) | st.sampled_from(["GET", "DELETE", "CONNECT"]),
    st.text() | st.text(alphabet="/%2Fapisv1?&=;,\\watchfieldSelctor.nm!()<> \x00\ud800").map("/api/v1/pods?".__add__),
)
def test_resolve_never_raises_on_any_text(method: str, url: str) -> None:
    info = resolve(method, url)
    assert info.is_resource_request or not info.parts


def judgements() -> list[dict[str, Any]]:
    """Collect the requests kube-apiserver's own code has judged."""
    table = json.loads((PEERS / "k8s-tests" / "requestinfo.json").read_text(encoding="utf-8"))
    cases = [
        {**case["actual"], "method": case["method"], "url": case["url"]}
        for section, rows in table.items()
        if section != "_source"
        for case in rows
    ]
    with gzip.open(PEERS / "policy-random" / "requestinfo.jsonl.gz", "rt", encoding="utf-8") as lines:
        return cases + [json.loads(line) for line in lines]


@pytest.mark.skipif(not PEERS.is_dir(), reason="the judged requests are not here")
def test_resolve_agrees_with_every_judgement_of_the_apiserver() -> None:
    fields = [field for field in RequestInfo.__slots__ if field not in ("parts", "error")]
    columns = [re.sub("_(.)", lambda m: m[1].upper(), field) for field in fields]
    disagreements = [
        (case["method"], case["url"])
        for case in judgements()
        if (info := resolve(case["method"], case["url"]))
        and (
            [getattr(info, field) for field in fields] != [case[column] for column in columns]
            or info.parts != tuple(case["parts"] or ())
            or info.error != case.get("error")
        )
    ]
    assert disagreements == []
