"""Kubernetes audit-log and apiserver-log forensics: logs become typed Parquet, questions become answers with evidence.

    >>> import auditlens
    >>> report = auditlens.import_files(["sample-logs/kubeadm", "sample-logs/apiserver"], "lake")
    >>> answer = auditlens.ask("lake", "who-deleted", "pod/web-1", namespace="shop")
    >>> answer.frame.select("username", "how").rows()  # and answer.limits is what the log cannot say about it
    [('alice', 'direct'), ('system:node:node-1', 'kubelet')]

Times are UTC. A name costs its import when it is first used; `import auditlens` alone costs nothing (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditlens import policy
    from auditlens.answers.answer import Answer
    from auditlens.errors import AuditlensError
    from auditlens.face import (
        ask,
        blame,
        completeness,
        coverage,
        curl,
        diff,
        evidence,
        explain,
        find,
        follow,
        history,
        impact,
        import_files,
        infer,
        lint,
        questions,
        recommend,
        simulate,
        sql,
        state,
        trace,
        why,
    )
    from auditlens.lake import Lake

    __version__: str

__all__ = [
    "Answer",
    "AuditlensError",
    "Lake",
    "__version__",
    "ask",
    "blame",
    "completeness",
    "coverage",
    "curl",
    "diff",
    "evidence",
    "explain",
    "find",
    "follow",
    "history",
    "impact",
    "import_files",
    "infer",
    "lint",
    "policy",
    "questions",
    "recommend",
    "simulate",
    "sql",
    "state",
    "trace",
    "why",
]

_ELSEWHERE = {"Answer": "answers.answer", "AuditlensError": "errors", "Lake": "lake"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'auditlens' has no attribute {name!r}")
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("auditlens")
    if name == "policy":
        return import_module("auditlens.policy")
    return getattr(import_module(f"auditlens.{_ELSEWHERE.get(name, 'face')}"), name)


def __dir__() -> list[str]:
    return list(__all__)
