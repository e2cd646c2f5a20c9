"""Set-up in one place, for the Makefile and for `python3 -m mer_kit demo` on a bare Python.

Makes `.venv`, puts uv into it, and with uv the pinned packages of requirements.txt and mer_kit itself. Only the
standard library is used, and nothing that an old Python could not read: it must be able to say that it is too old.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"  # written last: an interrupted set-up is taken up again
PINS = (ROOT / "requirements.txt", ROOT / "pyproject.toml")
OLDEST = (3, 11)


def obstacle():
    """Why this Python cannot set up mer_kit, as a sentence that says how to mend it; None where it can."""
    if sys.version_info < OLDEST:
        have, need = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, OLDEST))
        return (f"mer_kit needs Python {need} or newer; this is {have} ({sys.executable}). Install a newer one and "
                f"name it: make PYTHON=python{need} demo")
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        return (f"this Python ({sys.executable}) lacks venv, which mer_kit's own environment is made with. Install it "
                "(Debian and Ubuntu: apt install python3-venv) and try again")
    if not all(pin.is_file() for pin in PINS):
        return f"{ROOT} is no checkout of mer_kit (requirements.txt is not there); set up from a clone of it"
    return None


def is_current():
    """Is `.venv` complete, and not older than the files that say what belongs in it?"""
    return STAMP.is_file() and all(pin.stat().st_mtime <= STAMP.stat().st_mtime for pin in PINS)


def install():
    """Make or complete `.venv`; nothing where it is current. Exits with a sentence where this Python cannot."""
    if is_current():
        return
    why = obstacle()
    if why:
        sys.exit(why)
    print("Setting up .venv, once: about 6 GB, mostly torch; a minute or two on a quick line.", flush=True)
    if not _works():
        _step(sys.executable, "-m", "venv", "--clear", VENV)
    _step(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    # compiled once, here: a notebook's imports take three times as long wherever Python is told to leave no bytecode
    _step(PYTHON, "-m", "uv", "pip", "install", "--compile-bytecode", "--python", PYTHON, "-r", PINS[0], "-e", ROOT)
    STAMP.touch()


def _works():
    """Does an earlier `.venv` hold a Python that runs, is new enough and has pip?"""
    probe = f"import pip, sys; sys.exit(sys.version_info < {OLDEST})"
    return PYTHON.exists() and subprocess.run([str(PYTHON), "-c", probe], stderr=subprocess.DEVNULL).returncode == 0


def _step(*command):
    words = [str(word) for word in command]
    code = subprocess.run(words, cwd=ROOT).returncode
    if code:
        sys.exit(f"set-up stopped (exit code {code}) at: {' '.join(words)}\n"
                 "Mend what is said above (network? disk?) and call again: it goes on from there.")


def is_equipped():
    """Does the running Python hold every package that pyproject.toml names, the developers' ones included?"""
    if sys.version_info < OLDEST:
        return False
    if not PINS[1].is_file():  # not a checkout: pip has seen to it
        return True
    import tomllib
    from importlib.metadata import PackageNotFoundError, distribution
    from re import match

    project = tomllib.loads(PINS[1].read_text(encoding="utf-8"))["project"]
    try:
        for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
            distribution(match(r"[\w.-]+", requirement).group())
    except PackageNotFoundError:
        return False
    return True


def go_on_in_venv(arguments):
    """Set up where needed, then replace this process by `.venv`'s `python -m mer_kit …arguments`."""
    install()
    os.execv(str(PYTHON), [str(PYTHON), "-m", "mer_kit", *arguments])


if __name__ == "__main__":
    install()
