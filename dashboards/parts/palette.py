"""Outcome classes and their colours, defined once: told apart by people with any kind of colour vision, in both themes."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st


@dataclass(frozen=True, slots=True)
class Class:
    """A class of outcomes: its word in data and legends, what it means, its colour on light and on dark."""

    word: str
    meaning: str
    light: str
    dark: str


# Lightness differs as well as hue, so that the order survives protanopia, deuteranopia and a grey print.
CLASSES = (
    Class("succeeded", "answered below 400", "#7fb0cf", "#4d86a8"),
    Class("rejected", "4xx that is the client's own doing: not found, conflict, invalid …", "#d9a520", "#e3b945"),
    Class("throttled", "429, told to come back later", "#2a9d8f", "#52c4b5"),
    Class("denied", "401 or 403, by authentication, authorization or admission", "#d1471f", "#f0774f"),
    Class("failed", "5xx or a panic", "#6a1f5c", "#d9a3d0"),
    Class("unknown", "the log holds no answer", "#9aa3a8", "#79848b"),
)
WORDS = tuple(c.word for c in CLASSES)

# The class of a row of `audit`, `history` and the like.
CLASS_SQL = """case when code is null then 'unknown' when code < 400 then 'succeeded' when code in (401, 403) then 'denied'
    when code = 429 then 'throttled' when code < 500 then 'rejected' else 'failed' end"""

_VERBS = {  # what a request does to an object; a shape each, for those who cannot tell the colours
    "create": "circle", "update": "square", "patch": "diamond", "delete": "cross", "exec": "triangle-right",
}  # fmt: skip


def dark() -> bool:
    """Whether the viewer's theme is dark."""
    try:
        return st.context.theme.type == "dark"
    except AttributeError:
        return False


def colours() -> list[str]:
    """The colours of CLASSES, in their order."""
    return [c.dark if dark() else c.light for c in CLASSES]


def accent() -> str:
    """The colour of single series."""
    return "#6fb7d6" if dark() else "#1f6a8c"


def chip() -> str:
    """The ground of white words that say what went well: the light blue of the charts is too light for them."""
    return "#4d86a8" if dark() else "#1f6a8c"


def quiet() -> str:
    """The colour of rules, labels and what is not the point."""
    return "#5d6b74" if dark() else "#aab4b8"


def ink() -> str:
    """The colour of text inside charts."""
    return "#dde5e8" if dark() else "#1c2a33"


def series() -> list[str]:
    """Colours of unordered series (Okabe and Ito's, on dark a little lighter)."""
    if dark():
        return ["#6fb7d6", "#e3b945", "#d9a3d0", "#52c4b5", "#f0774f", "#b6c96a", "#a7b0b5"]
    return ["#1f6a8c", "#d9a520", "#6a1f5c", "#2a9d8f", "#d1471f", "#7a8f2a", "#79848b"]


def class_of(code: int | None) -> str:
    """The class of an HTTP status, as CLASS_SQL has it."""
    if code is None:
        return "unknown"
    if code < 400:
        return "succeeded"
    if code in (401, 403):
        return "denied"
    if code == 429:
        return "throttled"
    return "rejected" if code < 500 else "failed"


def verbs() -> tuple[list[str], list[str]]:
    """Verbs of changes, and their shapes."""
    return list(_VERBS), list(_VERBS.values())
