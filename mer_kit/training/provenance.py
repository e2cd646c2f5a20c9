"""What a result was made with: machine, versions, commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mer_kit import __version__, machine
from mer_kit.install import ROOT

PACKAGES = ("accelerate", "numpy", "pandas", "scikit-learn", "tokenizers", "torchaudio", "transformers")


def environment() -> dict[str, str | None]:
    """This machine in words, versions, the commit, and how many processes trained together."""
    return machine.summary() | {p: machine.package_version(p) for p in PACKAGES} | {
        "mer_kit": __version__, "commit": commit(), "processes": os.environ.get("WORLD_SIZE", "1")}


def commit() -> str | None:
    """This checkout's commit, "+" behind it where files differ from it; None outside a checkout."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout

    try:
        top, head = git("rev-parse", "--show-toplevel", "HEAD").split("\n")[:2]
        changed = git("status", "--porcelain", "--untracked-files=normal", "--", "mer_kit")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + "+" * bool(changed) if Path(top) == ROOT else None
