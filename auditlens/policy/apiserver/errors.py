"""A refused policy says everything kube-apiserver would say about it, and where in the file each complaint belongs."""

from __future__ import annotations

from dataclasses import dataclass

from auditlens.errors import AuditlensError

__all__ = ["Path", "PolicyError", "Position", "Problem"]

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint in Kubernetes' words.

    `code` is a stable word of ours for the kind of complaint ("level-missing"); `path` is the field it is about,
    as ("rules", 3, "level"), empty for the document as a whole.
    """

    message: str
    code: str
    position: Position
    path: Path = ()


class PolicyError(AuditlensError):
    """A policy this kube-apiserver refuses to start with.

    `kubernetes_message` is what the server puts behind "loading audit policy file: "; `problems` are the single
    complaints in the server's order.
    """

    def __init__(self, kubernetes_message: str, problems: tuple[Problem, ...], file: str | None = None) -> None:
        self.kubernetes_message = kubernetes_message
        self.problems = problems
        self.file = file
        lines = (f"{place(file, p.position)}: {p.message}" for p in problems)
        super().__init__("\n".join(lines))


def place(file: str | None, position: Position) -> str:
    """Write a place as editors and CI systems link it: `policy.yaml:4:3`."""
    return f"{file or '<policy>'}:{position.line}:{position.column}"
