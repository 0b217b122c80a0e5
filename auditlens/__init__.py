"""Kubernetes audit-log and apiserver-log forensics: logs become typed Parquet, questions become answers with evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditlens.errors import AuditlensError
    from auditlens.importing.run import import_files
    from auditlens.lake import Lake
    from auditlens.locked import sql
    from auditlens.question import answer, ask

__all__ = ["AuditlensError", "Lake", "answer", "ask", "import_files", "sql"]

_HOMES = {
    "AuditlensError": "errors",
    "Lake": "lake",
    "answer": "question",
    "ask": "question",
    "import_files": "importing.run",
    "sql": "locked",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import auditlens` alone costs nothing (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'auditlens' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"auditlens.{_HOMES[name]}"), name)
