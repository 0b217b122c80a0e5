"""Nothing that passes here keeps a Secret's value, a token, a password or a private key; equal values stay equal.

A value becomes `redacted:hmac:<key id>:<hash>`. The hash is of the decoded value, so `data` (base64), `stringData` and
the last-applied copy agree. Keys, structure and all else stay as they stood, numbers to the letter. What cannot be read
but may hold a value is replaced whole. An empty string and null stay: they hide nothing.

The rules are in redact.toml. Every path of an import asks the same test, `SUSPECT` (suspect), whether a line may hold a
value; which one it is, body, uri and text decide.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from auditlens.records import Event
from auditlens.redact import rules
from auditlens.redact import uri as uris
from auditlens.redact.body import Pass
from auditlens.redact.key import Key, RedactKeyError, configured, is_configured
from auditlens.redact.rules import OWN_ANNOTATIONS, RESOURCES
from auditlens.redact.suspect import LOG_SUSPECT, SUSPECT, may_hold_in_log, needs
from auditlens.redact.text import TOKEN, header, hide, in_strings, kept

__all__ = [
    "LOG_SUSPECT",
    "NO_REDACTION",
    "OWN_ANNOTATIONS",
    "RESOURCES",
    "SUSPECT",
    "RedactKeyError",
    "Redactor",
    "needs",
]


class Redactor:
    """Replaces values by keyed hashes. One key, one `key_id`; tokens of different keys never meet."""

    def __init__(self, key: bytes) -> None:
        """Refuses a key shorter than 16 bytes: the hashes of guessable values would be guessable too."""
        self._key = Key(key)
        self.key_id: str = self._key.id

    @classmethod
    def from_config(cls, key_file: Path | None = None, *, env: Mapping[str, str] = os.environ) -> Redactor:
        """The redactor of `key_file`, else of AUDITLENS_REDACT_KEY, else of the user's own key, made once.

        The variable holds the key, or the path of its file. White space around a key is not part of it. Two
        processes that start at once get the same new key. RedactKeyError: unreadable, empty or too short.
        """
        return cls(configured(key_file, env))

    @classmethod
    def if_configured(cls, key_file: Path | None = None, *, env: Mapping[str, str] = os.environ) -> Redactor | None:
        """The redactor of from_config(), or None where that would have to make a key."""
        return cls.from_config(key_file, env=env) if is_configured(key_file, env) else None

    def derived(self, purpose: bytes, salt: bytes) -> bytes:
        """A key for another purpose that follows from this one's: equal for equal salts, and tells nothing of it."""
        return self._key.derived(purpose, salt)

    def token(self, value: bytes) -> str:
        """`redacted:hmac:<key id>:<hash>`: the same for the same value under the same key."""
        return self._key.token(value)

    def event(self, event: Event, *, suspect: bool = True) -> Event:
        """The event without its values; the same object when there is nothing to redact.

        Not `suspect`: SUSPECT is nowhere in the line it was read from, so only what is secret by its resource is.
        """
        return Pass(self.token).event(event, suspect)

    def body(self, raw: bytes, resource: str = "") -> bytes:
        """One JSON body, of a request to the core resource `resource` if that is known; never raises."""
        return Pass(self.token).body(raw, rules.rule_of(resource, ""))

    def uri(self, uri: str) -> str:
        """The URI with tokens and passwords in its query, its path or its command= parameters replaced."""
        return uris.hidden(uri, self.token)

    def text(self, text: bytes) -> str:
        """What may be kept of a reject or a cut event: its start up to the first body, then length and hash.

        Text without a body's name ends at the first thing that could hold a value, 512 characters at most.
        Text that begins inside a JSON string is not kept at all: it may be the rest of a value.
        """
        shown, rest = kept(text, self._shown)
        return shown + self.whole(rest) if rest else shown

    def text_of(self, text: bytes, events: Iterable[Event]) -> str:
        """What text() keeps of a line that holds these events, without the values of their bodies that it repeats before them."""
        found = Pass(self.token)
        for event in events:
            found.event(event)
        return found.repeated(self.text(text))

    def line(self, text: str) -> str:
        """Text of a log entry without the credentials in it; what may hold a whole object is cut there."""
        return self.text(text.encode("utf-8", "surrogateescape")) if may_hold_in_log(text) else text

    def field(self, name: str, value: str) -> str:
        """The value of a field, header or parameter of that name."""
        if not value or TOKEN.fullmatch(value):
            return value
        if rules.is_header(name):
            return header(name, value, self.token)
        return self.token(value.encode("utf-8", "surrogateescape")) if rules.announces(name) else self.line(value)

    def whole(self, raw: bytes) -> str:
        """What stands for something that is replaced whole: its length and its hash."""
        return f"…<{len(raw)} bytes, {self.token(raw)}>"

    def _shown(self, text: str) -> str:
        named = "secret" in text.lower()  # what the server says of one may quote it

        def clean(inner: str) -> str:
            inner = hide(uris.in_text(inner, self.uri), self.token)
            return Pass(self.token).quoted(inner) if named else inner

        text = clean(in_strings(text, clean))
        return rules.TORN.sub(lambda m: m[1] + self.token(m[2].encode()), text)


class _Keep(Redactor):
    """Same interface, nothing redacted."""

    def __init__(self) -> None:
        self.key_id = ""

    def token(self, value: bytes) -> str:
        return value.decode("utf-8", "replace")

    def event(self, event: Event, *, suspect: bool = True) -> Event:
        return event

    def body(self, raw: bytes, resource: str = "") -> bytes:
        return raw

    def uri(self, uri: str) -> str:
        return uri

    def text(self, text: bytes) -> str:
        return text.decode("utf-8", "replace")

    def text_of(self, text: bytes, events: Iterable[Event]) -> str:
        return self.text(text)

    def line(self, text: str) -> str:
        return text

    def field(self, name: str, value: str) -> str:
        return value


NO_REDACTION: Final[Redactor] = _Keep()
