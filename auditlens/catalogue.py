"""What log messages mean: auditlens/catalogue.toml, read once; a message is looked up by its first words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["UNHANDLED", "Message", "kind_of", "messages", "openings", "unopened"]

_META = re.compile(r"[\\.^$*+?{}\[\]|()]")
UNHANDLED = "Unhandled Error"  # 1.31 and later: what was the message is `err`


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message: how to know it, what it means, what to do."""

    kind: str
    patterns: tuple[re.Pattern[str], ...]
    meaning: str
    action: str
    needs: re.Pattern[str] | None = None  # must be found somewhere in the message as well


@cache
def messages() -> tuple[Message, ...]:
    """The catalogue in its order."""
    found = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))["message"]
    return tuple(
        Message(
            entry["kind"],
            tuple(
                re.compile(p, re.DOTALL) for p in ([entry["pattern"]] if isinstance(entry["pattern"], str) else entry["pattern"])
            ),
            entry["meaning"],
            entry["action"],
            re.compile(entry["needs"]) if "needs" in entry else None,
        )
        for entry in found
    )


@cache
def _by_letter() -> Mapping[str, tuple[tuple[Message, re.Pattern[str]], ...]]:
    """The patterns by the first letter of what they fit; those that may begin with any stand under ``."""
    found: dict[str, list[tuple[Message, re.Pattern[str]]]] = {"": []}
    every = [(m, p) for m in messages() for p in m.patterns]
    letters = {_opening(p.pattern)[:1] for _, p in every} - {""}
    for letter in (*letters, ""):
        found[letter] = [(m, p) for m, p in every if _opening(p.pattern)[:1] in ("", letter)]
    return {letter: tuple(pairs) for letter, pairs in found.items()}


def _opening(pattern: str) -> str:
    """The plain text a pattern begins with."""
    text = pattern.replace("\\[", "\0").replace("\\(", "\1")
    match = _META.search(text)
    return (text[: match.start()] if match else text).replace("\0", "[").replace("\1", "(")


@cache
def openings() -> tuple[str, ...]:
    """Texts with which every message that has a kind begins, or that stand behind its "Unhandled Error"; patterns
    that begin with no plain text are not among them."""
    return tuple(sorted({o for m in messages() for p in m.patterns if (o := _opening(p.pattern))} | {UNHANDLED}))


@cache
def unopened() -> str:
    """One pattern, in RE2's syntax too, for the messages that begin with none of the openings."""
    return "^(?:" + "|".join(p.pattern for m in messages() for p in m.patterns if not _opening(p.pattern)) + ")"


def kind_of(message: str, fields: Mapping[str, str] | None = None) -> str | None:
    """The kind of a message, None when it is not in the catalogue."""
    text = (fields or {}).get("err", message) if message == UNHANDLED else message
    for entry, pattern in _by_letter().get(text[:1], ()) or _by_letter()[""]:
        if pattern.match(text) and (entry.needs is None or entry.needs.search(text)):
            return entry.kind
    return None
