"""Where the files that travel with auditlens are: in the wheel beside the package, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

from auditlens.errors import AuditlensError


def directory(name: str) -> Path:
    """`dashboards`, `policies` or `sample-logs`; raises AuditlensError when this installation lacks it."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "_share" / name, here.parent / name):
        if candidate.is_dir():
            return candidate
    raise AuditlensError(f"this installation of auditlens lacks its {name}; reinstall it")
