"""The command line: a thin skin. stdout is the answer and nothing else; everything said to a person goes to stderr."""

from __future__ import annotations

import sys

from auditlens.errors import AuditlensError, ExitCode


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Known errors become one line on stderr."""
    from auditlens.cli.app import app

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
        if e.__class__.__module__.startswith(("click", "typer")) and hasattr(e, "format_message"):
            say(f"auditlens: {e.format_message()}")
            return int(ExitCode.USAGE)
        if e.__class__.__name__ == "Abort":
            return _interrupted()
        raise


def _interrupted() -> int:
    say("auditlens: interrupted; the lake is as the last commit left it, the same command finishes the job")
    return int(ExitCode.INTERRUPTED)


def say(text: str) -> None:
    """Tell the person something, on stderr."""
    from auditlens.output import plain

    print("\n".join(plain(line) for line in text.splitlines()), file=sys.stderr)
