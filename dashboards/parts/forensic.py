"""The forensic functions of auditlens by name, or None where this version has none: pages say so instead of failing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import streamlit as st

from auditlens import AuditlensError, engine

# Where a function may be: the package's face first, then its modules.
_HOMES = {
    "history": ("history",), "diff": ("diff",), "blame": ("diff",), "state": ("state",), "why": ("why",),
    "completeness": ("completeness", "complete"), "recommend": (), "coverage": (),
}  # fmt: skip


def function(name: str, package: str = "forensics") -> Callable[..., Any] | None:
    """A function of auditlens.forensics or auditlens.policy."""
    for home in ("", *(f".{m}" for m in (_HOMES.get(name) or (name,)))):
        try:
            found = getattr(import_module(f"auditlens.{package}{home}"), name, None)
        except ImportError:
            continue
        if callable(found):
            return found  # type: ignore[no-any-return]
    return None


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Show what goes wrong in words: our errors as they are, DuckDB's and others' as a limit of this version."""
    try:
        yield
    except AuditlensError as e:
        st.info(f"{what} cannot be told here.", icon=":material/info:")
        st.code(_lines(str(e)), language=None, wrap_lines=True)
    except (engine.duckdb_error(), TypeError, KeyError, ValueError, AttributeError, IndexError) as e:
        st.warning(f"{what} failed in this version of auditlens ({type(e).__name__}).", icon=":material/build:")
        st.code(_lines(str(e)), language=None, wrap_lines=True)


def missing(what: str) -> None:
    """The honest place-holder."""
    st.info(f"{what} is not in this version of auditlens.", icon=":material/info:")


def _lines(text: str) -> str:
    from parts.show import pretty

    return pretty(text[:2000])
