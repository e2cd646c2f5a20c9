"""`python3 -m mer_kit …`: the command line; `demo`, `test`, `lab` and `figures` set up first on a bare Python."""

import sys
from importlib.util import find_spec
from pathlib import Path

from mer_kit import install

SETS_UP = ("demo", "test", "lab", "figures")


def main():
    """Run the command line here, or in `.venv` where this Python lacks the libraries."""
    in_venv = Path(sys.prefix).resolve() == install.VENV.resolve()
    if sys.argv[1:2] and sys.argv[1] in SETS_UP and not in_venv and not install.is_equipped():
        install.go_on_in_venv(sys.argv[1:])
    if find_spec("typer") is None:
        sys.exit(f"the libraries that mer_kit uses are not in this Python ({sys.executable}); run `make demo` once, "
                 "or `python3 -m mer_kit demo`, then use .venv/bin/mer-kit")
    from mer_kit.cli import app

    app(prog_name="mer-kit")


if __name__ == "__main__":
    main()
