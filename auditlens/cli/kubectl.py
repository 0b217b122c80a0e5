"""`kubectl audit …`: what `auditlens` does, as a plugin of kubectl, where every question is a command."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run(args: Sequence[str]) -> int:
    """Run `kubectl audit ARGS`."""
    from auditlens.answers.questions import questions
    from auditlens.cli import main

    sys.argv[0] = "kubectl audit"  # what help calls it
    return main(["ask", *args] if args and args[0] in questions() else list(args))
