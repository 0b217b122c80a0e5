"""What redact.toml says, compiled once: the objects with values, the names that announce one, the words one stands in."""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import eq
from pathlib import Path
from typing import Any, Final

TOML: Final = tomllib.loads(Path(__file__).with_name("redact.toml").read_text(encoding="utf-8"))


def either(words: Iterable[str]) -> str:
    """An expression for any of the words, by their common beginnings: Python's own tries them one after another."""
    tree: dict[str, Any] = {}
    for word in words:
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}

    def of(node: dict[str, Any]) -> str:
        ways = [re.escape(letter) + of(rest) for letter, rest in sorted(node.items()) if letter]
        if not ways:
            return ""
        return f"(?:{'|'.join(ways)})" + ("?" if "" in node else "")

    return of(tree)


# -- objects

Paths = list[tuple[list[str], bool]]  # (segments, in lower case; is the text base64?)


class ObjectRule:
    """One [[object]] of redact.toml."""

    def __init__(self, kinds: list[str], group: str, fields: list[str], **more: Any) -> None:
        self.kinds, self.group, self.resource = frozenset(kinds), group, more.get("resource")
        self.uri = re.compile(more.get("uri", "(?!)"))
        self.paths: Paths = [(f.lower().split("."), f in more.get("base64", ())) for f in fields]
        self.first = {path[0]: below(self.paths, [path[0]]) for path, _ in self.paths}


def below(paths: Paths, steps: list[str]) -> Paths:
    """The rest of the ways that lead through `steps`, or the end itself for steps beneath one."""
    return [(p[len(steps) :], b64) for p, b64 in paths if all(map(eq, p, steps))]


OBJECTS: Final = tuple(ObjectRule(**table) for table in TOML["object"])
KINDS: Final = tuple(sorted({kind for rule in OBJECTS for kind in rule.kinds}))
RESOURCES: Final = tuple(sorted({rule.resource for rule in OBJECTS if rule.resource}))


def rule_of(resource: str, group: str) -> ObjectRule | None:
    """The rule of a resource."""
    return next((rule for rule in OBJECTS if (rule.resource, rule.group) == (resource, group)), None)


def rule_of_path(path: str) -> ObjectRule | None:
    """The rule of the resource that the path of a URI, decoded, names."""
    return next((rule for rule in OBJECTS if rule.uri.search(path)), None)


COPIES: Final = frozenset(TOML["annotations"]["copies"])
PACKED: Final = frozenset(TOML["annotations"]["packed"])
PATCHES: Final = tuple(TOML["annotations"]["patches"])
OWN_ANNOTATIONS: Final = frozenset(TOML["annotations"]["own"])
# The last part of an annotation's key never needs to be escaped.
WITHIN: Final = tuple(k.rpartition("/")[2].encode() for k in sorted(COPIES | PACKED))

# -- names

WORDS_OF_NAMES: Final[tuple[str, ...]] = tuple(TOML["names"]["words"])
NAMES: Final = "|".join(re.sub(r"_(?!S)", "[_.-]?", word) for word in WORDS_OF_NAMES)
HEADERS: Final = "|".join(TOML["names"]["headers"])
PAIRS: Final[tuple[str, ...]] = tuple(TOML["names"]["pairs"])
_PLAIN: Final = TOML["names"]["plain"]

_NAME: Final = re.compile(rf"(?i)(?:{NAMES})s?\Z")
_HEADER: Final = re.compile(rf"(?i)(?<![A-Za-z/])(?:{HEADERS})\Z")
_PLAIN_NAME: Final = re.compile(rf"(?i){_PLAIN}\Z")


def announces(name: str) -> bool:
    """Whether the value of a key, flag, variable, parameter or header of that name is secret."""
    return _NAME.search(name) is not None or is_header(name)


def is_header(name: str) -> bool:
    """Whether it is a header that holds credentials, perhaps behind a scheme."""
    return _HEADER.search(name) is not None


def may_announce(name: str) -> bool:
    """Whether a value under that name is secret where it `is_random`."""
    return _MAYBE.search(name) is not None


def is_random(text: str) -> bool:
    """Whether a text looks as if a machine had made it, and names nothing."""
    return _RANDOM.fullmatch(text) is not None


def announces_number(name: str) -> bool:
    """Whether a number under that name is secret, too."""
    return _PLAIN_NAME.search(name) is not None


_MAYBE: Final = re.compile(rf"(?i)(?:{'|'.join(TOML['names']['random'])})s?\Z")

# -- words

_SEP: Final = r"\s*(?:=>|:=|[=:])\s*"
_NOT: Final = (
    r"(?!redacted:|…<|<masked>|\*{3}|\$[({]|(?-i:\$[A-Z_][A-Z0-9_]*(?![A-Za-z0-9]))|\{\{|%[dsqvx]\b|"
    r"(?<=auth-token=)simple(?![\w-])|(?:null|nil|true|false|None|(?:Invalid|Unsupported|Duplicate|Required) value)\b)"
)
# Shorthands of redact.toml. Python's \s includes \x1f, which stands between the arguments of a command.
_SHORT: Final = {
    "GAP": r"(?:\s|\\+[nrt])+",
    "WORD": r"""(?:(?<=\x1f)[^\x1f]+|[^\s"'&<>\\]*(?:(?:\\u[0-9a-f]{4}|\\{1,2}(?=[\w$!#%](?<![nrtux]))|(?<=\w)['<](?=\w))[^\s"'&<>\\]*)*[^\s"'&<>\\,;.:)\]}])""",
    "RANDOM": r"(?=[\w.~+/=-]*\d)(?=[\w.~+/=-]*(?-i:[A-Z]))(?=[\w.~+/=-]*(?-i:[a-z]))(?![\w-]*\.[\w.-]*/)[\w.~+/=-]{16,}(?![\w.~+/=:-])",
    "REST": r"""[^"'\\\n\x1f]+""",
}
_RANDOM: Final = re.compile(_SHORT["RANDOM"])
_QUOTE: Final = r"""(?:\\*["'])?"""
# A key of YAML, at the start of a line that may stand in a string.
_KEY: Final = rf"""(?:^|\\n)[ \t-]*["']?[\w.-]{{0,99}}(?:{NAMES})["']?[ \t]*:[ \t]"""

# A name that stands beside its value, what may be between the two, the key of the value, and a line of YAML that has no key.
_PAIRED: Final = rf"""\b(?:{"|".join(PAIRS)}){_QUOTE}\s*[:=]\s*{_QUOTE}[\w. -]{{0,99}}"""
_NEXT: Final = r"""(?:[\s,;"'-]|\\[nrt"'])*"""
_VALUE: Final = rf"\bvalue{_QUOTE}\s*[:=]\s*{_QUOTE}"
_SCALAR: Final = r"(?![^\n]*:(?:[ \t]|\r?$))[^\s][^\n]*(?:\n|$)"

_UPPER = r"(?<![\w-])(?=(?-i:(?:ENV|ARG)[ \t]+[A-Z0-9_]+[ \t]))"  # in the midst of a line
# (lead, value, needle): the same where more than the name says it; the needle is in every text that it fits.
_BESIDE: Final = (
    # as the server words errors of validation
    (rf'(?:{NAMES})s?(?:\[[^\]\n]{{0,99}}\])?: (?:Invalid|Unsupported|Duplicate) value: \\*"', r'(?:\\[^"]|[^"\\])+', " value: "),
    (
        rf"\bmessage{_QUOTE}\s*:\s*{_QUOTE}(?:Invalid|Unsupported|Duplicate) value: \\*\"",
        rf"[^\n\"\\]{{1,512}}+(?=[^{{}}\n]{{0,300}}\bfield{_QUOTE}\s*:\s*{_QUOTE}[\w.\[\]-]{{0,200}}(?:{NAMES})\\*[\"'])",
        " value: ",
    ),
    # a name and a value side by side in YAML, XML or JSON: name: DB_PASSWORD, value: …
    (rf"{_PAIRED}(?:{NAMES}){_QUOTE}{_NEXT}{_VALUE}", r"""[^\n"'\\<>]+""", "value"),
    (rf"{_VALUE}", rf"""[^\n"'\\<>]{{1,512}}+(?={_QUOTE}{_NEXT}{_PAIRED}(?:{NAMES})(?![\w.-]))""", "value"),
    (rf"(?:{NAMES})s?{_QUOTE}\s*[:=]\s*\{{\s*{_QUOTE}{_VALUE}", r"""[^\n"'\\<>]+""", "value"),
    (rf"<[\w:-]{{0,99}}(?:{NAMES})(?:\s[^<>\n]{{0,200}})?>\s*(?:<!\[CDATA\[)?", r"[^<\s][^<]*?(?=\s*(?:\]\]>)?\s*</)", "</"),
    (rf"<(?:key|name)>[\w.-]{{0,99}}(?:{NAMES})</(?:key|name)>\s*<(?:string|value)>", r"[^<\n]+", "</"),
    (rf"_header\s+[\w-]{{0,99}}(?:{NAMES})\s+\\*[\"']?", "WORD", "_header"),
    (
        rf"(?:^|\\n)[ \t]*[\w.-]{{0,99}}(?:{NAMES})[ \t]+",
        r"(?=\S*\d)[^\s\"'<>]{{8,}}(?=[ \t]*\r?$)".replace("{{", "{").replace("}}", "}"),
        "",
    ),
    (rf"(?:{NAMES})[ \t]*[=:][ \t]*\\\r?\n[ \t]*", "WORD", "\n"),
    (rf"\bdefine\(\s*['\"]\w*(?:{NAMES})['\"]\s*,\s*['\"]", r"[^'\"\n]+", "define("),
    (rf"(?:(?:^|\\n|[\"'])[ \t]*|{_UPPER})(?:ENV|ARG)[ \t]+\w*(?:{NAMES})[ \t]+", "WORD", ""),
    (rf"(?:{NAMES})s?{_QUOTE}[ \t]*[:=][ \t]*\[", r"[^\]\n]+", "["),
    (rf"(?:{NAMES})s?[\"']?[ \t]*:[ \t]*\r?\n", rf"(?:[ \t]*-[ \t]{_SCALAR}|[ \t]+(?!-){_SCALAR})+", "\n"),
)
_NO_OBJECT: Final = r"""(?!\{\s*(?:\\*["']|\}))"""
# (lead, value): what stands before a value that a name announces, and the value.
_NAMED: Final = (
    (rf'(?:{NAMES})s?{_QUOTE}{_SEP}"', r'(?:\\.|[^"\\])+'),
    (rf'(?:{NAMES})s?{_QUOTE}{_SEP}(?P<e>\\+)"', r'.+?(?=(?<!\\)(?P=e)"|(?<!\\)"|$)'),
    (rf"(?:{NAMES})s?{_QUOTE}{_SEP}\\*'", r"[^'\n]+"),
    (rf"(?:{NAMES})[\"']?[ \t]*:[ \t]*(?:[!&]\S+[ \t]+)?[|>][-+0-9]*[ \t]*\n", r"(?:[ \t]+[^\n]*(?:\n|$))+"),
    (rf"{_KEY}+", r"""(?![|>][-+0-9]*[ \t]*$|["'])(?:(?!\\n)[^\n\x1f"])+"""),
    (rf"(?:{NAMES}){_QUOTE}(?:=>|:=|=|:(?!//))", _NO_OBJECT + "WORD"),
    (rf"(?:{NAMES})[ \t\x1f]*(?:=>|:=|=)[ \t\x1f]*[\"']{{0,3}}", "WORD"),
    (rf"(?:{NAMES}):\x1f[\"']?|\w-(?:{NAMES}):[ \t]+", "WORD"),
    (rf"(?:{NAMES})\\*[\"'][ \t]*:[ \t]*", _NO_OBJECT + "WORD"),
    (rf"(?:{_PLAIN})[ \t]{{0,3}}:[ \t]+(?:[&!]\S+[ \t]+)?", "WORD"),
    (rf"(?:{NAMES}):[ \t]+", r"(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}"),
    (rf"(?<![\w-])--?(?:[a-z0-9]+[-_]){{0,9}}(?:{NAMES})[ \t\x1f]+[\"']?", r"(?!-)WORD"),
)
# A whole argument: --password=a b c
FLAG: Final = re.compile(rf"(?i)(-{{0,2}}[\w.-]{{0,99}}(?:{NAMES})=){_NOT}(.+)", re.DOTALL)


@dataclass(frozen=True)
class Word:
    """One rule of [words]; group 1 of the pattern stays, the rest goes."""

    text: str
    needles: tuple[str, ...]  # of which one is in every text that it fits
    base64: bool = False
    identity: bool = False
    again: bool = False  # the lead goes on behind a value: there may be more

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when it is needed: sixty of them are a tenth of a second, which most commands need not spend."""
        return re.compile(self.text)


def _word(lead: str, value: str, needles: tuple[str, ...], **more: bool) -> Word:
    for name, text in _SHORT.items():
        lead, value = lead.replace(name, text), value.replace(name, text)
    return Word(rf"(?im)({lead}){_NOT}({value})", needles, **more)


def listed(needle: str | list[str]) -> tuple[str, ...]:
    """The needles of a rule."""
    return (needle,) if isinstance(needle, str) else tuple(needle)


def _spellings(word: str) -> Iterator[str]:
    """A name of [names] in lower case, with each of the signs that may stand for `_`."""
    bare = re.sub(r"\(\?[^)<]*?:|\(\?<![^()]*\)|\[[^]]*\]|\)", "", word).lower().lstrip("_")
    yield from {bare.replace("_", sign) for sign in ("_", "-", ".", "")}


RULES: Final[list[dict[str, Any]]] = TOML["words"]["rules"]
NAME_NEEDLES: Final = tuple(sorted({s for w in WORDS_OF_NAMES for s in _spellings(w)}))
WORDS: Final = tuple(
    _word(
        r.get("lead", ""),
        r["value"],
        listed(r["needle"]),
        base64=r.get("base64", False),
        identity=r.get("identity", False),
        again=r.get("again", False),
    )
    for r in RULES
)
NAMED: Final = (
    *(_word(lead, value, (needle,)) for lead, value, needle in _BESIDE),
    *(_word(lead, value, ("",)) for lead, value in _NAMED),
)
# In lower case: where none of NAMED can fit. Python looks for letters of either case a tenth as fast.
NAMED_NEAR: Final = re.compile(
    rf"(?m)(?:{either(NAME_NEEDLES)})s?(?:\\*[\"']|\[[^\]\n]*\])?\s*[=:,><]|(?:^|_header|<)[ \t]*[\w.:-]{{0,99}}(?:{either(NAME_NEEDLES)})\s|(?:env|arg)[ \t]+\w*(?:{either(NAME_NEEDLES)})\s|"
    rf"\b(?:{'|'.join(PAIRS)})(?:\\*[\"'])?\s*[=:]\s*(?:\\*[\"'])?[\w. -]{{0,99}}(?:{either(NAME_NEEDLES)})|"
    rf"(?<![\w-])--?(?:[a-z0-9]+[-_]){{0,9}}(?:{either(NAME_NEEDLES)})\s"
)
# What the server says of a value that it does not take.
INVALID: Final = re.compile(r'((?:Invalid|Unsupported|Duplicate) value: \\*")((?:[^"\\]|\\[^"])+)')
TORN: Final[re.Pattern[str]] = re.compile(TOML["words"]["torn"][0])
QUOTES: Final = tuple(re.compile(p, re.DOTALL) for p in TOML["messages"]["quotes"])

# -- texts

_TEXT: Final = TOML["text"]
BODY: Final = re.compile(_TEXT["body"][0])
STOP: Final = re.compile("|".join(_TEXT["stop"]))
LOOKS: Final = re.compile(_TEXT["manifest"][0].replace("KINDS", "|".join(KINDS)), re.DOTALL)
MIDST: Final = re.compile(_TEXT["midst"][0], re.DOTALL)

# -- base64


def _coded(word: bytes) -> Iterator[str]:
    """What base64 of a text holds where the text holds `word`: it begins at one of three places of a group."""
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + word).decode().rstrip("=")
        yield text[(shift * 8 + 5) // 6 : len(text) - bool((shift + len(word)) % 3)]


PACKED_START: Final[str] = TOML["words"]["packed"]
_TWICE: Final = (c for word in TOML["words"]["coded_twice"] for once in _coded(word.encode()) for c in _coded(once.encode()))
_WIDE: Final = (c for word in ("password", "PASSWORD") for c in _coded(word.encode("utf-16-le")))  # as PowerShell writes it
CODED: Final = (
    PACKED_START,
    *dict.fromkeys((*(c for word in TOML["words"]["coded"] for c in _coded(word.encode())), *_TWICE, *_WIDE)),
)
BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}(?![A-Za-z0-9+/_=-])")


def decoded(text: str) -> bytes | None:
    """What base64 stands for, of either alphabet and with or without its padding; None where it is none."""
    bare = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4))
    except ValueError:
        return None
