"""Nothing that passes here keeps a Secret's value, a token or a bearer header; equal values stay equal.

A value becomes `redacted:hmac:<key id>:<hash>`. The hash is of the decoded value, so `data` (base64),
`stringData` and the last-applied copy agree. Keys, structure and all else stay as they stood, numbers to the
letter. What cannot be read but may hold a value is replaced whole. An empty string and null stay: they hide
nothing. The rules are in redact.toml; the cheap test in front (`needs`) and the work use the same substrings.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from operator import eq
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from auditlens.errors import AuditlensError
from auditlens.records import Event

__all__ = ["NO_REDACTION", "OWN_ANNOTATIONS", "SUSPECT", "TEXT_SUSPECT", "URI_SUSPECT", "RedactKeyError", "Redactor", "needs"]

_RULES: Final = tomllib.loads(Path(__file__).with_name("redact.toml").read_text(encoding="utf-8"))
_Paths = list[tuple[list[str], bool]]  # (segments, in lower case; is the text base64?)
_Patterns = tuple[re.Pattern[str], ...]


class RedactKeyError(AuditlensError, ValueError):
    """The key for redaction cannot be read, made or used; the message says which file and what to do."""


class _Rule:
    """One [[object]] of redact.toml."""

    def __init__(self, kinds: list[str], group: str, fields: list[str], **more: Any) -> None:
        self.kinds, self.group, self.resource = frozenset(kinds), group, more.get("resource")
        self.uri = re.compile(more.get("uri", "(?!)"))
        self.paths: _Paths = [(f.lower().split("."), f in more.get("base64", ())) for f in fields]
        self.first = {path[0]: _below(self.paths, [path[0]]) for path, _ in self.paths}


def _below(paths: _Paths, steps: list[str]) -> _Paths:
    """The rest of the ways that lead through `steps`, or the end itself for steps beneath one."""
    return [(p[len(steps) :], b64) for p, b64 in paths if all(map(eq, p, steps))]


def _patterns(section: str, name: str) -> _Patterns:
    return tuple(re.compile(p.replace("NAMES", _NAMES), re.DOTALL) for p in _RULES[section][name])


_OBJECTS: Final = tuple(_Rule(**table) for table in _RULES["object"])
_COPIES: Final = frozenset(_RULES["annotations"]["copies"])
_PACKED: Final = frozenset(_RULES["annotations"]["packed"])
OWN_ANNOTATIONS: Final[tuple[str, ...]] = tuple(_RULES["annotations"]["own"])
_INHERIT: Final = frozenset({"items", "rows", "object", "patch"})  # more such objects, or a patch of one

SUSPECT: Final[tuple[str, ...]] = tuple(s for words in _RULES["suspect"].values() for s in words)
# The same for who knows objectRef.resource already; URI_SUSPECT too.
TEXT_SUSPECT: Final[tuple[str, ...]] = tuple(_RULES["suspect"]["manifest"] + _RULES["suspect"]["plain"])
_SUSPECT: Final = tuple(s.encode() for s in SUSPECT)
_MANIFEST, _, _PLAIN = (tuple(s.encode() for s in words) for words in _RULES["suspect"].values())
# An annotation's key may be escaped (`\/`), its last part never needs to be.
_WITHIN: Final = _MANIFEST + tuple(k.rpartition("/")[2].encode() for k in _COPIES | _PACKED)

_NAMES: Final = "|".join(_RULES["uri"]["parameters"]).replace("_", "[_-]")
# RE2 and re alike. `%` and a letter's code: no client encodes letters; `%25` is a second layer of encoding.
URI_SUSPECT: Final = (
    rf"""(?i)[.]eyj|%2eeyj|bearer|authorization[^.]|({_NAMES})[=:&"'\\+% ]|"""
    r"%(25|4[1-9a-f]|5[0-9a]|6[1-9a-f]|7[0-9a])"
)
_URI_SUSPECT: Final = re.compile(rf"{URI_SUSPECT}|/({'|'.join(o.resource for o in _OBJECTS if o.resource)})([/?]|$)")
_URI_FIELD: Final = re.compile(rb'"requestURI"\s*:\s*"((?:[^"\\]|\\.)*)"')
_URI_IN_TEXT: Final = re.compile(r"(?<=[\s\"'])/[^\s\"'\\]*\?(?:\\u0026|[^\s\"'\\])*")
_TOKEN: Final = re.compile(r"(?:…<\d+ bytes, )?redacted:hmac:[0-9a-f]{8}:[0-9a-f]{32}>?")

_ANYWHERE: Final = _patterns("words", "anywhere")
_COMMAND: Final = _ANYWHERE + _patterns("words", "command")
_TORN: Final = _patterns("words", "torn")
_QUOTES: Final = _patterns("messages", "quotes")
(_ANNOUNCED,) = _patterns("words", "announced")
(_BODY,), (_MIDST,), (_LOOKS,) = (_patterns("text", name) for name in ("body", "midst", "manifest"))
_STOP: Final = re.compile("|".join(_RULES["text"]["stop"]))

_DICT, _LIST = Decoder(dict[str, Raw]), Decoder(list[Raw])
_TEXTS, _STR = Decoder(dict[str, str | None]), Decoder(str)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_MAX_DEPTH: Final = 100


def needs(text: bytes) -> bool:
    """May this line hold anything to redact? Never False where `Redactor.event` would change something."""
    if _has(text, _SUSPECT):
        return True
    found = _URI_FIELD.search(text)
    if found is None:  # another shape of event, whose field for it has another name
        return _URI_SUSPECT.search(text.decode("utf-8", "replace")) is not None
    uri = found[1].decode("utf-8", "replace").replace("\\u0026", "&")
    return "\\" in uri or _URI_SUSPECT.search(uri) is not None  # other escapes are rare: not worth reading


class Redactor:
    """Replaces values by keyed hashes. One key, one `key_id`; tokens of different keys never meet."""

    def __init__(self, key: bytes) -> None:
        """Refuses a key shorter than 16 bytes: the hashes of guessable values would be guessable too."""
        if len(key) < 16:
            raise RedactKeyError(f"the key has {len(key)} bytes, needs 16 (make one: openssl rand -hex 32)")
        self._key = key
        self.key_id: str = hashlib.sha256(b"auditlens key id\0" + key).hexdigest()[:8]

    @classmethod
    def from_config(cls, key_file: Path | None = None, *, env: Mapping[str, str] = os.environ) -> Redactor:
        """The redactor of `key_file`, else of AUDITLENS_REDACT_KEY, else of the user's own key, made once.

        The variable holds the key, or the path of its file. White space around a key is not part of it. Two
        processes that start at once get the same new key. RedactKeyError: unreadable, empty or too short.
        """
        given = env.get("AUDITLENS_REDACT_KEY", "").strip()
        if key_file is None and given:
            if not given.startswith(("/", "./", "../", "~")) and not Path(given).is_file():
                return cls(given.encode())
            key_file = Path(given).expanduser()
        try:
            if key_file is None:
                config = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or Path.home()) / ".config")
                key_file = Path(config) / "auditlens" / "redact.key"
                _make_key(key_file)
            return cls(key_file.read_bytes().strip())
        except OSError as error:
            raise RedactKeyError(f"{key_file}: {error.strerror}; name a key with --redact-key") from error
        except RedactKeyError as error:
            raise RedactKeyError(f"{key_file}: {error}") from error

    def token(self, value: bytes) -> str:
        """`redacted:hmac:<key id>:<hash>`: the same for the same value under the same key."""
        return f"redacted:hmac:{self.key_id}:{hmac.digest(self._key, value, 'sha256').hex()[:32]}"

    def event(self, event: Event) -> Event:
        """The event without its values; the same object when there is nothing to redact."""
        return _Pass(self).event(event)

    def body(self, raw: bytes, resource: str = "") -> bytes:
        """One JSON body, of a request to the core resource `resource` if that is known; never raises."""
        return _Pass(self).body(raw, _find(resource, ""))

    def uri(self, uri: str) -> str:
        """The URI with tokens and passwords in its query, its path or its command= parameters replaced."""
        if not _URI_SUSPECT.search(uri):
            return uri
        path, mark, query = uri.partition("?")
        shown = unquote(path)
        clean = self._decoded(shown)
        if clean != shown:
            path = quote(clean, safe="/:@!$&'()*+,;=~")
        parts, announced = [], False
        for part in query.split("&"):
            name, equals, value = part.partition("=")
            shown = unquote_plus(value if equals else name)
            if equals and (announced or re.fullmatch(_NAMES, unquote_plus(name).lower())):
                clean = self.token(shown.encode()) if shown and not _TOKEN.fullmatch(shown) else shown
            else:
                clean = self._decoded(shown)
            announced = name == "command" and _ANNOUNCED.fullmatch(shown) is not None
            if clean != shown:
                coded = (quote if "%20" in part else quote_plus)(clean, safe=":/")
                part = f"{name}={coded}" if equals else coded
            parts.append(part)
        return path + mark + "&".join(parts)

    def text(self, text: bytes) -> str:
        """What may be kept of a reject or a cut event: its start up to the first body, then length and hash.

        Text without a body's name ends at the first thing that could hold a value, 512 characters at most.
        Text that begins inside a JSON string is not kept at all: it may be the rest of a value.
        """
        shown = text.decode("utf-8", "surrogateescape")
        body, stop = _BODY.search(shown), _STOP.search(shown)
        ends = [m.end() if ":" in m[0] else m.start() for m in (body, stop) if m]
        ends.append(len(shown) if body or not (stop or _LOOKS.search(shown)) else 512)
        end = 0 if _MIDST.match(shown) else min(ends)
        head, rest = (part.encode("utf-8", "surrogateescape") for part in (shown[:end], shown[end:]))
        kept = _URI_IN_TEXT.sub(self._uri_in_text, head.decode("utf-8", "replace"))
        kept = _hide(kept, _COMMAND + _TORN, self.token)
        return kept + self.whole(rest) if rest else kept

    def whole(self, raw: bytes) -> str:
        """What stands for something that is replaced whole: its length and its hash."""
        return f"…<{len(raw)} bytes, {self.token(raw)}>"

    def _uri_in_text(self, found: re.Match[str]) -> str:
        mark = "\\u0026" if "\\u0026" in found[0] else "&"
        return self.uri(found[0].replace(mark, "&")).replace("&", mark)

    def _decoded(self, text: str) -> str:
        text = _hide(text, _COMMAND, self.token)
        if "%" in text and (clean := _hide(inner := unquote(text), _COMMAND, self.token)) != inner:
            return clean
        return text


class _Keep(Redactor):
    """Same interface, nothing redacted."""

    def __init__(self) -> None:
        self.key_id = ""

    def token(self, value: bytes) -> str:
        return value.decode("utf-8", "replace")

    def event(self, event: Event) -> Event:
        return event

    def body(self, raw: bytes, resource: str = "") -> bytes:
        return raw

    def uri(self, uri: str) -> str:
        return uri

    def text(self, text: bytes) -> str:
        return text.decode("utf-8", "replace")


NO_REDACTION: Final[Redactor] = _Keep()


class _Pass:
    """The work on one event. Remembers the values it hid, for the messages that quote them."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor, self.token = redactor, redactor.token
        self.seen: dict[str, str] = {}
        self.known: set[str] = set()  # names that may happen to be values as well: the event shows them anyway

    def event(self, event: Event) -> Event:
        ref, uri, rule = event.head.get("objectRef"), event.head.get("requestURI"), None
        if isinstance(ref, dict) and ref.get("resource"):
            rule = _find(ref["resource"], ref.get("apiGroup") or "")
        elif isinstance(uri, str):
            rule = next((rule for rule in _OBJECTS if rule.uri.search(uri)), None)
        for names in (ref, event.head.get("user")):
            self.known.update(map(str, names.values()) if isinstance(names, dict) else ())
        request = self.body(event.request_object, rule) if event.request_object else event.request_object
        response = self.body(event.response_object, rule) if event.response_object else event.response_object
        extra = event.extra
        if extra and (new := self.body(old := encode(extra), rule)) != old:
            read = msgspec.json.decode(new)
            extra = read if isinstance(read, dict) else dict.fromkeys(extra, read)
        head = self.head(event.head, rule)
        new_event = replace(event, head=head, request_object=request, response_object=response, extra=extra)
        return event if new_event == event else new_event

    def head(self, head: dict[str, Any], rule: _Rule | None) -> dict[str, Any]:
        uri = head.get("requestURI")
        clean = self.redactor.uri(uri) if isinstance(uri, str) else uri
        if clean == uri and not (rule or self.seen or _has(encode(head), _SUSPECT)):
            return head
        new = {**head, "requestURI": clean} if clean != uri else dict(head)
        if isinstance(notes := head.get("annotations"), dict):
            new["annotations"] = {k: self.note(k, v, rule) for k, v in notes.items()}
        if (rule or self.seen) and "responseStatus" in head:
            new["responseStatus"] = self.strings(head["responseStatus"], self.quoted)
        return dict(self.strings(new, lambda s: _hide(s, _ANYWHERE, self.token)))

    def note(self, key: str, value: Any, rule: _Rule | None) -> Any:
        """An audit annotation: JSON patches of webhooks, and what webhooks and policies chose to say."""
        if not isinstance(value, str) or key.startswith(OWN_ANNOTATIONS):
            return value
        raw = encode(value)
        strict = rule is not None and key.startswith(tuple(_RULES["annotations"]["patches"]))
        if strict or _has(raw, _MANIFEST):
            value = _STR.decode(self.string(raw, rule, strict, 0))
        return self.quoted(value) if rule or self.seen else value

    def strings(self, value: Any, change: Callable[[str], str]) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, dict):
            return {change(k): self.strings(v, change) for k, v in value.items()}
        return [self.strings(v, change) for v in value] if isinstance(value, list) else value

    def quoted(self, message: str) -> str:
        for pattern in _QUOTES:
            message = pattern.sub(lambda m: m[1] + self.token(m[2].encode()) + m[3], message)
        for value in sorted(self.seen, key=len, reverse=True):
            message = message.replace(value, self.seen[value])
        return message

    def body(self, raw: bytes, rule: _Rule | None) -> bytes:
        try:
            if rule or _has(raw, _MANIFEST):
                raw = self.value(raw, rule, rule is not None, 0)
            if _has(raw, _PLAIN):
                raw = _hide(raw.decode(), _ANYWHERE, self.token).encode()
        except _UNREADABLE:
            return encode(self.redactor.whole(raw))
        return raw

    def value(self, raw: bytes, rule: _Rule | None, own: bool, depth: int) -> bytes:
        """Any JSON value. `rule`: it is part of such an object; `own`: it is one, a list or a patch of it."""
        if not own and not _has(raw, _WITHIN if rule else _MANIFEST):
            return raw
        if depth > _MAX_DEPTH:
            raise RecursionError
        raw = raw.strip()
        match raw[:1]:
            case b'"':
                return self.leaf(raw, False) if own else self.string(raw, rule, False, depth)
            case b"[":
                items = [Raw(self.value(bytes(v), rule, own, depth + 1)) for v in _LIST.decode(raw)]
                return _same(raw, encode(items))
            case b"{":
                return self.object(raw, rule, own, depth)
        return self.leaf(raw, False) if own else raw

    def object(self, raw: bytes, rule: _Rule | None, own: bool, depth: int) -> bytes:
        fields = {k: bytes(v) for k, v in _DICT.decode(raw).items()}
        kind, version = _text(fields.get("kind")), _text(fields.get("apiVersion"))
        for named in _OBJECTS:
            if kind in named.kinds and (not version or version.rpartition("/")[0] == named.group):
                rule, own = named, True
        first = rule.first if rule and own else {}
        busy, new = _has(raw, _WITHIN), {}
        for key, value in fields.items():
            if below := first.get(key.lower()):
                value = self.field(value, below)
            elif key == "value" and "op" in fields:
                value = self.operation(_text(fields.get("path")), value, rule, own, depth)
            elif own and key in _INHERIT:
                value = self.value(value, rule, True, depth + 1)
            elif own and kind == "Status" and key in ("message", "details"):
                old = msgspec.json.decode(value)
                value = value if (said := self.strings(old, self.quoted)) == old else encode(said)
            elif busy:
                value = self.annotated(key, value, rule, depth)
            new[key] = Raw(value)
        return _same(raw, encode(new))

    def operation(self, path: str | None, value: bytes, rule: _Rule | None, own: bool, depth: int) -> bytes:
        """The value of one JSON patch operation at `path` (RFC 6902; RFC 6901 for `~1` and `~0`)."""
        steps = [s.replace("~1", "/").replace("~0", "~") for s in (path or "").split("/") if s]
        if own and not steps:
            return self.leaf(value, False) if path is None else self.value(value, rule, True, depth + 1)
        if below := _below(rule.paths if rule and own else [], [s.lower() for s in steps]):
            return self.field(value, below)
        return self.annotated(steps[-1] if steps else "", value, rule, depth)

    def annotated(self, key: str, raw: bytes, rule: _Rule | None, depth: int) -> bytes:
        if raw[:1] == b'"' and key in _COPIES and (rule or _has(raw, _MANIFEST)):
            return self.string(raw, rule, True, depth)
        if raw[:1] == b'"' and key in _PACKED and rule:
            return self.leaf(raw, False)
        return self.value(raw, rule, False, depth + 1)

    def string(self, raw: bytes, rule: _Rule | None, strict: bool, depth: int) -> bytes:
        """A string that may hold JSON. `strict`: it must, and be readable, or it goes as a whole."""
        text = _STR.decode(raw)
        body = text.strip()
        if body[:1] in ("{", "["):
            with suppress(*_UNREADABLE):
                old = body.encode()
                new = self.value(old, rule if strict else None, strict and rule is not None, depth + 1)
                return raw if new == old else encode(text.replace(body, new.decode(), 1))
        return self.leaf(raw, False) if strict or (_LOOKS.search(text) and _STOP.search(text)) else raw

    def field(self, raw: bytes, paths: _Paths) -> bytes:
        """What stands at a secret field, or above one: `paths` is the rest of the way."""
        ends = [base64 for steps, base64 in paths if not steps]
        if raw[:1] != b"{":
            return self.leaf(raw, any(ends))
        if ends:
            try:
                return encode({k: v and self.hide(v, ends[0], k) for k, v in _TEXTS.decode(raw).items()})
            except msgspec.ValidationError:  # something other than strings in it
                return encode({k: Raw(self.leaf(bytes(v), ends[0])) for k, v in _DICT.decode(raw).items()})
        fields = _DICT.decode(raw)
        below = {k: _below(paths, [k.lower()]) for k in fields}
        return encode({k: Raw(self.field(bytes(v), below[k])) if below[k] else v for k, v in fields.items()})

    def leaf(self, raw: bytes, base64: bool) -> bytes:
        if raw == b"null":
            return raw
        text = _STR.decode(raw) if raw[:1] == b'"' else _compact(raw).decode()
        return encode(self.hide(text, base64))

    def hide(self, text: str, base64: bool, key: str = "") -> str:
        if not text or _TOKEN.fullmatch(text) or (key == "$patch" and text in ("delete", "replace", "merge")):
            return text
        value = text.encode()
        if base64:
            with suppress(ValueError):  # as the server decodes it: line breaks are skipped, all else is an error
                value = binascii.a2b_base64(value.translate(None, b"\r\n"), strict_mode=True)
        token = self.token(value)
        if len(text) <= 4096 and len(self.seen) < 1000:
            for shown in {text, value.decode("utf-8", "replace")} - self.known:
                if len(shown) >= 6:  # shorter ones are words of any message
                    self.seen[shown] = token
        return token


def _find(resource: str, group: str) -> _Rule | None:
    return next((rule for rule in _OBJECTS if (rule.resource, rule.group) == (resource, group)), None)


def _same(old: bytes, new: bytes) -> bytes:
    """`old` where only white space differs; not where it repeats a key: its first value was not looked at."""
    return old if new == old or (b"redacted:hmac:" not in new and _compact(old) == _compact(new)) else new


def _compact(raw: bytes) -> bytes:
    return msgspec.json.format(raw, indent=-1)


def _has(text: bytes, words: tuple[bytes, ...]) -> bool:
    return any(map(text.__contains__, words))  # half the time of a generator, on every event


def _text(raw: bytes | None) -> str | None:
    return _STR.decode(raw) if raw and raw[:1] == b'"' else None


def _hide(text: str, patterns: _Patterns, token: Callable[[bytes], str]) -> str:
    for pattern in patterns:
        text = pattern.sub(lambda m: m[1] + token(m[2].encode()), text)
    return text


def _make_key(path: Path) -> None:
    """A new random key at `path`, for its owner only, unless one is there; whole or not there at all."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, secrets.token_hex(32).encode() + b"\n")
    os.fsync(file)
    os.close(file)
    with suppress(FileExistsError):  # another process was first; its key is then the key
        os.link(draft, path)
    draft.unlink()
