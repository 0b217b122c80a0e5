"""The policies shipped with auditlens, by name, and the table that compares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auditlens.bundled import directory
from auditlens.errors import UsageError
from auditlens.policy.apiserver.loader import load
from auditlens.policy.apiserver.model import Policy
from auditlens.policy.apiserver.versions import DEFAULT_VERSION

if TYPE_CHECKING:
    from auditlens.lake import Lake

__all__ = ["folder", "load_preset", "names", "sample_table", "table", "text_of"]


def folder() -> Path:
    """Where the presets are: inside the installed package, else in the checkout."""
    return directory("policies")


def names() -> list[str]:
    """The presets by name."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def text_of(policy: str | Path) -> tuple[str, str | None]:
    """The text of a policy and the name to call it by: of a file, of a preset, or the text itself.

    A text has a line's end in it, or is a JSON object.

    Raises:
        UsageError: there is no such file or preset.
    """
    if isinstance(policy, str) and ("\n" in policy or policy.startswith("{")):
        return policy, None
    path = Path(policy)
    try:
        if not path.exists() and path.name in names():
            path = folder() / f"{path.name}.yaml"
        return path.read_text(encoding="utf-8", errors="replace"), str(policy)
    except (OSError, ValueError) as e:  # ValueError: a name with NUL in it
        why = e.strerror if isinstance(e, OSError) else e
        raise UsageError(f"{policy}: {why}; a policy is a file, - or one of {', '.join(names())}") from e


def load_preset(name: str, kubernetes_version: str = DEFAULT_VERSION) -> Policy:
    """A preset, or the policy in a file; UsageError if it is neither."""
    text, file = text_of(name)
    return load(text, kubernetes_version, file)


def sample_table() -> str:
    """The table of docs/policies.md: the presets over the sample logs, which are imported into a lake that is thrown away."""
    from tempfile import TemporaryDirectory

    from auditlens.importing.files.run import import_files

    with TemporaryDirectory() as scratch:
        import_files([directory("sample-logs")], scratch, redact=False)
        return table(scratch)


def table(lake: Lake | str) -> str:
    """A Markdown table: each preset simulated over a lake, and what can be answered from it.

    Volumes are shares of the log as it is in the lake.
    """
    from auditlens.lake import Lake
    from auditlens.policy.requirements.coverage import coverage
    from auditlens.policy.simulation.request_counts import survey
    from auditlens.policy.simulation.simulation import simulate_traffic

    lake = lake if isinstance(lake, Lake) else Lake(lake)
    policies = {name: load_preset(name) for name in names()}
    traffic = survey(lake, policies.values())
    rows = []
    for name, policy in policies.items():
        tried = simulate_traffic(traffic, policy)
        grades = {a.requirement.name: a.grade for a in coverage(policy)}
        partly = sorted(q for q, grade in grades.items() if grade == "partly")
        none = sorted(q for q, grade in grades.items() if grade == "no")
        events = 100 * tried.then.events / max(tried.now.events, 1)
        size = 100 * tried.then.bytes / max(tried.now.bytes, 1)
        full, excepted = (sum(grade == g for grade in grades.values()) for g in ("yes", "except"))
        cells = (f"`{name}`", f"{events:.0f} %", f"{size:.0f} %", str(full), str(excepted), _few(partly), _few(none))
        rows.append((tried.then.bytes, f"| {' | '.join(cells)} |"))
    head = ("preset", "events", "bytes", "in full", "but for exceptions", "with less detail", "not at all")
    lines = [f"| {' | '.join(head)} |", "|---|---:|---:|---:|---:|---|---|"]
    return "\n".join([*lines, *(row for _, row in sorted(rows))]) + "\n"


def _few(questions: list[str]) -> str:
    """The names of some questions, or how many they are."""
    return ", ".join(questions) if len(questions) <= 12 else str(len(questions))
