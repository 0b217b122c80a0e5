"""The one test, for every path of an import: may this text hold a value that is not kept?

`SUSPECT` is asked by whoever has lines of a log, in one pass over each line however many alternatives it has (RE2, in
DuckDB and Arrow). `may_hold` is its quick form for texts in memory, where Python's own expressions would be slow.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from auditlens.redact import rules

# Blanks, the end of an argument and the start of the next, as they are, in JSON and in a URI.
_BLANK: Final = r"(?:\s|\\+[nrt]|\+|%20|%09|\\*\"[],\s]*\\*\"|\\*[\"']|&command=|\\+u0026command=)"
_LOOK_BACK: Final = re.compile(r"\(\?<![^()]*\)")  # which RE2 lacks
_HINTED: Final = _LOOK_BACK.sub("", f"{rules.NAMES}|{rules.HEADERS}")
_NAMED: Final = "|".join(
    (
        rf'(?:{_HINTED})s?\\*"\s*:\s*(?:\\*"|[\[0-9-])',  # a JSON key of a text, a number or a list
        rf"(?:{_HINTED})s?(?:\\*'|(?:%5c)*(?:%22|%27)|\\+u00..|\\*\",\s*\\*\"|(?:&|\\+u0026)command=)?(?:\s|\\+[nrt]|\+|%20)*(?:=|:|%3[ad])",
        rf"(?:^|[\s\"'+=]|%20)--?(?:[a-z0-9]+[-_])*(?:{_HINTED})(?:\\*[\"']|\s|\\+[nrt]|\+|%20|&|\\+u0026)",
        rf'(?:{"|".join(rules.PAIRS)})\\*"\s*:\s*\\*"[\w. -]*(?:{_HINTED})\\*"',
        rf'path\\*"\s*:\s*\\*"/[^"]*(?:{_HINTED})\\*"',  # of a JSON patch
        r"secret_access_key",
        rf"(?:{_HINTED})(?:[<>]|\\u003[ce]|\[[^\]\"]*\]: )",  # XML, an index
        rf"(?:<|\\u003c|%3c)[\w:-]*(?:{_HINTED})\s",
        rf"_header\s+[\w-]*(?:{_HINTED})\s",
        rf"(?:{_HINTED})(?:[ \t]|\\t)+[^\s\"\\]+(?:\\|\"|$)",  # a line of two words
        rf'(?:{"|".join(rules.PAIRS)})\\*"\s*:\s*\\*"[\w. -]*(?:{"|".join(rules.TOML["names"]["random"])})s?\\*"',
        rf"(?:{'|'.join(rules.PAIRS)})(?:\\*[\"'])?\s*[:=]\s*(?:\\*[\"'])?[\w.-]*(?:{_HINTED})(?:\\|[\"'\s]|%|$)",
        rf"(?:env|arg)(?:[ \t]|\\t)+\w*(?:{_HINTED})(?:[ \t]|\\t)",
        r"[?&]command=|\\u0026command=",  # of exec: they are few, and written in every way there is
    )
)
_HEADER: Final = rf"(?:^|[^/a-z])(?:{rules.HEADERS})(?:\\*[\"']|%22)?(?:\s|\+|%20)*(?:[:=,]\s*[^\s{{]|%3[ad])"


def _hint(rule: dict[str, Any]) -> str:
    own = rule.get("hint") or "|".join(map(re.escape, rules.listed(rule["needle"])))
    return "(?:" + own.replace("HEADER", _HEADER).replace("GAP", f"{_BLANK}+") + ")"


_HINTS: Final = "|".join(dict.fromkeys(map(_hint, rules.RULES)))

# Escapes of letters, which no server writes; percent codes of letters, and of a second layer of codes, which no client does;
# and what is deeper than the exact path can read (DuckDB would keep it, and whoever reads it later would fail).
_ODD: Final = r"\\u00(?:[4-7]|2[0-57-9a-f]|3[0-9abdf])|%(?:25|4[1-9a-f]|5[0-9a]|6[1-9a-f]|7[0-9a])|[}\]]{32}"
_CODED: Final = "|".join(map(re.escape, rules.CODED))

SUSPECT: Final = rf"(?i){_HINTS}|{_NAMED}|(?-i:(?:{'|'.join(rules.KINDS)})\b)|{_ODD}|(?-i:{_CODED})"
LOG_SUSPECT: Final = rf"{SUSPECT}|{rules.TOML['text']['suspect']}"

_compiled: Final = cache(re.compile)  # when needed: they take long
_RESOURCE: Final = re.compile(rf'"(?:{"|".join(rules.RESOURCES)})"|/(?:{"|".join(rules.RESOURCES)})(?:[/?"]|$)')


def needs(text: bytes) -> bool:
    """May this line hold anything to redact? Never False where `Redactor.event` would change something."""
    shown = text.decode("utf-8", "replace")
    return _compiled(SUSPECT).search(shown) is not None or _RESOURCE.search(shown) is not None


_WORDS: Final = (
    *rules.NAME_NEEDLES,
    *rules.HEADERS.split("|"),
    *(needle for rule in rules.RULES for needle in rules.listed(rule["needle"])),
    *map(str.lower, rules.KINDS),
    *map(str.lower, rules.CODED),
    "\\u00",
)
# Of the needles of two letters, those of Vault's old tokens and of names in capitals, a little more.
_NEEDLES: Final = rules.either(w for w in _WORDS if len(w) > 2) + r"|(?<![a-z0-9_.-])[sb]\.[a-z0-9]{24}|_pw"
_IN_TEXT: Final = re.compile(_NEEDLES)
_IN_BYTES: Final = re.compile(_NEEDLES.encode())
_IN_LOG: Final = re.compile(rf"{_NEEDLES}| body|data|\[\](?:byte|uint8)|last-applied|value|patch|%|command=|/secrets")


def may_hold(text: str | bytes) -> bool:
    """Quick: may this text, of any form, hold a value? Never False where there is one."""
    if isinstance(text, str):
        return _IN_TEXT.search(text.lower()) is not None
    return _IN_BYTES.search(text.lower()) is not None


def may_hold_in_log(text: str) -> bool:
    """May this text of a log entry hold a credential, or a whole object?"""
    return _IN_LOG.search(text.lower()) is not None and _compiled(LOG_SUSPECT).search(text) is not None
