"""Starts Streamlit on the dashboard with its libraries loaded and the first answers under way: `auditlens dashboard` runs this."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Serve; the arguments are Streamlit's."""
    sys.path.insert(0, str(HERE))
    from parts import hosts

    arguments = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    arguments.add_argument("--server.address", dest="address", default="127.0.0.1")  # as in .streamlit/config.toml
    if why := hosts.exposed(arguments.parse_known_args()[0].address):  # before Streamlit looks for this machine's addresses
        sys.exit(f"auditlens: error: {why}")
    from parts import answers, evidence, recipe, warmup  # noqa: F401 - pages need them; loaded once, here
    from streamlit.web import cli

    threading.Thread(target=warmup.up, name="warmup", daemon=True).start()
    sys.argv = ["streamlit", "run", str(HERE / "server.py"), *sys.argv[1:]]
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
