"""`python -m auditlens`, and the console scripts."""

import sys

from auditlens.cli import main


class _WithoutPandas:
    """Finds no pandas. pyarrow imports it, where it is installed, at its first pa.array(list): half a second of CPU."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("no import of logs needs pandas", name=name)


def run() -> None:
    """Run the command line and exit."""
    if sys.argv[1:2] == ["import"]:
        sys.meta_path.insert(0, _WithoutPandas())
    sys.exit(main())


def kubectl() -> None:
    """Run as `kubectl audit`, which kubectl finds on the PATH as `kubectl-audit`."""
    from auditlens.cli.kubectl import run as plugin

    sys.exit(plugin(sys.argv[1:]))


if __name__ == "__main__":
    run()
