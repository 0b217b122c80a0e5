"""The command line: a thin skin. stdout is the answer and nothing else; everything said to a person goes to stderr."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from auditlens.errors import AuditlensError, ExitCode
from auditlens.faults import hook, said, trace


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Known errors become one line on stderr."""
    from auditlens.cli.app import app

    hook()
    try:
        result = int(app(args=argv, standalone_mode=False) or 0)
        return _interrupted() if result == ExitCode.INTERRUPTED else result  # what typer makes of Ctrl-C
    except AuditlensError as e:
        say(f"auditlens: {e}")
        return int(e.exit_code)
    except KeyboardInterrupt:  # while typer is not there yet
        return _interrupted()
    except BrokenPipeError:
        # who reads us has seen enough
        sys.stderr.close()
        return int(ExitCode.OK)
    except Exception as e:
        if isinstance(e, OSError) and "(os error 32)" in str(e):  # the same from Polars
            sys.stderr.close()
            return int(ExitCode.OK)
        if e.__class__.__module__.startswith(("click", "typer")) and hasattr(e, "format_message"):
            say(f"auditlens: {e.format_message()}")
            return int(ExitCode.USAGE)
        if e.__class__.__name__ == "Abort" or str(e) == "Query interrupted":  # DuckDB's word for Ctrl-C, a RuntimeError
            return _interrupted()
        if os.environ.get("AUDITLENS_DEBUG"):
            say(trace(e))
            return int(ExitCode.FAILED)
        if isinstance(e, OSError) and e.strerror:
            say(f"auditlens: {f'{e.filename}: ' if e.filename else ''}{e.strerror}")
            return int(ExitCode.FAILED)
        frame = traceback.extract_tb(e.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        say(
            f"auditlens: a fault of auditlens itself: {type(e).__name__}: {said(e)} ({place}); AUDITLENS_DEBUG=1 shows the way there"
        )
        return int(ExitCode.FAILED)


def _interrupted() -> int:
    say("auditlens: interrupted; the lake is as the last commit left it, the same command finishes the job")
    return int(ExitCode.INTERRUPTED)


def say(text: str) -> None:
    """Tell the person something, on stderr."""
    from auditlens.output import plain

    print("\n".join(plain(line) for line in text.splitlines()), file=sys.stderr)
