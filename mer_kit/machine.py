"""What this computer is, without its name, its user or its paths: for reports, run folders and the doctor."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

EACH = 4 * 2**30  # bytes of memory that one of several jobs is counted with
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def summary() -> dict[str, str]:
    """System, cores, memory, GPU, Python and torch, each as a short phrase.

    >>> list(summary())
    ['system', 'cores', 'memory', 'gpu', 'python', 'torch']
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(cores()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "gpu": ", ".join(gpus()) or "none",
        "python": platform.python_version(),
        "torch": package_version("torch") or "absent",
    }


def cores() -> int:
    """How many of this machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_for(jobs: int) -> int:
    """How many jobs this machine bears at a time: one a core, EACH bytes of free memory for each."""
    import psutil

    return max(1, min(cores(), psutil.virtual_memory().available // EACH, jobs))


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver sees, without importing torch."""
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True,
                                text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split("\n")[:-1] if listed.returncode == 0 else []


def package_version(package: str) -> str | None:
    """The installed version of a package, without importing it; None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome, which the browser tests drive; None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
