"""A check is one small function under one stable id; adding one means adding one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from auditlens.policy.apiserver.errors import Path, Position
from auditlens.policy.apiserver.loader import Draft
from auditlens.policy.apiserver.model import Policy, Rule
from auditlens.policy.apiserver.versions import Features

__all__ = ["Check", "Context", "Finding", "Hit", "Severity", "check", "checks", "join", "named", "run"]

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a policy.

    error: the server does not start with it; warning: it does something else than it says, or tells secrets, or loses
    what matters; info: it writes much that nobody reads, or will break in another release.
    `rule` counts from 0, None if the finding is about the policy as a whole. `line` and `column` count from 1.
    """

    id: str
    severity: Severity
    line: int
    column: int
    rule: int | None
    message: str
    why: str
    fix: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """What a check found: where, what, and how to mend it; `why` where it differs from the check's."""

    at: Path | Position
    message: str
    fix: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a check may look at: the policy as the server understands it, and the text it came from."""

    draft: Draft

    @property
    def policy(self) -> Policy:
        return self.draft.policy

    @property
    def release(self) -> Features:
        return self.draft.features

    @property
    def rules(self) -> Iterator[tuple[int, Rule]]:
        return enumerate(self.draft.policy.rules)

    def place(self, at: Path | Position) -> Position:
        return at if isinstance(at, Position) else self.draft.decoded.place(at)


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    title: str
    severity: Severity
    why: str
    run: Callable[[Context], Iterator[Hit]]


_CHECKS: Final[dict[str, Check]] = {}


def check(
    identity: str, title: str, severity: Severity, why: str
) -> Callable[[Callable[[Context], Iterator[Hit]]], Callable[[Context], Iterator[Hit]]]:
    """Register a check. Ids are never given to another check, also not when one is removed."""

    def register(function: Callable[[Context], Iterator[Hit]]) -> Callable[[Context], Iterator[Hit]]:
        if identity in _CHECKS:
            raise ValueError(f"{identity} is {_CHECKS[identity].title!r} already")
        _CHECKS[identity] = Check(identity, title, severity, why, function)
        return function

    return register


def checks() -> list[Check]:
    """All checks by id."""
    return [_CHECKS[identity] for identity in sorted(_CHECKS)]


def run(draft: Draft) -> list[Finding]:
    """Run every check over a draft; the findings come in the order of the text."""
    context = Context(draft)
    findings = []
    for each in checks():
        for hit in each.run(context):
            place = context.place(hit.at)
            rule = _rule_of(hit.at)
            why = hit.why or each.why
            findings.append(
                Finding(
                    each.id,
                    each.severity,
                    place.line,
                    place.column,
                    rule,
                    hit.message,
                    why,
                    hit.fix,
                    draft.file,
                )
            )
    return sorted(findings, key=lambda finding: (finding.line, finding.column, finding.id))


def _rule_of(at: Path | Position) -> int | None:
    if isinstance(at, Position) or len(at) < 2 or at[0] != "rules":
        return None
    return at[1] if isinstance(at[1], int) else None


def named(group: str, resource: str = "") -> str:
    """Say a resource with its group, as "pods (core)" or "deployments (apps)"; of a group alone, its name."""
    shown = group or "core"
    return f"{resource} ({shown})" if resource else shown


def join(words: Sequence[str], last: str = "and") -> str:
    """Write a list as a sentence does."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
