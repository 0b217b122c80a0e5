"""A method and a URL become the verb, resource and name kube-apiserver gives the request.

The rules are those of RequestInfoFactory.NewRequestInfo in Kubernetes 1.36,
staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go, behind Go's own reading of a
request line (net/url ParseRequestURI). The API prefixes are kube-apiserver's: "api" without a
group, "apis" with one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import unquote_to_bytes

__all__ = ["RequestInfo", "resolve"]

_VERB_OF_METHOD = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What kube-apiserver believes a request is about; the names follow its own struct.

    `is_resource_request` is False for paths such as /healthz, whose verb is the method in lower case
    and whose other fields are empty. A resource request by an unmapped method (OPTIONS) has verb "".
    `parts` starts at the resource: ("pods", "web-1", "log"). `path` is percent-decoded.

    `error` is the message a request is turned away with before it can be audited: a URL net/url
    refuses (400), or /watch and /proxy with nothing behind them (500). The other fields then hold
    what was known by that moment.
    """

    is_resource_request: bool
    verb: str
    api_prefix: str = ""
    api_group: str = ""
    api_version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    path: str = ""
    error: str | None = None


def resolve(method: str, url: str) -> RequestInfo:
    """Resolve an HTTP method (as sent, so upper case) and a request URI; never raises.

    >>> info = resolve("GET", "/api/v1/namespaces/shop/pods?watch=true")
    >>> info.verb, info.namespace, info.resource
    ('watch', 'shop', 'pods')

    Bytes that are not UTF-8 become U+FFFD, one for each byte, as they do in an audit event.
    """
    path, _, query = url.partition("?")
    if not query:
        return _resolve_path(method, path)
    # isprintable() is the cheap test that nearly every query passes.
    if not query.isprintable() and _CONTROL.search(query):
        return RequestInfo(False, method.lower(), path=path, error=_CONTROL_MESSAGE)
    info = _resolve_path(method, path)
    if not info.is_resource_request:
        return info
    if info.error is not None:
        return replace(info, error=f"{info.error}?{query}")
    if info.verb == "list":
        watch, name = _list_options(query)
        if watch or name:
            return _resolve_path(method, path, watch, name)
    return info


# Cached by path alone: queries carry resource versions and timeouts and hardly ever repeat.
@lru_cache(maxsize=1 << 14)
def _resolve_path(method: str, target: str, watch: bool = False, selected_name: str = "") -> RequestInfo:
    """Resolve a target without its query; `watch` and `selected_name` are what a list's query says."""
    verb = method.lower()
    try:
        path = _decoded_path(method, target)
    except ValueError as refusal:
        return RequestInfo(False, verb, path=target, error=str(refusal))

    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return RequestInfo(False, verb, path=path)
    prefix, *parts = parts
    group = ""
    if prefix == "apis":
        if len(parts) < 3:
            return RequestInfo(False, verb, api_prefix=prefix, path=path)
        group, *parts = parts
    version, *parts = parts

    if parts[0] in ("watch", "proxy"):
        if len(parts) < 2:
            error = f"unable to determine kind and namespace from url, {target}"
            return RequestInfo(True, verb, prefix, group, version, path=path, error=error)
        verb, *parts = parts
    else:
        verb = _VERB_OF_METHOD.get(method, "")

    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        # status and finalize are the two subresources of a namespace; any other word is a resource in it.
        if len(parts) > 2 and parts[2] not in ("status", "finalize"):
            parts = parts[2:]

    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 and verb != "proxy" else ""
    if not name:
        if verb == "get":
            verb, name = ("watch" if watch else "list"), selected_name
        elif verb == "delete":
            verb = "deletecollection"
    return RequestInfo(True, verb, prefix, group, version, namespace, parts[0], subresource, name, tuple(parts), path)


# --- net/url -----------------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_MESSAGE = "net/url: invalid control character in URL"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_UNDECODED = re.compile(r"[\udc80-\udcff]")


def _decoded_path(method: str, target: str) -> str:
    """Return the path Go's server sees, or raise ValueError with net/url's message.

    The host of an absolute URI is cut off unread: it has no part in the result.
    """
    if _CONTROL.search(target):
        raise ValueError(_CONTROL_MESSAGE)
    if not target.startswith("/") and target not in ("", "*"):
        if method == "CONNECT":  # net/http readRequest: a bare authority, "CONNECT host:443"
            target = f"http://{target}"
        if target.startswith(":"):
            raise ValueError("missing protocol scheme")
        scheme = _SCHEME.match(target)
        if scheme is None:
            raise ValueError("invalid URI for request")
        target = target[scheme.end() :]
        if not target.startswith("/"):
            return ""  # an opaque URI such as mailto:x has no path
        if target.startswith("//"):
            slash = target.find("/", 2)
            target = target[slash:] if slash >= 0 else ""
    return _unescape(target)


def _unescape(text: str) -> str:
    """Percent-decode; unlike urllib, one malformed escape spoils the whole text (ValueError)."""
    if "%" not in text:
        return text
    if bad := _BAD_ESCAPE.search(text):
        raise ValueError(f'invalid URL escape "{bad[0]}"')
    raw = unquote_to_bytes(text.encode("utf-8", "surrogatepass"))
    # surrogateescape marks byte by byte, as Go replaces; "replace" would merge a cut-short sequence.
    return _UNDECODED.sub("\N{REPLACEMENT CHARACTER}", raw.decode("utf-8", "surrogateescape"))


def _query_values(query: str, wanted: frozenset[str]) -> dict[str, str]:
    """Return the first value of each wanted key, dropping the pairs url.Values drops."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        if ";" in pair:  # no longer a separator since Go 1.17: the pair is refused
            continue
        key, _, value = pair.partition("=")
        try:
            if "%" in key or "+" in key:
                key = _unescape(key.replace("+", " "))
            if key in wanted and key not in values:
                values[key] = _unescape(value.replace("+", " "))
        except ValueError:
            continue
    return values


# --- metav1.ListOptions ------------------------------------------------------------------------

_LIST_OPTIONS = frozenset({"watch", "fieldSelector", "labelSelector", "limit", "timeoutSeconds"})
# At most 19 digits behind the zeros: more do not fit, and int() raises at 5,000 of them.
_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})")
_FIELD_TERM = re.compile(r"(?:[^,\\]|\\.|\\\Z)+", re.DOTALL)
_FIELD_OPERATOR = re.compile(r"!=|==?")
_FIELD_VALUE = re.compile(r"(?:[^\\,=]|\\[\\,=])*")
_LABEL_TOKEN = re.compile(r"==|!=|[=!<>(),]|[^=!<>(), \t\r\n]+")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


def _list_options(query: str) -> tuple[bool, str]:
    """Return whether a list's query asks to watch, and the one name it selects ("" if none).

    Any `watch` but "0" and "false" is true, the empty one included
    (apimachinery/pkg/runtime/conversion.go). If another option cannot be decoded the name is
    dropped, while watch is read all the same. The alpha option shardSelector is not decoded here.
    """
    options = _query_values(query, _LIST_OPTIONS)
    watch = options.get("watch", "0").lower() not in ("0", "false")
    selector = options.get("fieldSelector")
    if selector is None:
        return watch, ""
    numbers = (options[key] for key in ("limit", "timeoutSeconds") if key in options)
    if not all(map(_is_int64, numbers)) or not _is_label_selector(options.get("labelSelector", "")):
        return watch, ""
    name = _exact_name(selector)
    # apimachinery/pkg/api/validation/path/name.go IsValidPathSegmentName
    if name in (".", "..") or "/" in name or "%" in name:
        return watch, ""
    return watch, name


def _is_int64(text: str) -> bool:
    """Say whether strconv.ParseInt(text, 10, 64) accepts the text."""
    number = _INTEGER.fullmatch(text)
    return number is not None and -(2**63) <= int(number[1] + number[2]) < 2**63


@lru_cache(maxsize=1 << 12)
def _exact_name(selector: str) -> str:
    """Return X where a field selector demands metadata.name=X, "" where it does not or cannot be read.

    apimachinery/pkg/fields/selector.go parseSelector and RequiresExactMatch: terms are taken in sorted
    order, the first match wins, and a backslash escapes comma, equals sign and itself in a value.
    """
    name: str | None = None
    for term in sorted(_FIELD_TERM.findall(selector)):
        operator = _FIELD_OPERATOR.search(term)
        if operator is None or not _FIELD_VALUE.fullmatch(term, operator.end()):
            return ""
        if name is None and operator[0] != "!=" and term[: operator.start()] == "metadata.name":
            name = re.sub(r"\\(.)", r"\1", term[operator.end() :])
    return name or ""


def _is_label_selector(text: str) -> bool:
    """Say whether apimachinery/pkg/labels/selector.go Parse accepts the text.

    `app=web,tier in (a,b),!old,size>3`; the words in and notin may also be keys and values.
    """
    tokens: list[str] = [*_LABEL_TOKEN.findall(text), ""]  # "" ends the text
    at = 0
    if tokens == [""]:
        return True
    while True:
        negated = tokens[at] == "!"
        at += negated
        if not _is_label_key(tokens[at]):
            return False
        operator = tokens[at + 1]
        at += 1
        if operator not in ("", ","):
            if negated:
                return False
            at = _after_label_values(tokens, at + 1, operator)
            if at < 0:
                return False
        if tokens[at] != ",":
            return tokens[at] == ""
        at += 1


def _after_label_values(tokens: list[str], at: int, operator: str) -> int:
    """Return the index behind an operator's values, -1 if the values are not ones it takes."""
    token = tokens[at]
    if operator in ("=", "==", "!="):
        if token in ("", ","):
            return at
        return at + 1 if _is_label_value(token) else -1
    if operator in ("<", ">"):
        return at + 1 if _is_label_value(token) and _is_int64(token) else -1
    if operator not in ("in", "notin") or token != "(":
        return -1
    before = ","
    for index in range(at + 1, len(tokens)):
        token = tokens[index]
        if token == ")":
            return index + 1
        if token != "," and (before != "," or not _is_label_value(token)):
            return -1
        before = token
    return -1


def _is_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    if slash and not (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _LABEL_NAME.fullmatch(name) is not None


def _is_label_value(text: str) -> bool:
    return len(text) <= 63 and _LABEL_NAME.fullmatch(text) is not None
