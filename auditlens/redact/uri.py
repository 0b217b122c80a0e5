"""Tokens and passwords in a URI: in its path, its query, and the command= parameters of exec."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from auditlens.redact import rules
from auditlens.redact.suspect import may_hold
from auditlens.redact.text import TOKEN, Token, arguments, hide, is_manifest, undone

# A URI with a query in the midst of a text.
_IN_TEXT: Final = re.compile(r"(?:(?<=[\s\"'=(,\[])|(?<=\burl:)|^)(?:https?:/)?/[^\s\"'\\]*(?:\?|%)(?:\\u0026|[^\s\"'\\])*")


def hidden(uri: str, token: Token) -> str:
    """The URI with the values in it replaced; the same text where there is none."""
    if "%" not in uri and "command=" not in uri and not may_hold(uri):
        return uri
    path, mark, query = uri.partition("?")
    clean = _decoded(shown := unquote(path), token)
    if clean != shown:
        path = quote(clean, safe="/:@!$&'()*+,;=~")
    if not mark:
        return path
    parts = query.split("&")
    commands = [n for n, part in enumerate(parts) if part.startswith("command=")]
    shown_commands = [unquote_plus(parts[n].partition("=")[2]) for n in commands]
    clean_commands = dict(zip(commands, zip(shown_commands, arguments(shown_commands, token), strict=True), strict=True))
    for n, part in enumerate(parts):
        name, equals, value = part.partition("=")
        shown = unquote_plus(value if equals else name)
        if n in clean_commands:
            shown, clean = clean_commands[n]
            clean = _decoded(clean, token)
        elif equals and rules.announces(undone(unquote_plus(name))):
            clean = token(shown.encode("utf-8", "surrogatepass")) if shown and not TOKEN.fullmatch(shown) else shown
        else:
            whole = _decoded(f"?{unquote_plus(name)}={shown}" if equals else shown, token)
            clean = whole.partition("=")[2] if equals else whole
        if clean != shown:
            coded = (quote if "%20" in part else quote_plus)(clean, safe=":/")
            parts[n] = f"{name}={coded}" if equals else coded
    return path + mark + "&".join(parts)


def in_text(text: str, clean: Callable[[str], str]) -> str:
    """The text with each URI in it made clean."""

    def one(found: re.Match[str]) -> str:
        mark = "\\u0026" if "\\u0026" in found[0] else "&"
        return clean(found[0].replace(mark, "&")).replace("&", mark)

    return _IN_TEXT.sub(one, text)


def _decoded(text: str, token: Token) -> str:
    text = hide(text, token)
    inner = undone(text)
    if is_manifest(inner):
        return token(inner.encode("utf-8", "surrogatepass"))
    if inner != text and (clean := hide(inner, token)) != inner:
        return clean
    return text
