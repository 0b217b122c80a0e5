"""`auditlens` alone: where to begin, and what is there already."""

from __future__ import annotations

import os
from pathlib import Path

from auditlens.cli.options import LAKE
from auditlens.errors import AuditlensError

_MAP = """\
Who did what in a Kubernetes cluster, and the line of the log that says so.

  logs in    auditlens import /var/log/kubernetes        files, directories, globs, pipes; --follow
             auditlens serve                             the apiserver's webhook; `auditlens sink init` sets it up
  ask        auditlens ask                               lists the {count} questions
             auditlens ask who-deleted pod/web-1 -n shop
             auditlens sql "select count(*) from audit"
  follow     auditlens history deploy/web -n shop        an object through time; so do diff, state, why
             auditlens completeness                      whether the log can be trusted
  browse     auditlens dashboard
  configure  auditlens policy lint policy.yaml           what is logged; so do simulate, recommend

  auditlens demo shows it on sample logs, auditlens --help has all commands, auditlens COMMAND --help the flags of one.
"""


def run() -> None:
    """Print the map, and the state of the lake that commands would use."""
    from auditlens.answers.questions import questions
    from auditlens.lake import Lake
    from auditlens.output import plain

    print(_MAP.format(count=len(questions())))
    path = Path(os.environ.get("AUDITLENS_LAKE") or LAKE)
    if not Lake(path).exists():
        print(f"There is no lake at {plain(str(path))} yet: import makes it; --lake and $AUDITLENS_LAKE name another place.")
        return
    print(f"The lake at {plain(str(path))}:")
    for line in _state(path):
        print(f"  {line}")


def _state(path: Path) -> list[str]:
    from auditlens.cli.importing import summary

    try:
        return summary(path)
    except AuditlensError as e:  # the map is worth having without it
        return [str(e)]
