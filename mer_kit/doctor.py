"""What is here and what is not, each with a mend: versions, GPU, corpora, weights, disk, programs, network."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from mer_kit.corpora import CORPORA
from mer_kit.install import OLDEST, ROOT
from mer_kit.machine import find_chromium, gpus, package_version, summary

SHOWN = ("torch", "torchaudio", "torchvision", "transformers", "accelerate", "jupyterlab", "papermill", "plotly")
ROOM = 10  # GiB that weights and cached features may need
PATIENCE = 3.0  # s for a name to resolve


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: str  # "ok", "absent" (only some things need it) or "broken"
    text: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """All findings, one by one; nothing here waits longer than a few seconds."""
    yield _python()
    yield from _packages()
    yield _torch()
    yield from _corpora()
    yield _weights()
    yield _disk()
    yield from _programs()
    yield _network()


def _python() -> Finding:
    here = summary()
    text = f"{here['python']}, {here['system']}, {here['cores']} cores, {here['memory']}"
    if sys.version_info < OLDEST:
        return Finding("Python", "broken", text, f"use Python {'.'.join(map(str, OLDEST))} or newer")
    return Finding("Python", "ok", text)


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(line) for line in requires("mer-kit") or ()]
    except PackageNotFoundError:
        yield Finding("mer_kit", "broken", "not installed into this Python", "make demo, or pip install -e .")
        return
    wrong = []
    for need in needed:
        have = package_version(need.name)
        if (need.marker is None or need.marker.evaluate({"extra": "dev"})) and not (
                have and need.specifier.contains(have, prereleases=True)):
            wrong.append(f"{need.name} {have or 'absent'} (expected {need.specifier})")
    shown = ", ".join(f"{name} {package_version(name)}" for name in SHOWN)
    if wrong:
        yield Finding("packages", "broken", "; ".join(wrong), "pip install -r requirements.txt -e .")
    else:
        yield Finding("packages", "ok", shown)


def _torch() -> Finding:
    try:
        import torch
        import torchaudio  # noqa: F401
        import torchvision  # noqa: F401
    except Exception as error:  # a torchaudio built for another torch fails in many ways
        return Finding("torch", "broken", f"does not import: {str(error).splitlines()[0]}", "keep torch, torchaudio "
                       "and torchvision together as requirements.txt pins them: delete .venv and call make demo")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("GPU", "ok", f"{names}; CUDA {torch.version.cuda}")
    if gpus():
        return Finding("GPU", "broken", f"{', '.join(gpus())}, but torch {torch.__version__} cannot use it",
                       "update the driver, or install torch for its CUDA version")
    return Finding("GPU", "absent", "none: training runs on the CPU", "the offline presets are made for that")


def _corpora() -> Iterator[Finding]:
    yield Finding("corpus duet", "ok", "in the package")
    root = os.environ.get("MER_KIT_DATA")
    if not root:
        yield Finding("other corpora", "absent", "MER_KIT_DATA is not set",
                      "export MER_KIT_DATA=FOLDER, which holds nemo/, meld/ or iemocap/; or pass --data-dir")
        return
    for name in CORPORA[1:]:
        folder = Path(root, name)
        yield (Finding(f"corpus {name}", "ok", str(folder)) if folder.is_dir() else
               Finding(f"corpus {name}", "absent", f"no folder {folder}", "put it there, or pass --data-dir"))


def _weights() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    models = sorted(p.name.removeprefix("models--").replace("--", "/") for p in Path(HF_HUB_CACHE).glob("models--*"))
    mode = "; HF_HUB_OFFLINE is set: nothing is downloaded" if HF_HUB_OFFLINE else ""
    if models:
        return Finding("weights", "ok", f"{', '.join(models)} in {HF_HUB_CACHE}{mode}")
    return Finding("weights", "absent", f"none in {HF_HUB_CACHE}{mode}",
                   "the offline presets need none; others are fetched at first use, or name a local folder")


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free / 2**30  # GiB
    if free < ROOM:
        return Finding("disk", "broken", f"{free:.1f} GiB free", f"make {ROOM} GiB free for weights and features")
    return Finding("disk", "ok", f"{free:.0f} GiB free")


def _programs() -> Iterator[Finding]:
    for name, found, use in (("ffmpeg", shutil.which("ffmpeg"), "mer-kit prepare meld needs it"),
                             ("chromium", find_chromium(), "the browser tests need it")):
        yield (Finding(name, "ok", found) if found else
               Finding(name, "absent", use, f"install it (Debian and Ubuntu: apt install {name})"))


def _network() -> Finding:
    from huggingface_hub.constants import ENDPOINT

    host, answer = ENDPOINT.split("//")[-1].split("/")[0], []
    asking = threading.Thread(target=lambda: answer.append(_resolves(host)), daemon=True)
    asking.start()
    asking.join(PATIENCE)  # a resolver may hang for minutes
    if answer and answer[0]:
        return Finding("network", "ok", f"{host} resolves")
    return Finding("network", "absent", f"{host} does not resolve",
                   "the offline presets need no network; else name local folders for weights")


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host.split(":")[0], 443))
    except OSError:
        return False
