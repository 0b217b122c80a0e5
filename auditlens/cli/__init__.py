"""The command line: a thin skin. stdout is the answer and nothing else; everything said to a person goes to stderr."""

from __future__ import annotations

import sys

from auditlens.errors import AuditlensError, ExitCode


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Known errors become one line on stderr."""
    from auditlens.cli.app import app

    try:
        result = app(args=argv, standalone_mode=False)
        return int(result or 0)
    except AuditlensError as e:
        say(f"auditlens: {e}")
        return int(e.exit_code)
    except KeyboardInterrupt:
        say("auditlens: interrupted; the lake is as the last commit left it, the same command finishes the job")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # who reads us has seen enough
        sys.stderr.close()
        return int(ExitCode.OK)
    except Exception as e:
        if e.__class__.__module__.startswith(("click", "typer")) and hasattr(e, "format_message"):
            say(f"auditlens: {e.format_message()}")
            return int(ExitCode.USAGE)
        if e.__class__.__name__ == "Abort":
            return int(ExitCode.INTERRUPTED)
        raise


def say(text: str) -> None:
    """Tell the person something, on stderr."""
    from auditlens.output import plain

    print("\n".join(plain(line) for line in text.splitlines()), file=sys.stderr)
