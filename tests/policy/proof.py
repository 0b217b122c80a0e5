"""What the proofs of apply and recommend share: a captured log, its lake, and answers that can be compared.

An answer is compared without the columns that say where in the log its evidence stands (source, line, level): a filtered
log is another file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from auditlens import ask as answer
from auditlens.answers.questions import questions
from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.policy import Policy, Rule
from auditlens.policy.requirements.requirement import SENSITIVE
from auditlens.policy.simulation.filtering import apply

SHARED = Path(__file__).resolve().parents[3] / "shared" / "captures"
CAPTURE = SHARED / "full" / "audit.log.gz"
needs_captures = pytest.mark.skipif(not CAPTURE.is_file(), reason="the captures are not beside this checkout")

# The content of secrets and the like is given up by every recommendation: the log as it is without it.
CAPPED = Policy(rules=(SENSITIVE, Rule(level="RequestResponse")))

_WHERE = ("source", "line", "item", "level", "file", "instance", "evidence", "import_id")
# Parameters to ask with beside none at all, where a question has them.
_ASKED: tuple[dict[str, Any], ...] = (
    {"user": "alice"},
    {"user": "system:serviceaccount:*"},
    {"resource": "pods"},
    {"resource": "configmaps"},
    {"namespace": "shop"},
    {"namespace": "kube-*", "resource": "leases"},
    {"attempts": True},
    {"code": 409},
    {"system": True},
    *({"by": word} for word in ("client", "verb", "resource", "namespace", "code", "source-ip")),
)


def lake_of(log: Path, path: Path) -> Lake:
    """A lake of one log."""
    import_files([log], path, redact=False)
    return Lake(path)


def filtered(policy: Policy, log: Path, folder: Path, name: str) -> tuple[Lake, int]:
    """The lake of a log that went through a policy, and how many bytes were left of it."""
    out = folder / f"{name}.log"
    left = apply(policy, [log], out)
    return lake_of(out, folder / name), left.bytes_out


def answers(lake: Lake, names: tuple[str, ...], more: bool = True) -> dict[str, list[str]]:
    """Answers of some questions, each a sorted list of JSON rows without where they stand in the log.

    Asked without parameters, and with `more` also with each of some that they have.
    """
    found = {}
    for name in names:
        declared = {p.name for p in questions()[name].params}
        of = questions()[name].of
        for params in ({}, *_ASKED) if more else ({},):
            if set(params) <= declared and (not of or params.get("resource", of[0]) in of):
                frame = answer(lake, name, **params, **({"limit": 1_000_000} if "limit" in declared else {})).frame
                found[f"{name} {params}"] = _rows(frame)
    return found


def _rows(frame: pl.DataFrame) -> list[str]:
    kept = [c for c in frame.columns if c not in _WHERE and not c.endswith(tuple(f"_{w}" for w in _WHERE))]
    return sorted(frame.select(kept).write_ndjson().splitlines())
