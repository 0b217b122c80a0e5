"""`python -m auditlens`, and the console script."""

import sys

from auditlens.cli import main


def run() -> None:
    """Run the command line and exit."""
    sys.exit(main())


if __name__ == "__main__":
    run()
